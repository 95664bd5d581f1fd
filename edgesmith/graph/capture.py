"""From an nn.Module to a Program by torch.export, and from a Program to what exporters take."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from edgesmith.errors import EdgesmithError, ExportFailed, UsageError
from edgesmith.graph.inplace import functionalise
from edgesmith.graph.naming import leaves_of, module_paths
from edgesmith.graph.program import Origin, Program, model_digest
from edgesmith.tensors import TensorSpec

__all__ = ["Origin", "Program", "capture", "exported_program", "named_values", "node_names"]

_Shapes = list[dict[int, Any]]  # one an input: axis -> Dim


def capture(
    module: nn.Module,
    example: Mapping[str, Tensor] | Sequence[Tensor],
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_batch: bool = False,
) -> Program:
    """Capture `module` in eval mode, with a symbolic batch (axis 0) whenever it allows one.

    example: inputs by name, or in order. dynamic_batch: whether the exported program keeps the batch dynamic.
    Raises: ExportFailed with torch's reason, UsageError for names that do not fit.
    """
    given = tuple(example) if isinstance(example, Mapping) else _argument_names(module, len(example))
    names = given if input_names is None else tuple(input_names)
    tensors: tuple[Tensor, ...] = tuple(example.values() if isinstance(example, Mapping) else example)
    _check_inputs(names, tensors)
    by_name = isinstance(example, Mapping) and set(example) <= set(inspect.signature(module.forward).parameters)
    with _eval_mode(module):
        exported, shapes = _export_any(module, tensors, given if by_name else None, dynamic_batch)
    graph_module = _flat(exported.module(check_guards=False), names)
    functionalise(graph_module)
    paths = module_paths(graph_module.graph, leaves_of(module))
    inputs = tuple(
        TensorSpec(name, _shape(tensor, dynamic_batch and 0 in shape), _dtype(tensor))
        for name, tensor, shape in zip(names, tensors, shapes)
    )
    outputs = _output_specs(graph_module, output_names or _output_names(exported), tensors, dynamic_batch)
    digest = model_digest(graph_module, paths)
    return Program(graph_module, inputs, outputs, tensors, paths, dynamic_batch, digest=digest)


def exported_program(program: Program, largest_batch: int | None = None) -> ExportedProgram:
    """Export the graph again for the exporters: inputs bear their own names, outputs stand in program.outputs' order.

    The batch is the example's, or dynamic where the program says so, up to largest_batch. Raises: ExportFailed.
    """
    example = program.example
    shapes: _Shapes | None = None
    if program.dynamic_batch:
        batch = Dim("batch", min=1, max=largest_batch)
        example, shapes = _two_samples(example), [{0: batch} if spec.dynamic else {} for spec in program.inputs]
    try:
        return _export(program.module, example, None, shapes)
    except Exception as error:
        raise ExportFailed("export the captured program", _reason(error), "please report the model") from error


def node_names(program: Program, exported: ExportedProgram) -> dict[str, str]:
    """Path of a layer of the captured model -> name of the node of `exported` that computes the same value.

    Layers that a rewrite removed or scaled are left out, and those whose value was quantized are read after the
    dequantization, so that reading them changes no fusion. `exported` may have been decomposed since.
    """
    values = named_values(program, exported).items()
    return {path: value.nodes[0] for path, value in values if value.factor is None}


@dataclass(frozen=True)
class NamedValue:
    """Where a layer's value stands in an exported program: nodes that all hold it, `factor` (C,) times, None for 1."""

    nodes: tuple[str, ...]
    factor: np.ndarray | None = None


def named_values(program: Program, exported: ExportedProgram) -> dict[str, NamedValue]:
    """Path of a layer -> its value, which may be scaled by a rewrite and dequantized for each reader.

    A value that is scaled along another axis than 1 is left out: who reads it in a file would take it for unscaled.
    """
    found = _made_from(program, exported)
    values: dict[str, NamedValue] = {}
    for node in program.module.graph.nodes:
        origin = program.origin(node) if node.name in program.paths else Origin(None)
        nodes = tuple(found[read.name] for read in _read(node) if read.name in found)
        told = origin.factor is None or origin.axis == 1
        if origin.layer is not None and nodes and told:
            values[origin.layer] = NamedValue(nodes, origin.factor)
    return values


