"""Activations."""

from __future__ import annotations

import torch

from edgesmith.runtimes.mil.registry import Tensor, op


@op("relu")
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(x)


@op("elu")
def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where positive, alpha (exp(x) - 1) elsewhere."""
    return torch.nn.functional.elu(x, alpha)
