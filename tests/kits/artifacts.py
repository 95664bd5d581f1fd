"""A small artefact of each format that goes into an app: pictures 8 x 6 in, three scores out, labels that bite."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgesmith.artifact import Exported, save_exported
from edgesmith.tensors import Arrays, Preprocessing, TensorSpec

SIZE = (8, 6)
LABELS = ("<script>alert(1)</script>", 'a "quoted" \\ one??/', "Ärger\n")
PICTURES = Preprocessing(SIZE, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), "bgr")


def golden(seed: int = 0) -> tuple[Arrays, Arrays]:
    """Seeded inputs, and their means by channel: what the graph below computes."""
    image = np.random.default_rng(seed).standard_normal((1, 3, *SIZE)).astype(np.float32)
    return {"image": image}, {"scores": image.mean((2, 3))}


def graph() -> object:
    """The mean of each channel, as an ONNX model."""
    from onnx import TensorProto, helper

    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", [1, 3, *SIZE]), ("scores", [1, 3]))
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3])
    node = helper.make_node("ReduceMean", ["image", "axes"], ["scores"], keepdims=0)
    made = helper.make_graph([node], "means", ends[:1], ends[1:], [axes])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def artifact(folder: Path, runtime: str = "ort", preprocessing: Preprocessing | None = PICTURES) -> Exported:
    """One artefact in `folder`, for ONNX Runtime or OpenVINO; a file of that name stands in for Core ML's package."""
    folder.mkdir(parents=True)
    main = {"ort": "model.onnx", "openvino": "model.xml", "coreml": "model.mlpackage"}[runtime]
    if runtime == "coreml":
        (folder / main).mkdir()
        (folder / main / "Manifest.json").write_text("{}")
    else:
        _save(graph(), folder / main)
    ends = (TensorSpec("image", (1, 3, *SIZE)),), (TensorSpec("scores", (1, 3)),)
    made = Exported(f"{runtime}-fp32", runtime, "fp32", main, *ends, preprocessing=preprocessing, labels=LABELS)
    return save_exported(folder, made, golden())


def _save(model: object, file: Path) -> None:
    if file.suffix == ".onnx":
        import onnx

        onnx.save(model, str(file))
    else:
        import openvino

        openvino.save_model(openvino.Core().read_model(model.SerializeToString()), file, compress_to_fp16=False)  # type: ignore[attr-defined]
