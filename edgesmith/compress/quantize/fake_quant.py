"""Fake quantization: a program computed in float, rounded wherever its plan says, with step sizes that learn (LSQ).

Source: Esser et al. 2020, "Learned Step Size Quantization", arXiv 1902.08153. differs from the paper: step sizes start
from a calibrated plan and stay near it, they learn on a logarithmic scale (as in Jain et al. 2020, arXiv 1903.08066),
activations may have a zero point, which stays as calibrated, and weights have a step size for each output channel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgesmith.errors import UsageError
from edgesmith.graph.operators import feeds_output
from edgesmith.graph.program import Program
from edgesmith.graph.qdq import edge_nodes
from edgesmith.quant import BiasOf, EdgeQuant, QuantPlan, SameAs
from edgesmith.targets import rules_of

FARTHEST = 1.0  # binary orders of magnitude that a step size may move away from the calibrated one


class LsqRound(torch.autograd.Function):
    """round(clip(x / s, low, high)) s. Gradient of x: straight through where it was not clipped.

    Gradient of s: round(x / s) - x / s inside, low or high where clipped (equation 3), times `gain`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: int, high: int, gain: float) -> Tensor:
        scaled = x / step
        ctx.save_for_backward(scaled, step)
        ctx.bounds, ctx.gain = (low, high), gain
        return scaled.clamp(low, high).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scaled, step = ctx.saved_tensors
        inside = (scaled >= ctx.bounds[0]) & (scaled <= ctx.bounds[1])
        to_x = grads[0] * inside
        if not ctx.needs_input_grad[1]:
            return to_x, None, None, None, None
        slope = scaled.clamp(*ctx.bounds).round_().sub_(scaled * inside)
        to_step = (grads[0] * slope).sum_to_size(step.shape) * ctx.gain
        return to_x, to_step, None, None, None


class StepSize(torch.autograd.Function):
    """s = start 2^t (half: as a number of fp16), with the gradient of t made relative: that of s over s, at most 1.

    An optimizer's step then changes a step size by a share of it, and by no more than the learning rate; in 8 bits a
    few clipped values could otherwise turn it around.
    """

    @staticmethod
    def forward(ctx: Any, start: Tensor, exponent: Tensor, half: bool) -> Tensor:
        step = start * exponent.exp2()
        step = step.half().float() if half else step
        ctx.save_for_backward(step)
        return step

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        return None, (grads[0] / ctx.saved_tensors[0]).clamp(-1, 1), None


class LsqQuantizer(nn.Module):
    """One edge of a plan. The step size's gradient is scaled by 1 / sqrt(n qmax), n the values it serves in a sample.

    Shape: values (N, ...) in and out for a tensor of activations; weights along spec.axis.
    """

    def __init__(self, quant: EdgeQuant, half: bool = False) -> None:
        super().__init__()
        self.spec, self.half_step = quant.spec, half
        start = torch.from_numpy(np.array(quant.scale, np.float32))
        self.exponent = nn.Parameter(torch.zeros_like(start))
        self.register_buffer("start", start)
        self.register_buffer("zero_point", torch.from_numpy(np.array(quant.zero_point, np.int64)))
        zero = int(quant.zero_point.flat[0]) if np.any(quant.zero_point) else 0
        self.bounds = (quant.spec.qmin - zero, quant.spec.qmax - zero)

    def forward(self, x: Tensor) -> Tensor:
        step, served = self.step(), x[0].numel()
        if self.spec.axis is not None:
            step = step.reshape([-1 if axis == self.spec.axis else 1 for axis in range(x.dim())])
        gain = (served * self.spec.qmax) ** -0.5
        return LsqRound.apply(x.float(), step, *self.bounds, gain)  # type: ignore[no-untyped-call, no-any-return]

    def step(self) -> Tensor:
        """The step size: from half to twice the calibrated one."""
        with torch.no_grad():
            self.exponent.clamp_(-FARTHEST, FARTHEST)
        return StepSize.apply(self.start, self.exponent, self.half_step)  # type: ignore[no-untyped-call, no-any-return]

    def numbers(self) -> EdgeQuant:
        """The edge as it is now."""
        step, zero = self.step().detach().cpu().numpy(), self.zero_point.cpu().numpy()  # type: ignore[operator]
        return EdgeQuant(self.spec, step.copy(), zero.copy())


