"""How logits are held against labels and against a teacher's logits: by softmax, or class by class by sigmoid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesmith.compress.multilabel import check_multilabels, hit_at_1
from edgesmith.compress.task import accuracy, at_least_fp32, check_labels, cross_entropy
from edgesmith.compress.terms import kl


@dataclass(frozen=True)
class Judge:
    """Loss on labels, loss on a teacher's logits at a temperature, share of right answers, check of all labels.

    several: whether an image has several classes.
    """

    labels: Callable[[Tensor, Tensor], Tensor]
    teacher: Callable[[Tensor, Tensor, float], Tensor]
    accuracy: Callable[[Tensor, Tensor], Tensor]
    check: Callable[[Tensor | None, int], None]
    several: bool = False


ONE_CLASS = Judge(cross_entropy, kl, accuracy, check_labels)


def several_classes(labels: Callable[[Tensor, Tensor], Tensor]) -> Judge:
    """The judge of multi-label nets, with this loss on labels."""
    return Judge(labels, sigmoid_kl, hit_at_1, check_multilabels, several=True)


def sigmoid_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean, over images and classes, of KL(sigmoid(teacher / T) || sigmoid(student / T)).

    Each class is a coin of its own; in fp32 at least, without a logarithm of a probability. Shape: logits (N, C).
    """
    with torch.autocast(student.device.type, enabled=False):
        s, t = at_least_fp32(student) / temperature, at_least_fp32(teacher) / temperature
        q = t.sigmoid()
        there = F.logsigmoid(t) - F.logsigmoid(s)
        return (q * there + (1 - q) * (there - t + s)).mean() * temperature**2
