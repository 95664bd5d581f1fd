"""How often each class is there, as a trained net sees it: one pass over the training images, kept on disk.

Source: Ben-Baruch et al. 2022, arXiv 2110.10955, equation (7).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgesmith import artifact
from edgesmith.compress.ranks import ranks
from edgesmith.compress.task import Batch, Source, at_least_fp32
from edgesmith.data.split import digest
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

FOLDER = "class-prior"
KIND = "class-prior"
FILE = "prior.npy"


def class_prior(net: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """The mean sigmoid output of each class. Shape: (C,). Raises: UsageError without samples."""
    total: Tensor | None = None
    count, was_training = 0, net.training
    net.eval()
    with torch.no_grad():
        for batch in batches:
            found = at_least_fp32(net(*batch.inputs)).sigmoid().double().sum(0)
            total = found if total is None else total + found
            count += len(batch)
    net.train(was_training)
    if total is None:
        raise UsageError("estimate a class prior", "there are no samples", "give training data")
    return (total / count).float()


def prior_of(net: nn.Module, source: Source) -> Tensor:
    """The prior by this net on these samples, read back where it was estimated before.

    Its key covers the net's structure and weights, and the samples with their preparation.
    Raises: UsageError, MissingResource on a full disk.
    """
    weights = digest({name: value.cpu().numpy() for name, value in net.state_dict().items()})
    key = artifact.content_key(repr(net), weights, source.digest)
    folder = source.folder / FOLDER / key[:16]
    with ranks().first():  # the others find it there
        kept = _kept(folder, key)
        if kept is not None:
            return torch.from_numpy(kept).to(source.device)
        home = next((parameter.device for parameter in net.parameters()), source.device)
        found = class_prior(net.to(source.device), source.in_order())
        net.to(home)
        with artifact.building(folder) as temporary:
            np.save(temporary / FILE, found.cpu().numpy())
            artifact.seal(temporary, KIND, key, {"samples": source.count})
        return found


def _kept(folder: Path, key: str) -> np.ndarray | None:
    try:
        found = artifact.open_artifact(folder)
    except (MissingResource, DamagedArtifact):
        return None
    return np.load(folder / FILE) if found.key == key else None
