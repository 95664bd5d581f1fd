"""Numeric modes: what is rounded where.

fp32      every float is computed and kept in float32, whatever the types say: what the program means.
fp16      every intermediate is rounded to the type the program declares; one operation computes in float32 inside.
ane-like  as fp16, and sums of products are rounded to fp16 after every CHUNK of them: a pessimistic estimate of an
          accelerator that accumulates in fp16. What a real Neural Engine does is not known here and not claimed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from edgesmith.errors import UsageError

# Products that are summed before the sum is rounded in the mode ane-like.
CHUNK = 32


@dataclass(frozen=True)
class Numerics:
    """One mode. rounds: results become what their declared type can hold. half_sums: so do partial sums."""

    name: str
    rounds: bool
    half_sums: bool


MODES = {
    "fp32": Numerics("fp32", rounds=False, half_sums=False),
    "fp16": Numerics("fp16", rounds=True, half_sums=False),
    "ane-like": Numerics("ane-like", rounds=True, half_sums=True),
}


def mode(name: str) -> Numerics:
    """A mode by name. Raises: UsageError."""
    if name not in MODES:
        raise UsageError(f"numeric mode {name!r}", f"there are {', '.join(MODES)}", "name one of them")
    return MODES[name]


def round_half(tensor: torch.Tensor) -> torch.Tensor:
    """The nearest values that fp16 holds, as float32; beyond 65504 infinite."""
    return tensor.half().float()


def half_sum(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """Add partial sums one after the other, each time rounded to fp16."""
    total: torch.Tensor | None = None
    for part in parts:
        part = round_half(part)
        total = part if total is None else round_half(total + part)
    if total is None:
        raise ValueError("a sum of nothing")
    return total


def matmul(x: torch.Tensor, y: torch.Tensor, numerics: Numerics) -> torch.Tensor:
    """x @ y with the sums of the mode."""
    if not numerics.half_sums or x.shape[-1] <= CHUNK:
        return x @ y
    steps = range(0, x.shape[-1], CHUNK)
    return half_sum(x[..., k : k + CHUNK] @ y[..., k : k + CHUNK, :] for k in steps)
