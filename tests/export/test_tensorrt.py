"""What can be seen without a GPU: the refusal, and TensorRT-RTX building ahead of time."""

import pytest
import torch

from edgesmith.artifact import engine_system
from edgesmith.errors import ExportFailed, MissingPackage
from edgesmith.export.engine import LARGEST_BATCH, RTX_DEFAULT, build, library
from edgesmith.export.exporter import half as to_half
from edgesmith.export.tensorrt import export, export_rtx, export_source
from edgesmith.graph.capture import capture
from edgesmith.plugins import is_installed
from edgesmith.targets import target
from tests.export.quantized import planned
from tests.export.unsupported import Det, Net
from tests.models import tiny


@pytest.fixture(scope="module")
def two():
    example = {"image": torch.zeros(1, 3, 8, 8), "context": torch.zeros(1, 4)}
    return capture(tiny("two"), example, dynamic_batch=True)


@pytest.mark.parametrize(
    "exporter, module, name", [(export, "tensorrt", "tensorrt"), (export_rtx, "tensorrt_rtx", "tensorrt-rtx")]
)
def test_without_the_vendor_package_it_says_what_to_install(two, tmp_path, exporter, module, name):
    if is_installed(module):
        return  # the other tests of this file then build for real
    with pytest.raises(MissingPackage) as refused:
        exporter(two, None, target(f"{name}-fp32"), tmp_path)
    assert refused.value.todo == f"pip install 'edgesmith[{name}]'"
    assert not list(tmp_path.iterdir())


def test_half_computes_in_fp16_between_float32_inputs_and_outputs(two):
    half = to_half(two)
    assert {parameter.dtype for parameter in half.module.parameters()} == {torch.float16}
    feed = (torch.randn(2, 3, 8, 8), torch.randn(2, 4))
    for wanted, got in zip(two.module(*feed), half.module(*feed), strict=True):
        assert got.dtype == torch.float32
        assert not torch.equal(got, wanted)
        torch.testing.assert_close(got, wanted, atol=5e-3, rtol=5e-3)


@pytest.mark.needs("tensorrt_rtx")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_rtx_builds_an_engine(two, tmp_path, precision):
    exported = export_rtx(two, None, target(f"tensorrt-rtx-{precision}"), tmp_path)
    assert exported.file.stat().st_size > 10_000
    assert exported.main == "model.engine"
    assert "built by tensorrt_rtx" in exported.notes[0]


@pytest.mark.needs("tensorrt_rtx")
def test_rtx_takes_the_symmetric_plan(tmp_path):
    program, plan = planned("depthwise", "tensorrt")
    exported = export_rtx(program, plan, target("tensorrt-rtx-int8"), tmp_path)
    assert exported.plan_digest == plan.digest()
    assert exported.file.stat().st_size > 10_000


@pytest.mark.needs("tensorrt_rtx")
def test_rtx_names_the_node_it_refuses(tmp_path):
    program = capture(Net(Det()), {"x": torch.zeros(1, 3, 4, 4)})
    with pytest.raises(ExportFailed, match=r"ONNX Det in 'block\.0\.act'"):
        export_rtx(program, None, target("tensorrt-rtx-fp32"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.needs("tensorrt_rtx")
def test_an_engine_says_where_it_can_be_loaded_and_has_its_source_beside_it(two, tmp_path):
    exported = export_rtx(two, None, target("tensorrt-rtx-fp32"), tmp_path)
    (engine,) = exported.engines
    assert (engine.file, engine.library, engine.capabilities) == ("model.engine", "tensorrt_rtx", RTX_DEFAULT)
    assert engine.version in exported.notes[0] and engine.system == engine_system()
    assert engine.flags == ("strongly typed", f"batch 1 to {LARGEST_BATCH}")
    assert (tmp_path / exported.source).is_file() and exported.size_bytes == exported.file.stat().st_size
    assert not list(tmp_path.glob("*.cache"))  # RTX times nothing when it builds


@pytest.mark.needs("tensorrt_rtx")
def test_rtx_builds_for_one_gpu_and_has_nothing_for_sm90(two, tmp_path):
    made = export_source(two, None, target("tensorrt-rtx-fp32"), tmp_path)
    trt = library("tensorrt_rtx", "a test")
    engine, record = build(trt, made.file.read_bytes(), made.inputs, "8.6")
    assert record.capabilities == ("8.6",) and len(engine) > 10_000
    with pytest.raises(ExportFailed, match=r"SM120.* and not SM90"):
        build(trt, made.file.read_bytes(), made.inputs, "9.0")


def test_what_is_built_on_the_device_travels_as_onnx(two, tmp_path):
    made = export_source(two, None, target("tensorrt-fp16"), tmp_path)
    assert (made.main, made.source, made.engines, made.runtime) == ("model.onnx", "model.onnx", (), "tensorrt")
    assert made.size_bytes == made.file.stat().st_size
    assert {product.layer: product.names[0] for product in made.products} == {
        "body.conv": "node_conv2d",
        "mix": "node_linear",
    }
    assert [made.operator_layers[name] for name in ("node_conv2d", "node_linear")] == ["body.conv", "mix"]
