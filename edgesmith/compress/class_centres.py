"""A classifier for a net whose own was not kept, as face nets' often are: the centres of its training classes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.compress.task import Batch, at_least_fp32, labels_of
from edgesmith.errors import UsageError

NOTE = "the teacher's head was not kept: it is the mean normalised embedding of each training class"


def class_centres(net: nn.Module, batches: Iterable[Batch], classes: int) -> Tensor:
    """The mean normalised embedding of each class; the mean itself is not normalised again. Shape: (classes, d).

    Raises: UsageError naming a class without a sample, or when the data have no labels.
    """
    total: Tensor | None = None
    counts = torch.zeros(classes, dtype=torch.long)
    was_training = net.training
    net.eval()
    with torch.no_grad():
        for batch in batches:
            z = F.normalize(at_least_fp32(net.embed(*batch.inputs)), dim=1).double()  # type: ignore[operator]
            if total is None:
                total = z.new_zeros(classes, z.shape[1])
            labels = labels_of(batch)
            total.index_add_(0, labels, z)
            counts += labels.cpu().bincount(minlength=classes)
    net.train(was_training)
    empty = (counts == 0).nonzero().flatten().tolist()
    if empty or total is None:
        found = f"class {empty[0]} has no training sample ({len(empty)} of {classes} classes have none)"
        raise UsageError("a head from class centres", found, "give every class a sample, or leave the class out")
    return (total / counts.to(total.device)[:, None]).float()
