"""What an exporter is, and what all of them share: the program for a target, names in the file, failures explained."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import fx
from torch.export import ExportedProgram

from edgesmith.artifact import Exported, Product
from edgesmith.errors import ExportFailed, UsageError
from edgesmith.graph.capture import Program, exported_program, named_values, node_names
from edgesmith.graph.macs import layer_macs
from edgesmith.graph.operators import becomes_output, is_convolution
from edgesmith.graph.rewrite import fold_batchnorm, lower_activations, planned
from edgesmith.quant import QuantPlan
from edgesmith.targets import Target

_PRELU = (torch.ops.aten.prelu.default, torch.ops.aten._prelu_kernel.default)
# How the converters name what they stumble over: by node, or by the operator's bare name.
_BY_NODE = (re.compile(r"%(\w+) : .*call_function"), re.compile(r"[Uu]nsupported fx node (\w+)"))
_BY_OPERATOR = (
    re.compile(r"convert function for op '(\w+)' not implemented"),
    re.compile(r"converting '(?:\w+::)?(\w+?)(?:\.\w+)?' op"),
    re.compile(r"Missing out variants: \{'\w+::(\w+)"),  # ExecuTorch
    re.compile(r"unable to handle call function op: target: (\w+)"),
    re.compile(r"%\w+ : .*target=torch\.ops\.\w+\.(\w+)"),  # a part of one of ours: prims.bessel_j0
)


class Exporter(Protocol):
    """One format. `program` is the unfolded capture; files go into the existing folder `out`.

    Returns the record without preprocessing, labels and golden data, not yet sealed.
    Raises: ExportFailed naming the operator and the user's module, MissingPackage.
    """

    def __call__(self, program: Program, plan: QuantPlan | None, target: Target, out: Path) -> Exported: ...


def prepared(program: Program, plan: QuantPlan | None, target: Target) -> Program:
    """The program a target gets: batch norms folded, then quantized, or activations in the form its runtime likes.

    Raises: UsageError when an int8 target has no plan, or one for another family.
    """
    folded = fold_batchnorm(program)
    if target.precision == "int8":
        if plan is None or plan.family != target.family:
            found = "no quantization plan" if plan is None else f"a plan for {plan.family}"
            raise UsageError(f"export to {target.name}", found, f"derive a plan for {target.family}")
        from edgesmith.graph.qdq import apply_plan  # loads torchao, which a float export does without

        return apply_plan(folded, plan)
    if target.runtime == "ort":
        # ONNX Runtime executes PRelu about eight times slower than a*x + (1-a)*relu(x), which holds for every slope.
        return lower_activations(folded, {path: "affine" for path in _prelus(folded)})
    return folded


def half(program: Program) -> Program:
    """The same program computing in fp16, with float32 inputs and outputs: what takes its types from the file."""
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


def decomposed(program: Program, largest_batch: int | None = None) -> ExportedProgram:
    """The exported program in the inference dialect: what coremltools takes, and what keeps names the same for all."""
    with quiet():
        made = exported_program(program, largest_batch).run_decompositions({})
        return made.run_decompositions({}) if _has_gaps(made) else made


def _has_gaps(exported: ExportedProgram) -> bool:
    """Whether a number is left out in the names of nodes (add, add_2), because what had it was dropped.

    Converters decompose once more and number anew: the file would then call other values by these names.
    """
    names = {node.name for node in exported.graph.nodes if node.op == "call_function"}
    numbered = (re.fullmatch(r"(.+)_(\d+)", name) for name in names)
    return any(_before(found[1], int(found[2])) not in names for found in numbered if found)


def _before(name: str, number: int) -> str:
    return f"{name}_{number - 1}" if number > 1 else name


def user_outputs(exported: ExportedProgram, program: Program) -> dict[str, str]:
    """Name of the node that computes an output -> the output's name."""
    nodes = exported.graph_signature.user_outputs
    return {str(node): spec.name for node, spec in zip(nodes, program.outputs)}


def layer_names(program: Program, exported: ExportedProgram, present: Collection[str]) -> dict[str, str]:
    """Module path -> tensor name in the file, for every layer whose tensor is still there under its name."""
    return layer_places(program, exported, tensors_present(program, exported, present)).names


@dataclass(frozen=True)
class Places:
    """Where the layers stand in a file, as the record of an artefact says it (Exported)."""

    names: dict[str, str]
    factors: dict[str, tuple[float, ...]]
    copies: dict[str, tuple[str, ...]]
    multiples: dict[str, float] = field(default_factory=dict)


def layer_places(program: Program, exported: ExportedProgram, tensors: Mapping[str, str]) -> Places:
    """Where every layer that can be found stands. tensors: node of the exported program -> tensor in the file."""
    places = Places({}, {}, {})
    for path, value in named_values(program, exported).items():
        found = [tensors[node] for node in value.nodes if node in tensors]
        if found:
            places.names[path] = found[0]
        if found and value.factor is not None:
            places.factors[path] = tuple(map(float, value.factor))
        if found[1:]:
            places.copies[path] = tuple(found[1:])
    return places


def tensors_present(program: Program, exported: ExportedProgram, present: Collection[str]) -> dict[str, str]:
    """Node of the exported program -> its tensor, for files that keep the names of nodes."""
    outputs = user_outputs(exported, program)
    named = {str(node.name): outputs.get(node.name, node.name) for node in exported.graph.nodes}
    return {node: name for node, name in named.items() if name in present}


