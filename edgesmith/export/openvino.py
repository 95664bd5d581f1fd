"""OpenVINO IR (model.xml and model.bin), by way of ONNX, with weights kept in their own precision."""

from __future__ import annotations

import io
import re
from pathlib import Path

import onnx
import openvino

from edgesmith.artifact import Exported
from edgesmith.errors import ExportFailed
from edgesmith.export.exporter import decomposed, layer_places, prepared, quiet, record, tensors_present, unsupported
from edgesmith.export.onnx import module_scope, operator_layers, operator_names, to_bytes, to_onnx
from edgesmith.graph.capture import Program
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target

_NUMBERED = re.compile(r"[A-Za-z]\w*_\d+")
_NOT_CONVERTED = re.compile(r"No conversion rule found for operations: ([\w.]+)")
_BF16_NOTE = "the file is float32; bf16 is a hint the runtime is given when it opens the file"


def export(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.xml and model.bin. Raises: ExportFailed naming the operator and the module path."""
    lowered = prepared(program, plan, target)
    exported = decomposed(lowered)
    onnx_model = to_onnx(lowered, exported, target)
    model = _converted(onnx_model, target)
    _name_by_position(model)
    # By default OpenVINO stores weights as fp16.
    openvino.save_model(model, out / f"model{target.suffix}", compress_to_fp16=False)
    places = layer_places(lowered, exported, tensors_present(lowered, exported, _tensor_names(model)))
    notes = (_BF16_NOTE,) if target.precision == "bf16" else ()
    names = operator_names(onnx_model, lowered, exported)
    layers = operator_layers(onnx_model, program, lowered, exported, places)
    return record(program, plan, target, out, places, notes, names, layers)


def _converted(model: onnx.ModelProto, target: Target) -> openvino.Model:
    try:
        with quiet():
            # Not convert_model: its extra transformations move the dequantization of weights, after which the CPU
            # plug-in runs depthwise convolutions in float (seen with 2026.4: 1.6 ms where this takes 0.9).
            return openvino.Core().read_model(io.BytesIO(to_bytes(model)))
    except Exception as error:  # the frontends raise several classes that are not public
        raise _failure(error, model, target) from error


def _failure(error: Exception, model: onnx.ModelProto, target: Target) -> ExportFailed:
    asked, reason = f"export to {target.name}", str(error).strip().splitlines()[-1][:240]
    found = _NOT_CONVERTED.search(str(error))
    kind = found.group(1) if found else ""
    for node in model.graph.node:
        if node.op_type == kind:
            return unsupported(asked, f"ONNX {kind}", module_scope(node), "OpenVINO has no conversion rule for it")
    return ExportFailed(asked, f"OpenVINO's converter stopped ({reason})", "drop this target, or change the model")


def _name_by_position(model: openvino.Model) -> None:
    """Constants made by OpenVINO are numbered by a counter of the whole process; number them within the model."""
    for index, operation in enumerate(model.get_ordered_ops()):
        unnamed = not any(port.get_names() for port in operation.outputs())
        if unnamed and _NUMBERED.fullmatch(operation.get_friendly_name()):
            operation.set_friendly_name(f"{operation.get_type_name()}.{index}")


def _tensor_names(model: openvino.Model) -> set[str]:
    return {name for node in model.get_ops() for port in node.outputs() for name in port.get_names()}
