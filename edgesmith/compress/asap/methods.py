"""The search methods by name and options: ASAP, and first-order DARTS as what it is compared with."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from edgesmith import records
from edgesmith.compress.asap.anneal import Annealing
from edgesmith.compress.asap.architecture import Architecture
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.compress.asap.search import Form, LatencyTerm, Rules, Search
from edgesmith.compress.optimizer import OptimizerChoice
from edgesmith.compress.task import Parts, check_classes
from edgesmith.errors import UsageError


def asap(
    parts: Parts,
    temperature: float = 1.6,
    cooling: float = 0.95,
    grace: float = 1.0,
    threshold: float = 0.4,
    skip_limit: int = 0,
    skip_dropout: float = 0.0,
    latency_table: str = "",
    latency_budget_ms: float = 0.0,
    latency_weight: float = 0.0,
    latency_form: Form = "linear",
    label_smoothing: float = 0.0,
    lr: float = 0.025,
    min_lr: float = 0.001,
    weight_decay: float = 3e-4,
    alpha_lr: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Search:
    """Search by annealing and pruning; the student is the supernet of a space (SPACES).

    The temperature of epoch t is temperature * cooling^t; nothing is decided while it is `grace` or more. The stage's
    own lr, momentum, weight decay, schedule and clip are not used: a search has two optimizers of its own.
    Raises: UsageError, MissingResource, DamagedArtifact.
    """
    latency = _latency(latency_table, latency_weight, latency_budget_ms, latency_form)
    annealing = Annealing(temperature, cooling, grace, threshold)
    rules = Rules(annealing, True, skip_limit, skip_dropout, latency, label_smoothing)
    return search(parts, rules, lr, min_lr, weight_decay, alpha_lr, alpha_weight_decay)


def darts(
    parts: Parts,
    label_smoothing: float = 0.0,
    lr: float = 0.025,
    min_lr: float = 0.001,
    weight_decay: float = 3e-4,
    alpha_lr: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Search:
    """First-order DARTS: temperature 1, nothing is pruned, all decisions at the end. Raises: UsageError.

    Give it a space with inputs "top2" for its own rule of a node's inputs. Source: Liu et al. 2019, section 2.
    """
    constant = Annealing(start=1.0, factor=1.0, grace=2.0)
    rules = Rules(constant, prunes=False, label_smoothing=label_smoothing)
    return search(parts, rules, lr, min_lr, weight_decay, alpha_lr, alpha_weight_decay)


def search(
    parts: Parts,
    rules: Rules,
    lr: float = 0.025,
    min_lr: float = 0.001,
    weight_decay: float = 3e-4,
    alpha_lr: float = 3e-4,
    alpha_weight_decay: float = 1e-3,
) -> Search:
    """The task of these rules. Raises: UsageError when the student is no supernet, or has other classes."""
    supernet: nn.Module = parts.student
    if not isinstance(getattr(supernet, "architecture", None), Architecture) or not hasattr(supernet, "space"):
        found = f"the student is a {type(supernet).__name__}"
        raise UsageError("search an architecture", found, "give the supernet of a space")
    check_classes("supernet", supernet, parts.classes)
    weights = OptimizerChoice("sgd", lr, 0.9, weight_decay=weight_decay, schedule="cosine", min_lr=min_lr, clip=5.0)
    choices = OptimizerChoice(
        "adam", alpha_lr, betas=(0.5, 0.999), weight_decay=alpha_weight_decay, decay_vectors=True, clip=5.0
    )
    return Search(supernet, rules, weights, choices, parts.classes)


def _latency(table: str, weight: float, budget_ms: float, form: Form) -> LatencyTerm | None:
    if not table:
        if weight or budget_ms:
            raise UsageError("search under a latency budget", "there is no table", "say latency_table")
        return None
    return LatencyTerm(records.load(LatencyTable, Path(table)), weight, budget_ms, form)
