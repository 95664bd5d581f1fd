"""From a net to its fake-quantized form and back: how a quantization-aware training begins and ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.corrections import CORRECTIONS
from edgesmith.compress.quantize.fake_quant import FakeQuantNet, owner_of
from edgesmith.compress.quantize.observe import observe
from edgesmith.compress.quantize.plan import derive
from edgesmith.compress.quantize.put_back import (
    Places,
    check_put_back,
    check_unshared,
    left_over,
    places_of,
    put_back,
)
from edgesmith.compress.quantize.student import HEAD, Captured, QuantizedStudent, capture_student
from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import constant, constant_or_none, source
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import fold_batchnorm, planned, simplify
from edgesmith.quant import BiasOf, EdgeQuant, QuantPlan, SameAs, choose, in_half
from edgesmith.targets import rules_of

Edges = dict[str, EdgeQuant | SameAs | BiasOf]
_PIECE = 32  # samples at a time
_BIAS_LIMIT = 2.0**30  # of an int32 bias, as in plan.py


@dataclass(frozen=True)
class Aware:
    """What a training works on. state: of the net that the task deployed at the start, samples: what calibrated it.

    own: names in the task's student that the trained weights replace. derived: layers whose weights the task makes anew
    when it deploys (class centres as a head, a folded projector): those stay out of the training.
    """

    state: Mapping[str, Tensor]
    samples: tuple[Tensor, ...]
    captured: Captured
    lowered: Program
    plan: QuantPlan
    places: Places
    own: frozenset[str]
    derived: frozenset[str]
    student: QuantizedStudent

    def weights(self) -> dict[str, Tensor]:
        """The trained weights under the names of the task's student."""
        trained = self.student.net.constants()
        found = put_back(self.places, self.captured.program, self.lowered, trained, self.state)
        return {name: found[name] for name in self.own}

    def final_plan(self, net: nn.Module) -> QuantPlan:
        """The plan for a net with the trained weights. Raises: UsageError when it is not what was trained."""
        trained, inputs = self.student.net.constants(), tuple(x.name for x in self.captured.program.inputs)
        program = capture_student(net, self.captured.program.example, inputs).program
        anew = {path for path in self.derived if not _same_weight(self.lowered, program, path)}
        kept = {path: shift for path, shift in self.plan.bias_shifts.items() if path in self.derived - anew}
        shifts = {**left_over(self.places, trained, self.state), **kept}
        edges = self._edges()
        plan = replace(self.plan, edges=edges, factors={}, bias_shifts=shifts, program=program.digest)
        names = {name for path, both in self.places.layers.items() if path not in self.derived for name in both}
        again = check_put_back(program, plan, trained, names - {""})
        fitting = _fitting(again, edges, anew)
        if rules_of(plan.family).half_scales:
            fitting = {edge: in_half(how) if isinstance(how, EdgeQuant) else how for edge, how in fitting.items()}
        return replace(plan, edges=fitting)

    def _edges(self) -> Edges:
        """The edges as they were trained. What a derived head reads was not: it gets the range it has now."""
        edges = self.student.net.edges()
        if HEAD in self.derived and self.captured.embedding:
            names = {node: edge for edge, node in self.lowered.edges()}
            edge = owner_of(self.plan, names[source(self.lowered.nodes[HEAD])])
            low, high = self._embedded()
            edges[edge] = choose(_numbers(edges, edge).spec, low, high)
        return edges

    @torch.no_grad()
    def _embedded(self) -> tuple[float, float]:
        device = next(self.student.parameters()).device
        pieces = zip(*(tensor.split(_PIECE) for tensor in self.samples))
        values = [self.student.embed(*(tensor.to(device) for tensor in piece)) for piece in pieces]
        return min(float(z.min()) for z in values), max(float(z.max()) for z in values)


