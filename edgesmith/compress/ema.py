"""A moving average of the weights (EMA): steadier than the last step's, and what is deployed when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

WARMUP = 10  # steps after which the average has about a tenth of its window behind it


class Average:
    """The moving average of every parameter of a module that learns; its other state is always the module's own.

    After step t: average += (1 - d) (weight - average), with d = min(decay, (1 + t) / (10 + t)), so that the first
    steps do not cling to where the weights started. Buffers (batch-norm statistics) are not averaged.
    Source: the schedule of d, tf.train.ExponentialMovingAverage(num_updates).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.steps = module, decay, 0
        self.values: dict[str, Tensor] = {}
        self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        """Drop what the module no longer has, and begin with what is new."""
        self.learning = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        kept = {name: v for name, v in self.values.items() if name in self.learning}
        fits = {name: v for name, v in kept.items() if v.shape == self.learning[name].shape}
        self.values = {name: fits.get(name, p.detach().clone()) for name, p in self.learning.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (WARMUP + self.steps))
        weights = [parameter.detach() for parameter in self.learning.values()]
        torch._foreach_lerp_(list(self.values.values()), weights, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Put the averages in the module's place, and its weights in theirs; a second call undoes the first."""
        for name, parameter in self.learning.items():
            parameter.data, self.values[name] = self.values[name], parameter.data

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module has the averaged weights inside the block; nothing may learn there."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"steps": self.steps, "values": dict(self.values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises: KeyError, RuntimeError when it is of another module."""
        self.follow()
        for name, value in self.values.items():
            value.copy_(state["values"][name])
        self.steps = int(state["steps"])
