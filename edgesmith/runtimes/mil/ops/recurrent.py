"""Recurrent layers over sequences (s, b, I), one step after another.

The order of the gates in the weights is that of MIL: lstm i f o z, gru r o z. A layer that runs backwards gives its
steps in the order in which it made them; the backward half of a bidirectional one gives them in the order of the
input. Source: coremltools' iOS15.recurrent and the layers of NeuralNetwork.proto.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgesmith.runtimes.mil.numerics import matmul
from edgesmith.runtimes.mil.registry import Call, Tensor, op

Activation = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "scaled_tanh": torch.tanh,  # alpha and beta are 1 by default, and there is no input for others
    "relu": torch.relu,
    "linear": lambda x: x,
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
}


def activation_of(name: str) -> Activation:
    """An activation by its MIL name. Raises: ValueError."""
    if name.lower() not in _ACTIVATIONS:
        raise ValueError(f"activation {name!r}: it is one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name.lower()]


def in_order(x: Tensor, direction: str, *more: str) -> Tensor:
    """The steps of x in the order a layer takes them. Raises: ValueError for an unknown direction."""
    if direction not in ("forward", "reverse", *more):
        raise ValueError(f"direction {direction!r}: it is {', '.join(('forward', 'reverse', *more))}")
    return x.flip(0) if direction == "reverse" else x


def last_or_all(steps: list[Tensor], all_steps: bool) -> Tensor:
    """Shape: (s, b, H), or (1, b, H) of the last step alone."""
    return torch.stack(steps) if all_steps else steps[-1][None]


def plus(x: Tensor, bias: Tensor | None) -> Tensor:
    """x with a bias, if there is one."""
    return x if bias is None else x + bias


@op("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    call: Call,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """h = activation(W x + R h + b)."""
    act, h, steps = activation_of(activation), initial_h, []
    for given in plus(matmul(in_order(x, direction), weight_ih.mT, call.numerics), bias):
        h = act(given + matmul(h, weight_hh.mT, call.numerics))
        steps.append(h)
    return last_or_all(steps, output_sequence), h


@op("gru")
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    call: Call,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """r, z = recurrent_activation(W x + R h + b); o = activation(W x + R (r h) + b); h = (1 - z) o + z h."""
    gate, act, h = activation_of(recurrent_activation), activation_of(activation), initial_h
    gates, update = _rows(weight_hh)
    steps = []
    for given in plus(matmul(in_order(x, direction), weight_ih.mT, call.numerics), bias):
        x_r, x_o, x_z = given.chunk(3, -1)
        h_r, h_z = matmul(h, gates.mT, call.numerics).chunk(2, -1)
        r, z = gate(x_r + h_r), gate(x_z + h_z)
        o = act(x_o + matmul(r * h, update.mT, call.numerics))
        h = (1 - z) * o + z * h
        steps.append(h)
    return last_or_all(steps, output_sequence), h


@op("gru", since="ios18")
def gru_ios18(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    call: Call,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """With reset_after o = activation(W x + input_bias + r (R h + bias)), as in PyTorch."""
    if not reset_after:
        total = input_bias if bias is None else plus(bias, input_bias)
        names = (direction, output_sequence, recurrent_activation, activation)
        return gru(x, initial_h, weight_ih, weight_hh, call, total, *names)
    gate, act, h = activation_of(recurrent_activation), activation_of(activation), initial_h
    steps = []
    for given in plus(matmul(in_order(x, direction), weight_ih.mT, call.numerics), input_bias):
        x_r, x_o, x_z = given.chunk(3, -1)
        h_r, h_o, h_z = plus(matmul(h, weight_hh.mT, call.numerics), bias).chunk(3, -1)
        z = gate(x_z + h_z)
        h = (1 - z) * act(x_o + gate(x_r + h_r) * h_o) + z * h
        steps.append(h)
    return last_or_all(steps, output_sequence), h


def _rows(weight_hh: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the two gates, and those of the new value between them."""
    r, o, z = weight_hh.chunk(3)
    return torch.cat([r, z]), o