def products(
    program: Program, plan: QuantPlan | None, target: Target, names: Mapping[str, tuple[str, ...]]
) -> tuple[Product, ...]:
    """The layers that multiply matrices, and the type that the plan, or else the target, wants each of them in.

    names: module path -> what the file calls the layer. A quantized target runs what its plan leaves out in float, and
    ONNX Runtime also a convolution whose result leaves the model in float: it has no such integer operator.
    """
    quantized = plan if target.precision == "int8" else None
    lowered = planned(fold_batchnorm(program), quantized) if quantized else program
    found = []
    last = {path for path, node in lowered.nodes.items() if is_convolution(node) and becomes_output(node)}
    ends = last if target.runtime == "ort" else set()
    for path, macs in layer_macs(lowered).items():
        if macs:
            planned_in = "fp32" if quantized and path in ends else quantized and quantized.precision.get(path, "fp32")
            asked = planned_in or target.precision
            found.append(Product(path, macs, asked, names.get(path, ())))
    return tuple(found)


def record(
    program: Program,
    plan: QuantPlan | None,
    target: Target,
    out: Path,
    places: dict[str, str] | Places,
    notes: tuple[str, ...] = (),
    operators: Mapping[str, tuple[str, ...]] | None = None,
    operator_layers: Mapping[str, str] | None = None,
) -> Exported:
    """The record of a finished export whose main file is model<suffix>.

    operators: module path -> what the file calls the operator of this layer, where that is more than `names`.
    operator_layers: the same for every operator, the other way round [default: the layers' own tensors].
    """
    found = places if isinstance(places, Places) else Places(places, {}, {})
    called = {path: (name,) for path, name in found.names.items()} | dict(operators or {})
    digest = plan.digest() if plan is not None and target.precision == "int8" else None
    return Exported(
        target=target.name,
        runtime=target.runtime,
        precision=target.precision,
        main=f"model{target.suffix}",
        inputs=program.inputs,
        outputs=program.outputs,
        layer_names=found.names,
        layer_factors=found.factors,
        layer_copies=found.copies,
        multiples=found.multiples,
        products=products(program, plan, target, called),
        operator_layers=operator_layers or {name: path for path, name in found.names.items()},
        plan_digest=digest,
        notes=notes,
        root=out,
    )


def failure(
    error: BaseException, program: Program, exported: ExportedProgram, target: Target, log: str = ""
) -> ExportFailed:
    """Explain a converter's error by operator and module path. log: what the converter wrote while it failed."""
    asked = f"export to {target.name}"
    text = "\n".join([*_messages(error), log])
    node = _culprit(text, exported)
    if node is None:
        found = f"the converter stopped ({type(error).__name__}: {_first_line(error)})"
        return ExportFailed(asked, found, "rewrite that part of the model, or drop this target")
    return unsupported(asked, operator_of(node), module_path(node, program, exported), _first_line(error))


def unsupported(asked: str, operator: str, path: str, reason: str) -> ExportFailed:
    """The error for an operator that a target cannot take."""
    where = f"'{path}'" if path else "the model's own forward"
    return ExportFailed(
        asked,
        f"operator {operator} in {where} cannot be converted ({reason})",
        "replace it by operators this target knows, or drop this target",
    )


def operator_of(node: fx.Node) -> str:
    """The full name of a node's operator: aten.add.Tensor."""
    return str(node.target)


def module_path(node: fx.Node, program: Program, exported: ExportedProgram) -> str:
    """The user's module path of a node of the exported program, "" for the model itself."""
    stack = node.meta.get("nn_module_stack") or {}
    module = next((path for path, _ in reversed(stack.values())), "")
    named = next((path for path, name in node_names(program, exported).items() if name == node.name), "")
    # A folded batch norm hands its path on to the convolution; the module it was written in says more.
    return named if named.startswith(module) else module


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Keep converters from writing on stdout and stderr; yields what they wrote."""
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield heard


def _prelus(program: Program) -> list[str]:
    return [path for path, node in program.nodes.items() if node.target in _PRELU]


def _messages(error: BaseException) -> Iterator[str]:
    current: BaseException | None = error
    while current is not None:
        yield str(current)
        current = current.__cause__ or current.__context__


def _culprit(text: str, exported: ExportedProgram) -> fx.Node | None:
    nodes = [node for node in exported.graph.nodes if node.op == "call_function"]
    by_name = {node.name: node for node in nodes}
    for pattern in _BY_NODE:
        for match in pattern.finditer(text):
            if match.group(1) in by_name:
                return by_name[match.group(1)]
    for pattern in _BY_OPERATOR:
        for match in pattern.finditer(text):
            name = match.group(1)
            found = [node for node in nodes if any(p == name or p.endswith(f"_{name}") for p in _parts(node))]
            if found:
                return found[0]
    return None


def _parts(node: fx.Node) -> list[str]:
    return operator_of(node).split(".")


def _first_line(error: BaseException) -> str:
    deepest = list(_messages(error))[-1]
    lines = [line.strip() for line in deepest.splitlines() if line.strip()]
    return lines[0][:240] if lines else type(error).__name__
