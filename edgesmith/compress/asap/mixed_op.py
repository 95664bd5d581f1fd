"""The relaxed choice of an operation: a weighted sum of those alive, and the removal of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.errors import UsageError


class MixedOp(nn.Module):
    """sum_o weight_o * o(x) over the operations alive on an edge; none alive: the edge is not in the network.

    `dropout_on` are operations (skips) whose output is dropped with probability `rate` while there are others.
    Source: Noy et al. 2019, equation 1; skip dropout: Chen et al. 2019 (P-DARTS), section 3.3.
    """

    def __init__(self, edge: str, operations: Mapping[str, nn.Module], dropout_on: Iterable[str] = ()) -> None:
        super().__init__()
        self.edge, self.ops = edge, nn.ModuleDict(operations)
        self.dropout_on, self.rate = frozenset(dropout_on), 0.0

    @property
    def alive(self) -> tuple[str, ...]:
        """The operations that are left, in the order of the edge."""
        return tuple(self.ops)

    def forward(self, *inputs: Tensor, weights: Tensor | None = None) -> Tensor:
        """Shape: weights (alive,), or None for exactly 1 on the one operation that is left.

        Raises: UsageError when the number of weights is not the number of operations.
        """
        if (1 if weights is None else len(weights)) != len(self.ops):
            found = f"{0 if weights is None else len(weights)} weights for {len(self.ops)} operations"
            raise UsageError(f"run edge {self.edge!r}", found, "give Architecture.weights() of this supernet")
        if weights is None:
            return next(iter(self.ops.values()))(*inputs)
        terms = [weight * self._one(name, *inputs) for name, weight in zip(self.ops, weights.unbind())]
        return sum(terms[1:], terms[0])

    def _one(self, name: str, *inputs: Tensor) -> Tensor:
        output = self.ops[name](*inputs)
        drops = self.training and self.rate > 0 and name in self.dropout_on and len(self.ops) > 1
        return F.dropout(output, self.rate) if drops else output

    def prune(self, keep: Iterable[str]) -> None:
        """Delete all operations but these: parameters, buffers and all. Raises: UsageError for one that is gone."""
        kept = set(keep)
        if missing := kept - set(self.ops):
            raise UsageError(
                f"keep {sorted(missing)} on edge {self.edge!r}", f"alive are {list(self.ops)}", "see above"
            )
        for name in [name for name in self.ops if name not in kept]:
            del self.ops[name]

    def get_extra_state(self) -> dict[str, Any]:
        return {"alive": list(self.ops), "rate": self.rate}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Delete what the state does not have; comes before the operations' own state is read.

        Raises: ValueError when the state has more operations than there are.
        """
        try:
            self.prune(state["alive"])
        except UsageError as error:
            raise ValueError(str(error)) from error
        self.rate = float(state["rate"])


def mixed_ops(supernet: nn.Module) -> Iterator[tuple[str, MixedOp]]:
    """All mixed operations of a supernet with their module paths."""
    for path, module in supernet.named_modules():
        if isinstance(module, MixedOp):
            yield path, module