def operator_nodes(program: Program, exported: ExportedProgram) -> dict[str, str]:
    """Path of an operator of `program` -> name of the last node of `exported` that it became."""
    found = _made_from(program, exported)
    return {path: found[node.name] for path, node in program.nodes.items() if node.name in found}


def _made_from(program: Program, exported: ExportedProgram) -> dict[str, str]:
    """Name of a node of the program -> name of the last node of `exported` that was made from it."""
    source, found = id(program.module.graph), {}
    for node in exported.graph.nodes:
        if node.op == "call_function" and isinstance(node.meta.get("val"), Tensor):
            found.update({name: node.name for name in _ancestors(node, source)})
    return found


def _ancestors(node: fx.Node, graph_id: int) -> Iterator[str]:
    """Names of the nodes of the graph `graph_id` that `node` was made from."""
    waiting = list(node.meta.get("from_node") or [])
    while waiting:
        source = waiting.pop()
        if source.graph_id == graph_id:
            yield source.name
        waiting.extend(source.from_node)


def _read(node: fx.Node) -> list[fx.Node]:
    """The node, or where its value was quantized the dequantized ones."""
    for quantized in node.users:
        if "quantize_per_tensor" in str(quantized.target) and "dequantize" not in str(quantized.target):
            return list(quantized.users) or [node]
    return [node]


def _export_any(
    module: nn.Module, tensors: tuple[Tensor, ...], keywords: tuple[str, ...] | None, must_be_dynamic: bool
) -> tuple[ExportedProgram, _Shapes]:
    batch = Dim("batch", min=1)
    size = next((tensor.shape[0] for tensor in tensors if tensor.dim()), None)
    shapes: _Shapes = [{0: batch} if t.dim() and t.shape[0] == size else {} for t in tensors]
    try:
        exported = _export(module, _two_samples(tensors), keywords, shapes)
        _check_batch_survives(exported)
        return exported, shapes
    except Exception as error:
        if must_be_dynamic:
            raise ExportFailed(
                "capture with a dynamic batch",
                _reason(error),
                "ask for a static batch, or keep axis 0 free in the model",
            ) from error
    try:
        return _export(module, tensors, keywords, None), [{} for _ in tensors]
    except Exception as error:
        _must_run(module, tensors, keywords)
        where = _failing_module(module, tensors, keywords)
        asked = f"capture {type(module).__name__}" + (f" (in {where})" if where else "")
        raise ExportFailed(asked, _reason(error), "rewrite what torch.export cannot follow") from error


def _check_batch_survives(exported: ExportedProgram) -> None:
    """A model that merges its samples (reshape(1, -1)) can be traced with any batch, but means only one."""
    signature = exported.graph_signature
    nodes = {node.name: node for node in exported.graph.nodes}
    sizes = [
        [str(nodes[name].meta["val"].shape[0]) for name in names if nodes[name].meta["val"].dim()]
        for names in (signature.user_inputs, signature.user_outputs)
    ]
    if not set(sizes[0]) & set(sizes[1]):
        raise ValueError("no output has the batch as its first axis")


def _must_run(module: nn.Module, tensors: tuple[Tensor, ...], keywords: tuple[str, ...] | None) -> None:
    """Raises: UsageError when the module itself refuses the inputs, which is not the export's fault."""
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
    try:
        with torch.no_grad():
            module(*tensors) if keywords is None else module(**dict(zip(keywords, tensors)))
    except Exception as error:
        todo = "give inputs that the model takes"
        raise UsageError(f"run {type(module).__name__} on {shapes}", _reason(error), todo) from error


