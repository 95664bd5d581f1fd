"""Distillation of multi-label nets: the teacher's probabilities class by class, through the student's head or its own.

Source: "It's All in the Head", arXiv 2201.06945, equations (0) to (3), with sigmoid in the place of softmax, the
asymmetric loss (arXiv 2009.14119) in that of cross-entropy, and each class a coin of its own in the KL term.
"""

from __future__ import annotations

from typing import get_args

from edgesmith.compress.asl import AsymmetricLoss
from edgesmith.compress.distil import Options, assemble
from edgesmith.compress.distil_task import Distil, Weights
from edgesmith.compress.judge import several_classes
from edgesmith.compress.shared_head import HeadMode, Start
from edgesmith.compress.task import Parts
from edgesmith.compress.terms import Distance
from edgesmith.errors import UsageError


def kd_multilabel(
    parts: Parts,
    a_th: float = 0.0,
    alpha: float = 1.0,
    beta: float = 0.0,
    temperature: float = 2.0,
    distance: Distance = "l2",
    gamma_neg: float = 4.0,
    gamma_pos: float = 0.0,
    clip: float = 0.05,
    projector: Start = "procrustes",
    ensemble: bool = False,
    head_mode: HeadMode = "shared_frozen",
    cache: bool = False,
    seed: int = 0,
) -> Distil:
    """Learn from labels (asymmetric loss) and from a frozen multi-label teacher, terms ce and kl; both are means.

    a_th is the share of the teacher's head on the student's (projected) embedding, in 0..1; at 1 that head, folded
    with the projector, is deployed. alpha weighs KL, beta the distance of embeddings. `ensemble` deploys both heads, a
    class's probabilities in the shares 1 - a_th and a_th; head_mode is for a head taken from another stage. What is not
    annotated is left out of the labels' term; the teacher has a say on it.
    Raises: UsageError for parts or numbers that do not fit.
    """
    if not 0 <= a_th <= 1:
        raise UsageError("distillation", f"a_th {a_th}", "a_th lies in 0..1")
    if alpha < 0 or beta < 0:
        raise UsageError("distillation", f"alpha {alpha}, beta {beta}", "weights go from 0 on")
    if distance not in get_args(Distance):
        raise UsageError("distillation", f"distance {distance!r}", f"choose one of {get_args(Distance)}")
    labels = AsymmetricLoss(gamma_neg, gamma_pos, clip, reduction="mean")
    l2, cosine = (beta, 0.0) if distance == "l2" else (0.0, beta)
    weights = Weights(1 - a_th, alpha * (1 - a_th), a_th, alpha * a_th, l2, cosine, 0.0, temperature)
    options = Options(projector, head_mode, "own", cache, a_th if ensemble and a_th < 1 else 0.0, seed=seed)
    return assemble(parts, weights, options, several_classes(labels))
