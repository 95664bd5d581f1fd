"""Distillation through the teacher's classifier (TH-KD), and plain distillation as its limit case.

Source: "It's All in the Head", arXiv 2201.06945, equations (0) to (4). The paper's other half, a teacher trained
under the student's head (SH-KD), is three stages of a recipe: see `head_from` and recipes/sh-kd-digits.yaml.
differs from the authors' code: a_th weighs convexly as in the paper (their weights are free), equation (2)'s
cross-entropy through the teacher's head is there, the distance is a mean over the batch (theirs is a sum, so its
weight depended on the batch size), and unequal embedding sizes are bridged by a linear projector (theirs crash).
"""

from __future__ import annotations

from typing import get_args

from edgesmith.compress.distil import Options, TeacherHead, assemble
from edgesmith.compress.distil_task import Distil, Weights
from edgesmith.compress.shared_head import HeadMode, Start
from edgesmith.compress.task import Parts
from edgesmith.compress.terms import Distance
from edgesmith.errors import UsageError


def kd(
    parts: Parts,
    alpha: float = 1.0,
    beta: float = 0.0,
    temperature: float = 4.0,
    distance: Distance = "l2",
    projector: Start = "procrustes",
    head_mode: HeadMode = "shared_frozen",
    head: TeacherHead = "own",
    cache: bool = False,
    seed: int = 0,
) -> Distil:
    """Plain distillation, equation (0): L = CE + alpha KL_T + beta D. Raises: UsageError for parts that do not fit."""
    return th_kd(parts, 0.0, alpha, beta, temperature, distance, projector, False, head_mode, head, cache, seed)


def th_kd(
    parts: Parts,
    a_th: float = 0.5,
    alpha: float = 1.0,
    beta: float = 0.0,
    temperature: float = 4.0,
    distance: Distance = "l2",
    projector: Start = "procrustes",
    ensemble: bool = False,
    head_mode: HeadMode = "shared_frozen",
    head: TeacherHead = "own",
    cache: bool = False,
    seed: int = 0,
) -> Distil:
    """Teacher-head distillation, equations (1) to (4); the teacher is frozen, its head judges the student too.

    a_th is the share of the teacher's head, in 0..1. Embeddings of unequal size get a linear projector on the
    student's side: it starts from the first batch's paired embeddings ("procrustes"), at random ("orthogonal") or as
    any layer ("linear"). The other options are those of `distil`. Raises: UsageError for parts that do not fit.
    """
    if not 0 <= a_th <= 1:
        raise UsageError("distillation", f"a_th {a_th}", "a_th lies in 0..1")
    if alpha < 0 or beta < 0:
        raise UsageError("distillation", f"alpha {alpha}, beta {beta}", "weights go from 0 on")
    if distance not in get_args(Distance):
        raise UsageError("distillation", f"distance {distance!r}", f"choose one of {get_args(Distance)}")
    l2, cosine = (beta, 0.0) if distance == "l2" else (0.0, beta)
    weights = Weights(1 - a_th, alpha * (1 - a_th), a_th, alpha * a_th, l2, cosine, 0.0, temperature)
    options = Options(projector, head_mode, head, cache, a_th if ensemble and a_th < 1 else 0.0, seed=seed)
    return assemble(parts, weights, options)
