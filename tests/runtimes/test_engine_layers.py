from __future__ import annotations

from pathlib import Path

import pytest

from edgesmith.artifact import Exported, Product
from edgesmith.errors import EngineFailed
from edgesmith.runtimes.engine_layers import names_of, read_layers
from edgesmith.runtimes.executed import Told, placement

PRINTED = Path(__file__).parent / "printed"


@pytest.mark.parametrize("version", ["10", "11"])
def test_layers_have_names_types_and_work(version: str) -> None:
    found = read_layers((PRINTED / f"inspector-{version}.json").read_text())
    assert [(one.op, one.precision, one.macs) for one in found] == [
        ("Reformat", "fp32", 0),
        ("CaskConvolution", "int8", 216 * 64),
        ("CaskConvolution", "fp16", 576 * 64),
        ("PointWiseV2", "fp16", 0),
        ("MatrixMultiply", "fp32", 512 * 10),
    ]
    assert found[1].names == ("node_conv2d + node_relu", "node_conv2d", "node_relu", "relu")
    assert [one.moves for one in found] == [True, False, False, False, False]
    assert found[0].moved_bytes == 3 * 8 * 8 and {one.unit for one in found} == {"GPU"}


def test_placement_names_the_layers_of_the_model() -> None:
    layers = read_layers((PRINTED / "inspector-10.json").read_text())
    products = (
        Product("stem.conv", 100, "int8", ("node_conv2d", "conv2d")),
        Product("block.conv", 300, "int8", ("node_conv2d_1", "conv2d_1")),
        Product("head", 100, "fp32", ("node_linear", "linear")),
    )
    exported = Exported("tensorrt-int8", "tensorrt", "int8", "model.engine", (), (), products=products)
    found = placement(exported, Told(layers, "GPU", "TensorRT's engine inspector"))
    assert found.share_by_precision == {"int8": 0.2, "fp16": 0.6, "fp32": 0.2}
    assert found.share_by_unit == {"GPU": 1.0} and (found.copies, found.copied_bytes) == (1, 192)
    assert [(layer.layer, layer.precision, layer.asked) for layer in found.layers] == [
        ("stem.conv", "int8", "int8"),
        ("block.conv", "fp16", "int8"),
        ("head", "fp32", "fp32"),
    ]


def test_names_of_fused_layers_are_taken_apart() -> None:
    assert names_of("a/Conv + PWN(b) || c")[1:] == ("a/Conv", "b", "c")
    assert names_of("PWN(PWN(b))") == ("PWN(PWN(b))", "b")
    assert names_of("x", "[ONNX Layer: n1]\x1e[ONNX Layer: n2]") == ("x", "n1", "n2")


def test_an_engine_that_tells_names_alone_says_so() -> None:
    with pytest.raises(EngineFailed, match="without detailed profiling verbosity"):
        read_layers((PRINTED / "inspector-names.json").read_text())


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"Layers": [{"LayerType": "Conv"}]}', '{"Layers": [3]}'])
def test_another_json_is_refused(text: str) -> None:
    with pytest.raises(EngineFailed, match="inspector"):
        read_layers(text)
