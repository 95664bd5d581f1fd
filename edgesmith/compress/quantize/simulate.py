"""The float program of a plan, run with any set of its layers in integers: what each alone does to the output."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from edgesmith.compress.quantize.placement import owner, place
from edgesmith.graph.operators import constant, feeds_output, is_convolution, is_weighted, source
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import planned
from edgesmith.quant import EdgeQuant, QuantPlan, dequantize, quantize
from edgesmith.targets import rules_of

Values = dict[fx.Node, Any]


@dataclass(frozen=True)
class Answer:
    """What a run gave: the outputs of the model, and the value at the end of each layer that ran in integers."""

    outputs: tuple[Tensor, ...]
    tails: Mapping[str, Tensor]


class Simulation:
    """One plan's arithmetic in torch, layer by layer.

    A layer in integers reads its inputs and its weight from the plan's grids and leaves its output (that of the
    activation fused into it) on one. With all layers in integers this is the program that `apply_plan` makes.
    layers: paths of the original's layers that the plan quantizes, in graph order; the parts of a lowered activation
    are one layer.
    """

    def __init__(self, program: Program, plan: QuantPlan) -> None:
        self.program = planned(program, replace(plan, bias_shifts={}, rounded_up={}))
        corrected = planned(program, plan)
        nodes = self.program.nodes
        floats = [path for path, precision in plan.precision.items() if precision != "int8" and path in nodes]
        placement = place(self.program, rules_of(plan.family), plan.rewrites, floats)
        self._names = {node: edge for edge, node in self.program.edges()}
        self._quants = {node: plan.resolve(edge) for node, edge in self._names.items()}
        self._parts: dict[str, list[fx.Node]] = {}
        self._tails: dict[str, fx.Node] = {}
        self._constants: dict[fx.Node, dict[fx.Node, Tensor]] = {}
        self._extra: dict[fx.Node, Tensor] = {}
        for layer, tail in zip(placement.layers, placement.tails):
            path = self.program.paths[layer.name]
            whole = owner(path, plan.rewrites)
            self._parts.setdefault(whole, []).append(layer)
            self._tails[whole] = tail
            if is_weighted(layer):
                self._take_constants(plan, path, layer, corrected)
        self._ends = {tail: whole for whole, tail in self._tails.items()}
        self._behind = {whole: _descendants(parts) for whole, parts in self._parts.items()}
        self.layers = tuple(self._parts)

    def _take_constants(self, plan: QuantPlan, path: str, layer: fx.Node, corrected: Program) -> None:
        """The weight as its integers say, and the bias with the plan's correction."""
        quant = plan.resolve(f"{path}:weight")
        if quant is None:
            return
        weight = constant(corrected.module, corrected.nodes[path], 1).float().numpy()
        self._constants[layer] = {source(layer, 1): torch.from_numpy(dequantize(quantize(weight, quant), quant))}
        if path in plan.bias_shifts:
            self._extra[layer] = torch.as_tensor(plan.bias_shifts[path], dtype=torch.float32)

    def values(self, inputs: tuple[Tensor, ...]) -> Values:
        """Every value of the float program on these inputs: what runs of single layers start from."""
        runner = _Runner(self, frozenset())
        runner.run(*inputs, enable_io_processing=False)
        return {node: value for node, value in runner.env.items() if node.op != "output"}

    def outputs(self, values: Values) -> tuple[Tensor, ...]:
        """The outputs of the float program among its values."""
        return tuple(values[node] for node in self.program.module.graph.output_node().args[0])  # type: ignore

    def run(self, values: Values, layers: Collection[str]) -> Answer:
        """Outputs with these layers in integers; only what lies behind them is computed again."""
        runner = _Runner(self, frozenset(layers))
        behind = set().union(*(self._behind[layer] for layer in layers)) if layers else set()
        start = {node: value for node, value in values.items() if node not in behind}
        outputs = runner.run(initial_env=start, enable_io_processing=False)
        return Answer(tuple(outputs), runner.seen)

    def float_tail(self, values: Values, layer: str) -> Tensor:
        """The float value that a layer's integer output stands for."""
        value: Tensor = values[self._tails[layer]]
        return value


class _Runner(fx.Interpreter):
    """One pass with some layers in integers."""

    def __init__(self, simulation: Simulation, layers: frozenset[str]) -> None:
        super().__init__(simulation.program.module, garbage_collect_values=False)
        self.simulation, self.layers = simulation, layers
        self.integer = {node for layer in layers for node in simulation._parts[layer]}
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        ours = self.simulation
        value = self._integer(n) if n in self.integer else super().run_node(n)
        layer = ours._ends.get(n)
        if layer in self.layers:
            value = value if feeds_output(n) else on_grid(value, ours._quants.get(n))
            self.seen[layer] = value
        return value

    def _integer(self, n: fx.Node) -> Tensor:
        ours = self.simulation
        weights = ours._constants.get(n, {})

        def read(node: fx.Node) -> Any:
            return weights[node] if node in weights else on_grid(self.env[node], ours._quants.get(node))

        value: Tensor = n.target(*fx.map_arg(n.args, read), **fx.map_arg(n.kwargs, read))  # type: ignore
        if n in ours._extra:
            behind_channels = value.dim() - 2 if is_convolution(n) else 0
            value = value + ours._extra[n].reshape(-1, *[1] * behind_channels)
        return value


def on_grid(value: Tensor, quant: EdgeQuant | None) -> Tensor:
    """A value rounded to the grid of its edge; as it is where it has none (an output of the model stays float)."""
    if quant is None:
        return value
    spec, scale, zero = quant.spec, float(quant.scale), int(quant.zero_point)
    return torch.fake_quantize_per_tensor_affine(value, scale, zero, spec.qmin, spec.qmax)


def _descendants(layers: Collection[fx.Node]) -> set[fx.Node]:
    """The nodes that must be computed again when these change."""
    found, todo = set(layers), list(layers)
    while todo:
        for user in todo.pop().users:
            if user not in found:
                found.add(user)
                todo.append(user)
    return found