def begin(
    net: nn.Module,
    student: Mapping[str, Tensor],
    samples: tuple[Tensor, ...],
    inputs: tuple[str, ...] | None,
    family: str,
    instruction_set: str,
) -> Aware:
    """Calibrate a net and make it learn under the plan of a family.

    net: what a task deploys. student: the state of the task's student. Raises: UsageError for a net that cannot be
    captured, that shares weights between layers, or that is not made of the student.
    """
    captured = capture_student(net, tuple(x[:2] for x in samples), inputs)
    check_unshared(captured.program)
    state = {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}
    own = frozenset(name for name, value in state.items() if name in student and _equal(student[name], value))
    before = places_of(captured.program, simplify(captured.program))
    derived = frozenset(path for path in before.layers if not (before.of(path) & set(state)) <= own)
    # A layer made anew at the end knows nothing of factors; the head alone is out of their reach (student.py).
    within_reach = derived - {HEAD} if captured.embedding else derived
    folded = fold_batchnorm(captured.program)
    corrections = CORRECTIONS[1:] if within_reach else CORRECTIONS
    ranges = observe(folded, [samples])
    plan = derive(folded, ranges, family, instruction_set, corrections=corrections)
    lowered = planned(captured.program, plan)
    places = places_of(captured.program, lowered)
    learning = _learning(captured.program, places, net, own, derived)
    if not learning or any(not _same_weight(lowered, captured.program, path) for path in derived):
        found = f"what it deploys has other weights than its student, e.g. at {min(derived, default='its layers')}"
        raise UsageError("train a task aware of quantization", found, "train without a projector or an ensemble")
    made = QuantizedStudent(captured, lowered, FakeQuantNet(lowered, plan, learning))
    return Aware(state, samples, captured, lowered, plan, places, own, derived, made)


def _learning(
    program: Program, places: Places, net: nn.Module, own: Collection[str], derived: Collection[str]
) -> set[str]:
    """Names of the planned program's constants that learn: what learned in the net, but no slope of a PReLU.

    Slopes stay, because their form and their flips are settled (graph/activations.py).
    """
    free = {name for name, parameter in net.named_parameters() if parameter.requires_grad and name in own}
    slopes = {str(source(node, 1).target) for node in program.nodes.values() if operator_name(node) == "prelu"}
    found = free - slopes
    for path, (weight, bias) in places.layers.items():
        learns = path not in derived and bool(places.of(path) & free)
        if not learns:
            found -= {weight, bias}
        elif weight in free or path in places.written:
            found |= {weight, bias}
    return found - {""}


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.detach().cpu(), other.detach().cpu())


def _same_weight(lowered: Program, program: Program, path: str) -> bool:
    """Whether a layer has in a planned program the weight that it has in a captured one."""
    mine, theirs = (constant(one.module, one.nodes[path], 1).flatten() for one in (lowered, simplify(program)))
    return bool(mine.shape == theirs.shape and torch.allclose(mine, theirs))


def _fitting(program: Program, edges: Edges, anew: Collection[str]) -> Edges:
    """Step sizes of weights: large enough for the layer's int32 bias, and of layers made anew from their weights."""
    plan_edges, names = dict(edges), {node: edge for edge, node in program.edges()}
    for path, node in program.nodes.items():
        quant = edges.get(f"{path}:weight")
        if not isinstance(quant, EdgeQuant):
            continue
        if path in anew:
            rows = constant(program.module, node, 1).flatten(1).numpy()
            quant = choose(quant.spec, rows.min(1), rows.max(1))
        bias, x = constant_or_none(program.module, node, 2), _numbers(edges, names[source(node)])
        least = 0.0 if bias is None else np.abs(bias.numpy()) / (float(x.scale) * _BIAS_LIMIT)
        plan_edges[f"{path}:weight"] = replace(quant, scale=np.maximum(quant.scale, least).astype(np.float32))
    return plan_edges


def _numbers(edges: Edges, edge: str) -> EdgeQuant:
    found = edges[edge]
    while isinstance(found, SameAs):
        found = edges[found.edge]
    assert isinstance(found, EdgeQuant)  # BiasOf is no value's
    return found
