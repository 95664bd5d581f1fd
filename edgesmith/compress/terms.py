"""Losses between a student and its teacher that need nothing but the batch.

Source: Hinton et al. 2015 for the KL term.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesmith.compress.task import at_least_fp32
from edgesmith.errors import UsageError

SMALLEST = 1e-12
Distance = Literal["l2", "cosine"]


def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 / N * sum KL(softmax(teacher / T) || softmax(student / T)), in fp32 at least. Shape: logits (N, C)."""
    with torch.autocast(student.device.type, enabled=False):
        log_p = F.log_softmax(at_least_fp32(student) / temperature, 1)
        log_q = F.log_softmax(at_least_fp32(teacher) / temperature, 1)
        return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) * temperature**2


def distance(student: Tensor, teacher: Tensor, kind: Distance) -> Tensor:
    """Mean over the batch of ||s/|s| - t/|t|||^2 ("l2") or 1 - cos(s, t) ("cosine"). Shape: embeddings (N, d)."""
    with torch.autocast(student.device.type, enabled=False):
        s, t = F.normalize(at_least_fp32(student), dim=1), F.normalize(at_least_fp32(teacher), dim=1)
        return (s - t).square().sum(1).mean() if kind == "l2" else (1 - (s * t).sum(1)).mean()


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the batch of ||s - t||^2 / ||t||^2, of the outputs of two layers. Shape: (N, ...), the same for both.

    Source: Romero et al. 2015, arXiv 1412.6550 (hints), here relative to the teacher's size. Raises: UsageError.
    """
    if student.shape != teacher.shape:
        found = f"the student's layer gives {tuple(student.shape[1:])}, the teacher's {tuple(teacher.shape[1:])}"
        raise UsageError("compare layers", found, "choose layers of one shape")
    with torch.autocast(student.device.type, enabled=False):
        s, t = at_least_fp32(student).flatten(1), at_least_fp32(teacher).flatten(1)
        return ((s - t).square().sum(1) / t.square().sum(1).clamp_min(SMALLEST)).mean()
