"""Batch-norm re-estimation: running statistics measured anew on given samples, with the weights as they are.

Training leaves an exponential average over its last, augmented batches and of weights that were still moving; averaged,
slimmed or rounded weights have other statistics altogether. Source: Wu and Johnson 2021, arXiv 2105.07576, section 3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgesmith.errors import UsageError

_ASKED = "re-estimate batch norms"


def reestimate_batchnorm(net: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> nn.Module:
    """A copy of a net whose batch norms have the mean and variance of these batches, each batch counting the same.

    Everything else runs as in inference (no dropout). Batches are tuples in the order of the net's inputs; larger ones
    give variances with less bias. Raises: UsageError for a net without batch norms (they may be folded already), for no
    batch, and where the statistics are not finite.
    """
    made = copy.deepcopy(net).eval()
    norms = {name: part for name, part in made.named_modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)}
    norms = {name: norm for name, norm in norms.items() if norm.track_running_stats}
    if not norms:
        todo = "do it before batch norms are folded, or leave it out"
        raise UsageError(_ASKED, "the net has none (they may be folded into their layers already)", todo)
    momenta = {name: norm.momentum for name, norm in norms.items()}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # torch then averages over all batches
        norm.train()
    seen = 0
    with torch.no_grad():
        for batch in batches:
            made(*batch)
            seen += 1
    if seen == 0:
        raise UsageError(_ASKED, "no batch", "give a few hundred samples in batches of 32 or more")
    for name, norm in norms.items():
        _check(name, norm)
        norm.momentum = momenta[name]
    return made.eval()


def _check(name: str, norm: nn.modules.batchnorm._BatchNorm) -> None:
    mean, var, count = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if count is not None and int(count) == 0:
        raise UsageError(f"{_ASKED}: {name}", "it never ran", "leave out what the net does not use")
    if mean is None or var is None or not bool(torch.isfinite(mean).all() and torch.isfinite(var).all()):
        raise UsageError(f"{_ASKED}: {name}", "its statistics are not finite", "look for NaN in the samples")