def _export(
    module: nn.Module,
    tensors: tuple[Tensor, ...],
    keywords: tuple[str, ...] | None,
    shapes: list[dict[int, Any]] | None,
) -> ExportedProgram:
    if keywords is None:
        spec: Any = tuple(shapes) if shapes else None
        return torch.export.export(module, tensors, dynamic_shapes=spec, strict=False)
    spec = dict(zip(keywords, shapes)) if shapes else None
    return torch.export.export(module, (), dict(zip(keywords, tensors)), dynamic_shapes=spec, strict=False)


def _failing_module(module: nn.Module, tensors: tuple[Tensor, ...], keywords: tuple[str, ...] | None) -> str:
    """Path of the innermost module that was running when the export failed; "" when that cannot be told."""
    active: list[str] = []
    hooks = []
    for path, child in module.named_modules():
        hooks.append(child.register_forward_pre_hook(lambda *_, path=path: active.append(path)))
        hooks.append(child.register_forward_hook(lambda *_: active.pop() and None))
    try:
        _export(module, tensors, keywords, None)
    except Exception:
        return active[-1] if active else ""
    finally:
        for hook in hooks:
            hook.remove()
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, EdgesmithError):
        return error.found
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:240]}" if lines else type(error).__name__


def _flat(module: fx.GraphModule, names: tuple[str, ...]) -> fx.GraphModule:
    """Plain positional inputs under the given names, a flat tuple of outputs, no guards, no dead code."""
    graph = module.graph
    graph.set_codegen(fx.graph.CodeGen())
    for node, name in zip(graph.find_nodes(op="placeholder"), names):
        node._rename(name)  # fx makes it a valid and unused identifier
        node.target = node.name
    graph.eliminate_dead_code()
    return fx.GraphModule(module, graph)  # a new one, without the hooks that check inputs


def _argument_names(module: nn.Module, count: int) -> tuple[str, ...]:
    names = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return tuple(names[:count]) if len(names) >= count else tuple(f"input_{index}" for index in range(count))


def _check_inputs(names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> None:
    asked = f"capture with inputs {list(names)}"
    if len(names) != len(tensors) or len(set(names)) != len(names):
        raise UsageError(asked, f"{len(tensors)} example inputs", "give every input one name of its own")
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        found = [type(tensor).__name__ for tensor in tensors]
        raise UsageError(asked, f"example inputs are {found}", "give one tensor an input")


def _output_names(exported: ExportedProgram) -> list[str]:
    spec = exported.call_spec.out_spec
    count = len(exported.graph_signature.user_outputs)
    keys = list(spec.context) if spec is not None and spec.type is dict else []
    if len(keys) == count and all(isinstance(key, str) for key in keys):
        return keys
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _output_specs(
    module: fx.GraphModule, names: Sequence[str], example: tuple[Tensor, ...], dynamic: bool
) -> tuple[TensorSpec, ...]:
    with torch.no_grad():
        values = module(*example)
    if len(names) != len(values):
        raise UsageError(f"capture with outputs {list(names)}", f"the model returns {len(values)}", "name every output")
    fakes = [node.meta["val"] for node in module.graph.output_node().args[0]]  # type: ignore[union-attr]
    return tuple(
        TensorSpec(name, _shape(value, dynamic and _is_symbolic(fake)), _dtype(value))
        for name, value, fake in zip(names, values, fakes)
    )


def _is_symbolic(fake: Tensor) -> bool:
    return fake.dim() > 0 and not isinstance(fake.shape[0], int)


def _shape(tensor: Tensor, dynamic: bool) -> tuple[int | str, ...]:
    return ("batch", *tensor.shape[1:]) if dynamic else tuple(tensor.shape)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _two_samples(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """torch.export treats a batch of one as a constant, so a symbolic batch is traced with two samples."""
    size = next((tensor.shape[0] for tensor in tensors if tensor.dim()), None)
    return tuple(torch.cat([t, t]) if size == 1 and t.dim() and t.shape[0] == 1 else t for t in tensors)


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    modes = {child: child.training for child in module.modules()}
    for child in modes:  # not module.eval(): a saved program's module refuses to be asked
        child.training = False
    try:
        yield
    finally:
        for child, mode in modes.items():
            child.training = mode
