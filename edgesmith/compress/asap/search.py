"""ASAP as a training task: weights and architecture learn in turns, and the supernet loses what is not worth it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from edgesmith import records
from edgesmith.compress.asap.anneal import Annealing, SkipLimit, prune, settle
from edgesmith.compress.asap.history import SearchEpoch, look
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.compress.asap.mixed_op import mixed_ops
from edgesmith.compress.asap.space import Space, architecture_of, inherit, prune_modules
from edgesmith.compress.optimizer import OptimizerChoice
from edgesmith.compress.task import Batch, Phase, Source, StepOutput, accuracy, check_labels, cross_entropy, labels_of
from edgesmith.errors import UsageError
from edgesmith.models.genotype import Genotype

Form = Literal["linear", "hinge"]


@dataclass(frozen=True)
class LatencyTerm:
    """weight * E[latency] / budget ("linear"), or weight * max(0, E[latency] / budget - 1) ("hinge").

    Raises: UsageError.
    """

    table: LatencyTable
    weight: float
    budget_ms: float
    form: Form = "linear"

    def __post_init__(self) -> None:
        if not self.weight > 0 or not self.budget_ms > 0 or self.form not in get_args(Form):
            found = f"weight {self.weight}, budget {self.budget_ms} ms, form {self.form!r}"
            raise UsageError("a latency term", found, f"give numbers above 0 and one of {get_args(Form)}")

    def __call__(self, expected_ms: Tensor) -> Tensor:
        over = expected_ms / self.budget_ms
        return self.weight * (over if self.form == "linear" else torch.relu(over - 1))


@dataclass(frozen=True)
class Rules:
    """How a search decides. Without `prunes` all operations stay alive until the end (DARTS).

    skip_limit: how many edges of a group may end as a skip; 0: any number. skip_dropout: the dropout behind skips at
    the temperature of the start; it falls with the temperature.
    """

    annealing: Annealing = field(default_factory=Annealing)
    prunes: bool = True
    skip_limit: int = 0
    skip_dropout: float = 0.0
    latency: LatencyTerm | None = None
    label_smoothing: float = 0.0


class Search(nn.Module):
    """A search in the space of `supernet`; first order: the weights are taken as they are when the architecture moves.

    The weights learn on the first half of the data, alphas and gates on the second, from the end of grace on.
    Source: Noy et al. 2019 (ASAP), algorithm 1.
    """

    def __init__(
        self,
        supernet: nn.Module,
        rules: Rules,
        weights: OptimizerChoice,
        architecture: OptimizerChoice,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.supernet, self.rules, self.classes = supernet, rules, classes
        self.phases = (
            Phase("weights", "first_half", self._weights, weights),
            Phase("architecture", "second_half", self._choices, architecture),
        )
        self.history: tuple[SearchEpoch, ...] = ()
        self._begin(0)

    @property
    def space(self) -> Space:
        """The space that is searched."""
        return self.supernet.space  # type: ignore[return-value]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to decide."""
        return self.rules.prunes and architecture_of(self.supernet).decided

    def prepare(self, source: Source) -> None:
        """Check the labels. Raises: UsageError."""
        check_labels(source.labels, self.classes)

    def active(self, epoch: int) -> tuple[str, ...]:
        """In grace the weights alone."""
        return ("weights",) if self.rules.annealing.in_grace(epoch) else ("weights", "architecture")

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        labels = labels_of(batch)
        for_weights = phase.name == "weights"
        with frozen(self._choices() if for_weights else self._weights()):
            logits = self.supernet(*batch.inputs)
        loss = cross_entropy(logits, labels, self.rules.label_smoothing)
        terms = {"ce": loss.detach(), "accuracy": accuracy(logits, labels)}
        if (term := self.rules.latency) is not None and not for_weights:
            expected = term.table.expected(architecture_of(self.supernet).shares())
            loss, terms["latency_ms"] = loss + term(expected), expected.detach()
        return StepOutput(loss, terms, len(batch))

    def epoch_end(self, epoch: int) -> None:
        """Prune at this epoch's temperature, note what is left, and cool down."""
        grace = self.rules.annealing.in_grace(epoch)
        if self.rules.prunes and not grace:
            prune(architecture_of(self.supernet), self.rules.annealing.threshold, self._limit())
            prune_modules(self.supernet)
        table = self.rules.latency.table if self.rules.latency else None
        self.history += (look(self.supernet, epoch + 1, grace, table),)
        self._begin(epoch + 1)

    @property
    def forced(self) -> bool:
        """Whether the genotype rests on decisions that the search had not come to."""
        return not architecture_of(self.supernet).decided

    def genotype(self) -> Genotype:
        """The strongest of what is alive; what is undecided is forced, with skips limited as in the search."""
        return self.space.read(self._settled())

    def deployable(self) -> nn.Module:
        """The network of the genotype with the supernet's weights, alone. Retrain it where accuracy counts."""
        ended = self._settled()
        genotype = self.space.read(ended)
        return inherit(self.space.network(genotype), ended, genotype).eval()

    def get_extra_state(self) -> dict[str, Any]:
        return {"history": records.to_json(self.history)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.history = tuple(records.from_json(SearchEpoch, row) for row in state["history"])

    def _begin(self, epoch: int) -> None:
        annealing = self.rules.annealing
        architecture_of(self.supernet).temperature.fill_(annealing.temperature(epoch))
        for _, mixed in mixed_ops(self.supernet):
            mixed.rate = self.rules.skip_dropout * annealing.temperature(epoch) / annealing.start

    def _settled(self) -> nn.Module:
        ended = copy.deepcopy(self.supernet).cpu()
        settle(architecture_of(ended), self._limit(), never=("none",))
        prune_modules(ended)
        return ended

    def _limit(self) -> SkipLimit:
        return SkipLimit(self.space.skips, self.rules.skip_limit)

    def _weights(self) -> Iterator[nn.Parameter]:
        return (p for name, p in self.supernet.named_parameters() if not name.startswith("architecture."))

    def _choices(self) -> list[nn.Parameter]:
        """What is undecided; at the end, when nothing is, all of them: an optimizer of nothing is an error."""
        architecture = architecture_of(self.supernet)
        return architecture.undecided_parameters() or list(architecture.parameters())


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """A block in which these parameters take part as constants: what is computed in it gives them no gradient."""
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
