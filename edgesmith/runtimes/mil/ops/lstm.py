"""The long short-term memory in one direction or both; conventions in recurrent.py."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgesmith.runtimes.mil.numerics import Numerics, matmul
from edgesmith.runtimes.mil.ops.recurrent import Activation, activation_of, in_order, last_or_all, plus
from edgesmith.runtimes.mil.registry import Call, Tensor, op


@dataclass(frozen=True)
class _Weights:
    """Of one direction: input and recurrent weights, their bias, and what the gates see of the cell (i f o)."""

    ih: Tensor
    hh: Tensor
    bias: Tensor | None
    peephole: Tensor | None


@dataclass(frozen=True)
class _Cell:
    gate: Activation
    cell: Activation
    out: Activation
    clip: float | None
    numerics: Numerics

    def run(self, x: Tensor, h: Tensor, c: Tensor, weights: _Weights) -> tuple[list[Tensor], Tensor]:
        """The h of every step, and the last c."""
        zero = c.new_zeros(())
        see_i, see_f, see_o = (zero, zero, zero) if weights.peephole is None else weights.peephole.chunk(3)
        steps = []
        for given in plus(matmul(x, weights.ih.mT, self.numerics), weights.bias):
            i, f, o, z = (given + matmul(h, weights.hh.mT, self.numerics)).chunk(4, -1)
            c = self.gate(f + see_f * c) * c + self.gate(i + see_i * c) * self.cell(z)
            if self.clip is not None:
                c = c.clamp(-self.clip, self.clip)
            h = self.gate(o + see_o * c) * self.out(c)
            steps.append(h)
        return steps, c


@op("lstm")
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    call: Call,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """c = f c + i z; h = o activation(c): all steps or the last one, the last h, the last c.

    Shape: x (s, b, I); h and c (b, H), or (b, 2 H) in both directions, the forward one first.
    """
    gates, inner, outer = (activation_of(name) for name in (recurrent_activation, cell_activation, activation))
    cell = _Cell(gates, inner, outer, clip, call.numerics)
    forward = _Weights(weight_ih, weight_hh, bias, peephole)
    x = in_order(x, direction, "bidirectional")
    if direction != "bidirectional":
        steps, c = cell.run(x, initial_h, initial_c, forward)
        return last_or_all(steps, output_sequence), steps[-1], c
    if weight_ih_back is None or weight_hh_back is None:
        raise ValueError("a bidirectional lstm without weight_ih_back and weight_hh_back")
    h_there, h_back = initial_h.chunk(2, -1)
    c_there, c_back = initial_c.chunk(2, -1)
    there, c_there = cell.run(x, h_there, c_there, forward)
    backward = _Weights(weight_ih_back, weight_hh_back, bias_back, peephole_back)
    back, c_back = cell.run(x.flip(0), h_back, c_back, backward)
    last = torch.cat([there[-1], back[-1]], -1)
    both = torch.stack([torch.cat(pair, -1) for pair in zip(there, reversed(back))]) if output_sequence else last[None]
    return both, last, torch.cat([c_there, c_back], -1)