class FakeQuantNet(nn.Module):
    """A planned program (graph/rewrite.py) with its plan's rounding in it; takes and gives what the program does.

    Rounding stands where graph/annotate.py puts it: readers see the rounded value, an output of the model the float
    one. The int32 rounding of biases, smaller than a product of two steps, is left out.
    """

    def __init__(self, program: Program, plan: QuantPlan, learning: Collection[str]) -> None:
        """learning: names of the constants that are to be trained; the others stay. Raises: UsageError."""
        super().__init__()
        module, self.paths, _ = program.copy()
        nodes = edge_nodes(program, module)
        unknown = [edge for edge, how in plan.edges.items() if edge not in nodes and not isinstance(how, BiasOf)]
        if unknown:
            found = f"the program has no edge {unknown[0]!r}"
            raise UsageError(f"train with a {plan.family} plan", found, "derive the plan from this model")
        self.plan = plan
        self.owners = {edge: f"q{index}" for index, edge in enumerate(owned(plan))}
        half = rules_of(plan.family).half_scales
        quantizers = {name: LsqQuantizer(plan.edges[edge], half) for edge, name in self.owners.items()}  # type: ignore[arg-type]
        module.add_module("quantizers", nn.ModuleDict(quantizers))
        for edge, how in plan.edges.items():
            if not isinstance(how, BiasOf):
                _insert(module, nodes[edge], f"quantizers.{self.owners[owner_of(plan, edge)]}")
        self.graph = fx.GraphModule(module, module.graph)
        for name, parameter in self.graph.named_parameters():
            parameter.requires_grad_(name in learning or name.startswith("quantizers."))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.graph(*inputs)  # type: ignore[no-any-return]

    def quantizer(self, edge: str) -> LsqQuantizer | None:
        """The quantizer of an edge; None for a float one."""
        if edge not in self.plan.edges:
            return None
        return self.graph.get_submodule(f"quantizers.{self.owners[owner_of(self.plan, edge)]}")  # type: ignore[return-value]

    def step_sizes(self) -> list[nn.Parameter]:
        """What learns of every step size, once each."""
        return [self.graph.get_parameter(f"quantizers.{name}.exponent") for name in self.owners.values()]

    def edges(self) -> dict[str, EdgeQuant | SameAs | BiasOf]:
        """The plan's edges with the step sizes as they are now."""
        now = {edge: self.graph.get_submodule(f"quantizers.{name}").numbers() for edge, name in self.owners.items()}  # type: ignore[operator]
        return {edge: now.get(edge, how) for edge, how in self.plan.edges.items()}

    def constants(self) -> Mapping[str, Tensor]:
        """Weights, biases and all else that the program reads, by name."""
        named = (*self.graph.named_parameters(), *self.graph.named_buffers())
        return {name: value.detach().cpu().clone() for name, value in named if not name.startswith("quantizers.")}


def owned(plan: QuantPlan) -> list[str]:
    """The edges that have numbers of their own."""
    return [edge for edge, how in plan.edges.items() if isinstance(how, EdgeQuant)]


def owner_of(plan: QuantPlan, edge: str) -> str:
    """The edge whose numbers an edge takes."""
    how = plan.edges[edge]
    return owner_of(plan, how.edge) if isinstance(how, SameAs) else edge


def _insert(module: fx.GraphModule, node: fx.Node, target: str) -> None:
    readers = [user for user in node.users if user.op != "output"]
    if not readers or (node.op == "get_attr" and feeds_output(node)):
        return
    with module.graph.inserting_after(node):
        rounded = module.graph.call_module(target, (node,))
    rounded.meta.update(node.meta)
    for reader in readers:
        reader.replace_input_with(node, rounded)
