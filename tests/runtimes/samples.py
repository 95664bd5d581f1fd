"""A small artefact for each runtime: inputs `image` (batch, 3, 8, 8) and `context` (batch, 4), two outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgesmith.artifact import Exported, save_exported
from edgesmith.runtimes import null
from edgesmith.tensors import TensorSpec

INPUTS = (TensorSpec("image", ("batch", 3, 8, 8)), TensorSpec("context", ("batch", 4)))


@dataclass(frozen=True)
class Sample:
    exported: Exported
    taps: tuple[str, ...] = ()


def onnx_file(path: Path) -> Path:
    """relu -> "mid"; its mean over the picture -> "pooled"; pooled beside context -> "mixed"."""
    import onnx
    from onnx import TensorProto, helper

    values = {"image": ["batch", 3, 8, 8], "context": ["batch", 4], "mixed": ["batch", 7], "pooled": ["batch", 3]}
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()}
    nodes = [
        helper.make_node("Relu", ["image"], ["mid"]),
        helper.make_node("ReduceMean", ["mid", "axes"], ["pooled"], keepdims=0),
        helper.make_node("Concat", ["pooled", "context"], ["mixed"], axis=1),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    ends = ([infos["image"], infos["context"]], [infos["mixed"], infos["pooled"]])
    graph = helper.make_graph(nodes, "sample", *ends, [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def expected(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the graph of `onnx_file` answers."""
    mid = np.maximum(feed["image"], 0)
    pooled = mid.mean((2, 3))
    return {"mid": mid, "pooled": pooled, "mixed": np.concatenate([pooled, feed["context"]], 1)}


def conv_file(path: Path) -> Path:
    """One convolution of `image` (1, 3, 8, 8) with 64 channels, large enough for a reduced precision to show."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((64, 3, 3, 3)).astype(np.float32)
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64, 6, 6])
    node = helper.make_node("Conv", ["image", "w"], ["y"])
    graph = helper.make_graph([node], "conv", [x], [y], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def ir_file(path: Path, source: Path) -> Path:
    """An OpenVINO IR with float32 weights."""
    import openvino

    openvino.save_model(openvino.convert_model(str(source)), str(path), compress_to_fp16=False)
    return path


def make(runtime: str, folder: Path) -> Sample:
    """The sample of one runtime; one whose file cannot be made here stands for its file by its name only."""
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"ort": _ort, "openvino": _openvino, "torch": _torch, "null": _null, "coreml": _coreml}
    makers |= {"executorch": _executorch, "torch-cuda": _on_cuda(_torch), "ort-cuda": _on_cuda(_ort)}
    makers |= {"torch-compile": _on_cuda(_torch, "torch-compile")}
    maker = makers.get(runtime)
    if maker is not None:
        return maker(folder)
    (folder / "model.engine").write_bytes(b"an engine")
    return _sealed(folder, runtime, "model.engine", INPUTS, (TensorSpec("y", ("batch", 5)),))


def _sealed(folder: Path, runtime: str, main: str, inputs, outputs, taps: tuple[str, ...] = ()) -> Sample:
    exported = Exported(f"{runtime}-fp32", runtime, "fp32", main, tuple(inputs), tuple(outputs), root=folder)
    return Sample(save_exported(folder, exported, None), taps)


_TWO = (TensorSpec("mixed", ("batch", 7)), TensorSpec("pooled", ("batch", 3)))


def _ort(folder: Path) -> Sample:
    onnx_file(folder / "model.onnx")
    return _sealed(folder, "ort", "model.onnx", INPUTS, _TWO, ("mid", "pooled"))


def _on_cuda(maker: Callable[[Path], Sample], name: str = "") -> Callable[[Path], Sample]:
    """The file of a runtime on CPU, for its sibling on CUDA."""

    def make_(folder: Path) -> Sample:
        made = maker(folder).exported
        runtime = name or f"{made.runtime}-cuda"
        renamed = replace(made, target=f"{runtime}-fp32", runtime=runtime)
        return Sample(save_exported(folder, renamed, None))

    return make_


def _openvino(folder: Path) -> Sample:
    ir_file(folder / "model.xml", onnx_file(folder / "source.onnx"))
    return _sealed(folder, "openvino", "model.xml", INPUTS, _TWO, ("mid", "pooled"))


def _torch(folder: Path) -> Sample:
    import torch

    from tests.models import tiny

    batch = torch.export.Dim("batch")
    example = (torch.zeros(2, 3, 8, 8), torch.zeros(2, 4))
    program = torch.export.export(tiny("two"), example, dynamic_shapes=({0: batch}, {0: batch}))
    torch.export.save(program, str(folder / "model.pt2"))
    outputs = (TensorSpec("score", ("batch", 5)), TensorSpec("pooled", ("batch", 8)))
    return _sealed(folder, "torch", "model.pt2", INPUTS, outputs, ("relu",))


def _null(folder: Path) -> Sample:
    return Sample(null.write(folder, null.NullModel(INPUTS, (TensorSpec("total", ("batch", 5)),))))


def _coreml(folder: Path) -> Sample:
    import coremltools
    import torch

    from tests.models import tiny

    traced = torch.jit.trace(tiny("two"), (torch.zeros(1, 3, 8, 8), torch.zeros(1, 4)))
    batch = coremltools.RangeDim(1, 8, default=1)
    package = coremltools.convert(
        traced,
        inputs=[
            coremltools.TensorType(name="image", shape=(batch, 3, 8, 8)),
            coremltools.TensorType(name="context", shape=(batch, 4)),
        ],
        outputs=[coremltools.TensorType(name="score"), coremltools.TensorType(name="pooled")],
        convert_to="mlprogram",
        compute_precision=coremltools.precision.FLOAT32,
    )
    package.save(str(folder / "model.mlpackage"))
    outputs = (TensorSpec("score", ("batch", 5)), TensorSpec("pooled", ("batch", 8)))
    relu = next(
        one.outputs[0].name
        for one in package.get_spec().mlProgram.functions["main"].block_specializations["CoreML5"].operations
        if one.type == "relu"
    )
    return _sealed(folder, "coreml", "model.mlpackage", INPUTS, outputs, (relu,))


def qdq_file(path: Path) -> Path:
    """The convolution of `conv_file` between quantize and dequantize operators, u8 activations, s8 weights."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).integers(-127, 128, (64, 3, 3, 3)).astype(np.int8)
    constants = {
        "w": weight,
        "s": np.float32(0.02),
        "z": np.uint8(128),
        "ws": np.full(64, 0.01, np.float32),
        "wz": np.zeros(64, np.int8),
        "ys": np.float32(0.2),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "ys", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "ys", "z"], ["y"]),
    ]
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64, 6, 6])
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "qdq", [x], [y], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def _executorch(folder: Path) -> Sample:
    from edgesmith.plugins import is_installed

    outputs = (TensorSpec("score", ("batch", 5)), TensorSpec("pooled", ("batch", 8)))
    if not is_installed("executorch"):
        (folder / "model.pte").write_bytes(b"a program")
        return _sealed(folder, "executorch", "model.pte", INPUTS, outputs)
    import torch

    from edgesmith.export.executorch import export
    from edgesmith.graph.capture import capture
    from edgesmith.targets import target
    from tests.models import tiny

    example = {"image": torch.zeros(1, 3, 8, 8), "context": torch.zeros(1, 4)}
    program = capture(tiny("two"), example, output_names=("score", "pooled"), dynamic_batch=True)
    return Sample(save_exported(folder, export(program, None, target("executorch-fp32"), folder), None))
