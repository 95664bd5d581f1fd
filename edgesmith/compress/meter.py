"""Means over an epoch, gathered without waiting for the device, and the look for what is not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgesmith.errors import TrainingFailed

ADVICE = "lower the learning rate, add warm-up or clip, and check the data"


class Meter:
    """Losses and terms of one phase of one epoch (counted from 1)."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.names: list[str] = []
        self.rows: list[Tensor] = []
        self.sizes: list[int] = []
        self.looked = 0

    def add(self, loss: Tensor, terms: Mapping[str, Tensor], size: int) -> None:
        """Note one step; values stay on the device."""
        self.names = [*terms, "loss"]  # terms first: where one is NaN the loss is too, and the term is the news
        self.rows.append(torch.stack([value.detach().float() for value in (*terms.values(), loss)]))
        self.sizes.append(size)

    def look(self) -> None:
        """Raise TrainingFailed for the first value not finite since the last look, naming step and term."""
        fresh = torch.stack(self.rows[self.looked :]).cpu() if len(self.rows) > self.looked else torch.zeros(0, 1)
        bad = (~torch.isfinite(fresh)).nonzero()
        if len(bad):
            step, column = self.looked + int(bad[0, 0]) + 1, int(bad[0, 1])
            value = float(fresh[bad[0, 0], column])
            where = f"epoch {self.epoch}, step {step}: term {self.names[column]!r} is {value}"
            raise TrainingFailed("train", where, ADVICE)
        self.looked = len(self.rows)

    def means(self) -> dict[str, float]:
        """Mean of every term over the samples. Raises: TrainingFailed."""
        self.look()
        weights = torch.tensor(self.sizes, dtype=torch.float64)
        values = torch.stack(self.rows).cpu().double()
        return dict(zip(self.names, ((weights @ values) / weights.sum()).tolist()))


def check_weights(module: nn.Module, epoch: int) -> None:
    """Raise TrainingFailed naming the first learning parameter that is not finite."""
    learning = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    finite = torch.stack([torch.isfinite(parameter).all() for _, parameter in learning]).tolist()
    for (name, _), fine in zip(learning, finite):
        if not fine:
            raise TrainingFailed("train", f"after epoch {epoch}: weight {name!r} is not finite", ADVICE)
