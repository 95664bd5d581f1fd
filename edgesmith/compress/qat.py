"""Quantization-aware training (QAT) of any task: its student is trained as its int8 program will compute.

The student is captured and calibrated on training samples, batch norms are folded from the start, and the plan of one
family is put into it: weights rounded per channel, activations per tensor, with step sizes that learn (LSQ,
quantize/fake_quant.py). The task itself, its teacher and its losses stay what they are. In the end the weights are put
back into the net, and the plan has the learned step sizes: exporters take both as they take a calibrated plan.
Source: Jacob et al. 2018, arXiv 1712.05877; Esser et al. 2020, arXiv 1902.08153.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from edgesmith.compress.quantize.aware import Aware, begin
from edgesmith.compress.ranks import ranks
from edgesmith.compress.settings import Qat
from edgesmith.compress.task import Batch, Phase, Source, StepOutput, Task
from edgesmith.errors import UsageError
from edgesmith.quant import QuantPlan


class QuantizationAware(nn.Module):
    """A task whose `student` is fake-quantized.

    instruction_set: of the plan (targets.py). inputs: names of the net's inputs in its artefact, by default those of
    forward's arguments. Raises: UsageError for a task without a student.
    """

    def __init__(self, task: Task, qat: Qat, instruction_set: str, inputs: Sequence[str] | None = None) -> None:
        super().__init__()
        self.task, self.qat, self.instruction_set = task, qat, instruction_set
        self.inputs = None if inputs is None else tuple(inputs)
        student = getattr(task, "student", None)
        kind = type(task).__name__
        if not isinstance(student, nn.Module):
            todo = "quantize its net by calibration"
            raise UsageError(f"train {kind} aware of quantization", "the task has no student", todo)
        if ranks().world > 1 and bool(getattr(task, "per_rank", None)):
            found = "it spreads class centres over processes"
            raise UsageError(f"train {kind} aware of quantization", found, "train it in one process")
        self.eager = (student,)  # not registered: it does not learn
        self.trained: Aware | None = None
        self.epoch = 0
        for name in ("active", "use_average"):
            if hasattr(task, name):
                setattr(self, name, getattr(task, name))
        self.phases = tuple(replace(phase, parameters=_Learning(self, phase)) for phase in task.phases)

    @property
    def finished(self) -> bool:
        """Whether the task says that it is done."""
        return bool(getattr(self.task, "finished", False))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the record of this training must say."""
        return (*getattr(self.task, "notes", ()), *(self.trained.plan.notes if self.trained else ()))

    def prepare(self, source: Source) -> None:
        """Calibrate the student and put it, fake-quantized, into the task. Raises: UsageError."""
        if (prepare := getattr(self.task, "prepare", None)) is not None:
            prepare(source)
        net = copy.deepcopy(self.task.deployable()).cpu().eval()
        samples = tuple(x.cpu() for x in source.spread(self.qat.calibration).inputs)
        before = self.eager[0].state_dict()
        self.trained = begin(net, before, samples, self.inputs, self.qat.family, self.instruction_set)
        self.task.student = self.trained.student.to(source.device)  # type: ignore[attr-defined]
        self._freeze(0)

    def step(self, batch: Batch, phase: Phase) -> StepOutput:
        number = self.phases.index(phase)
        try:
            return self.task.step(batch, self.task.phases[number])
        except AttributeError as error:
            if self.trained is None or error.obj is not self.trained.student:
                raise
            found = f"{type(self.task).__name__} asks its student for {error.name!r}, which a captured net has not"
            raise UsageError("train aware of quantization", found, "quantize the net by calibration") from error

    def epoch_end(self, epoch: int) -> None:
        """The task's own end of an epoch; step sizes stop learning when it is time."""
        self.task.epoch_end(epoch)
        self._freeze(epoch + 1)

    def deployable(self) -> nn.Module:
        """The net with the trained weights, a float net of the task's own structure."""
        return self.task.deployable() if self.trained is None else self._put_back()[0]

    @property
    def plan(self) -> QuantPlan:
        """The plan of the family for what `deployable` gives. Raises: UsageError before a training."""
        if self.trained is None:
            raise UsageError("a trained quantization plan", "the training has not begun", "train by fit()")
        return self._put_back()[1]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The task's state, the fake-quantized student in it, and how many epochs are done."""
        return {"task": self.task.state_dict(), "epoch": self.epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        found = self.task.load_state_dict(state_dict["task"])
        self._freeze(int(state_dict["epoch"]))
        return found

    def _freeze(self, epoch: int) -> None:
        self.epoch, last = epoch, self.qat.freeze_ranges
        if self.trained is not None:
            for step in self.trained.student.net.step_sizes():
                step.requires_grad_(last is None or epoch < last)

    def _put_back(self) -> tuple[nn.Module, QuantPlan]:
        assert self.trained is not None
        (student,), fake_quantized = self.eager, self.task.student  # type: ignore[attr-defined]
        before = copy.deepcopy(student.state_dict())
        student.load_state_dict({**before, **self.trained.weights()})
        self.task.student = student  # type: ignore[attr-defined]
        try:
            net = copy.deepcopy(self.task.deployable()).cpu().eval()
        finally:
            self.task.student = fake_quantized  # type: ignore[attr-defined]
            student.load_state_dict(before)
        return net, self.trained.final_plan(net)


class _Learning:
    """The parameters of a task's phase, the fake-quantized student's in the place of the student's."""

    def __init__(self, wrapper: QuantizationAware, phase: Phase) -> None:
        self.parts = (wrapper, phase)

    def __call__(self) -> Iterator[nn.Parameter]:
        wrapper, phase = self.parts
        trained = wrapper.trained
        mine = list(trained.student.parameters()) if trained else []
        replaced = {id(p) for p in (*wrapper.eager[0].parameters(), *mine)} if trained else set()
        yield from mine
        yield from (p for p in phase.parameters() if id(p) not in replaced)
