"""Means over an epoch, gathered without waiting for the device, and the look for what is not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgesmith.compress.ranks import Ranks
from edgesmith.errors import TrainingFailed

ADVICE = "lower the learning rate, add warm-up or clip, and check the data"
ALONE = Ranks()


class Meter:
    """Losses and terms of one phase of one epoch (counted from 1), over all ranks."""

    def __init__(self, epoch: int, among: Ranks = ALONE) -> None:
        self.epoch, self.among = epoch, among
        self.names: list[str] = []
        self.fresh: list[Tensor] = []
        self.sizes: list[int] = []
        self.seen = torch.zeros(0)  # (steps, ranks, columns): terms, loss, size

    def add(self, loss: Tensor, terms: Mapping[str, Tensor], size: int) -> None:
        """Note one step; values stay on the device."""
        self.names = [*terms, "loss"]  # terms first: where one is NaN the loss is too, and the term is the news
        self.fresh.append(torch.stack([value.detach().float() for value in (*terms.values(), loss)]))
        self.sizes.append(size)

    def look(self) -> None:
        """Look at the steps since the last look, on every rank at once.

        Raises: TrainingFailed for the first value that is not finite, naming step and term, and for batches whose
        sizes differ between ranks; every rank raises it.
        """
        if not self.fresh:
            return
        values = torch.stack(self.fresh).cpu().double()
        own = torch.cat([values, torch.tensor(self.sizes, dtype=torch.float64)[:, None]], 1)
        rows = torch.stack(self._everyones(own), 1)
        self.fresh, self.sizes = [], []
        if not torch.isfinite(rows).all() or (rows[..., -1] != rows[:, :1, -1]).any():
            for step, found in enumerate(rows, len(self.seen) + 1):
                self._check(step, found)
        self.seen = torch.cat([self.seen, rows]) if len(self.seen) else rows

    def means(self) -> dict[str, float]:
        """Mean of every term over the samples of all ranks. Raises: TrainingFailed."""
        self.look()
        rows = self.seen.flatten(0, 1)
        weights, values = rows[:, -1], rows[:, :-1]
        return dict(zip(self.names, ((weights @ values) / weights.sum()).tolist()))

    def _everyones(self, own: Tensor) -> list[Tensor]:
        if self.among.world == 1:
            return [own]
        shapes = self.among.numbers(*own.shape)
        if other := [rank for rank, shape in enumerate(shapes) if shape != shapes[0]]:
            found = f"epoch {self.epoch}: ranks {other} took other steps or named other terms than rank 0"
            raise TrainingFailed("train in several processes", found, "give every rank the same work")
        flat = self.among.numbers(*own.flatten().tolist())
        return [torch.tensor(row, dtype=torch.float64).reshape(own.shape) for row in flat]

    def _check(self, step: int, found: Tensor) -> None:
        """One step of all ranks. Shape: found (ranks, columns)."""
        where = f"epoch {self.epoch}, step {step}"
        bad = (~torch.isfinite(found)).nonzero()
        if len(bad):
            rank, column = bad[0].tolist()
            on = f", rank {rank}" if self.among.world > 1 else ""
            text = f"{where}{on}: term {self.names[column]!r} is {float(found[rank, column])}"
            raise TrainingFailed("train", text, ADVICE)
        sizes = found[:, -1].long().tolist()
        if len(set(sizes)) > 1:
            todo = "give every rank batches of one size: their gradients are averaged as if they were"
            raise TrainingFailed("train in several processes", f"{where}: batches of {sizes} samples", todo)


def check_weights(module: nn.Module, epoch: int, among: Ranks = ALONE) -> None:
    """Raise TrainingFailed, on every rank, naming the first learning parameter that is not finite."""
    learning = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    finite = torch.stack([torch.isfinite(parameter).all() for _, parameter in learning]).tolist()
    first = finite.index(False) if False in finite else -1
    for rank, (number,) in enumerate(among.numbers(first)):
        if number >= 0:
            on = f" on rank {rank}" if among.world > 1 else ""
            text = f"after epoch {epoch}: weight {learning[int(number)][0]!r}{on} is not finite"
            raise TrainingFailed("train", text, ADVICE)
