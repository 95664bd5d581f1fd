"""Weights trained with InPlaceABN, for nets that have batch norm and a leaky ReLU instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from edgesmith.errors import UsageError

EPS = 1e-5


def as_batch_norm(state: Mapping[str, Tensor], norms: Collection[str]) -> dict[str, Tensor]:
    """A state dict whose InPlaceABN layers, called `norms`, are batch norms: the scale becomes |weight| + 1e-5.

    InPlaceABN inverts its activation in the backward pass and so keeps its scale positive: it multiplies by
    |weight| + eps, whatever the sign of what is stored. The slope of its leaky ReLU is no part of a state dict.
    Raises: UsageError for a norm that is not there. Source: Rota Bulo et al. 2018, arXiv 1712.02616, and its code.
    """
    found = dict(state)
    for name in norms:
        if f"{name}.weight" not in state:
            raise UsageError(f"convert InPlaceABN {name}", "it has no weight here", "give a checkpoint of InPlaceABN")
        found[f"{name}.weight"] = state[f"{name}.weight"].abs() + EPS
        found.setdefault(f"{name}.num_batches_tracked", torch.zeros((), dtype=torch.int64))
    return found
