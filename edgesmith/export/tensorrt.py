"""TensorRT and TensorRT-RTX engines, built by the vendor's own ONNX parser from the model of a prepared program.

TensorRT-RTX builds ahead of time without a GPU; TensorRT needs the GPU it builds for. RTX networks are strongly typed:
the ONNX file alone says what is fp16, and no builder flag changes it.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import onnx
import torch

from edgesmith import records
from edgesmith.artifact import Exported
from edgesmith.errors import ExportFailed
from edgesmith.export.exporter import decomposed, layer_names, prepared, record, unsupported
from edgesmith.export.onnx import module_scope, to_bytes, to_onnx
from edgesmith.graph.capture import Program
from edgesmith.plugins import missing_package
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target

LARGEST_BATCH = 64  # an engine with a dynamic batch is tuned for a range of sizes


def export(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.engine by TensorRT. Raises: MissingPackage, ExportFailed naming the node."""
    return _export("tensorrt", program, plan, target, out)


def export_rtx(program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    """Write model.engine by TensorRT-RTX. Raises: MissingPackage, ExportFailed naming the node."""
    return _export("tensorrt_rtx", program, plan, target, out)


def _export(vendor: str, program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported:
    trt = _vendor(vendor, target)
    lowered = prepared(program, plan, target)
    if target.precision == "fp16":
        lowered = _half(lowered)
    exported = decomposed(lowered)
    model = to_onnx(lowered, exported, target)
    engine = _built(trt, model, lowered, target)
    records.write_bytes(out / f"model{target.suffix}", engine)
    # An engine shows its inputs and outputs only, so no other layer can be read from it.
    names = layer_names(lowered, exported, {spec.name for spec in lowered.outputs})
    return record(program, plan, target, out, names, (f"built by {vendor} {trt.__version__}",))


def _vendor(module: str, target: Target) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_package(error, f"export to {target.name}") from error
    except (ImportError, OSError) as error:
        found = f"{module} is installed but its libraries do not load ({error})"
        raise ExportFailed(f"export to {target.name}", found, f"install {module} again with its libraries") from error


def _built(trt: Any, model: onnx.ModelProto, program: Program, target: Target) -> bytes:
    logger = _listener(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(to_bytes(model)):
        raise _refused(parser, model, target)
    config = builder.create_builder_config()
    if any(spec.dynamic for spec in program.inputs):
        config.add_optimization_profile(_profile(builder, program))
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        found = "; ".join(logger.heard[-3:]) or "the builder gave no reason"
        raise ExportFailed(f"export to {target.name}", f"no engine was built ({found})", "drop this target")
    return bytes(engine)


def _network_flags(trt: Any) -> int:
    """Types as the ONNX file states them, where the vendor still asks (RTX knows nothing else)."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _profile(builder: Any, program: Program) -> Any:
    profile = builder.create_optimization_profile()
    for spec in program.inputs:
        profile.set_shape(spec.name, spec.concrete(1), spec.concrete(1), spec.concrete(LARGEST_BATCH))
    return profile


def _refused(parser: Any, model: onnx.ModelProto, target: Target) -> ExportFailed:
    """The parser's first error that names a node, in the user's module path."""
    asked = f"export to {target.name}"
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    nodes = {node.name: node for node in model.graph.node}
    for error in errors:
        node = nodes.get(error.node_name())
        if node is not None:
            return unsupported(asked, f"ONNX {node.op_type}", module_scope(node), _reason(error))
    said = "; ".join(map(_reason, errors))[:480]
    return ExportFailed(asked, f"the ONNX parser refused the model ({said})", "drop this target")


def _reason(error: Any) -> str:
    """The parser's description; for an operator without an importer that is only a condition ("false")."""
    return f"{error.desc().strip()[:200]}, {error.code()}"


def _listener(trt: Any) -> Any:
    class Listener(trt.ILogger):  # the vendor calls a logger of its own class
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.heard: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.heard.append(message)

    return Listener()


def _half(program: Program) -> Program:
    """The same program computing in fp16, with float32 inputs and outputs: RTX takes the types of the file."""
    module, paths, origins = program.copy()
    module.half()
    for node in module.graph.find_nodes(op="placeholder"):
        if node.meta["val"].is_floating_point():
            with module.graph.inserting_after(node):
                half = module.graph.call_function(torch.ops.aten.to.dtype, (node, torch.float16))
            node.replace_all_uses_with(half, delete_user_cb=lambda user, half=half: user is not half)
    output = module.graph.output_node()
    results = []
    for node in output.args[0]:  # type: ignore[union-attr]
        with module.graph.inserting_before(output):
            results.append(module.graph.call_function(torch.ops.aten.to.dtype, (node, torch.float32)))
    output.args = (tuple(results),)
    return program.rewritten(module, paths, origins)
