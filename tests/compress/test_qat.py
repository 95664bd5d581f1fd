"""Quantization-aware training of tasks: what they teach still holds, and the artefact is what was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.asl import asl
from edgesmith.compress.distil import distil
from edgesmith.compress.head_sharing import kd, th_kd
from edgesmith.compress.margin_softmax import margin
from edgesmith.compress.qat import QuantizationAware
from edgesmith.compress.settings import Qat
from edgesmith.compress.task import Parts, Phase, StepOutput, Task, plain
from edgesmith.data.split import Split
from edgesmith.errors import TrainingFailed, UsageError
from edgesmith.export import EXPORTERS
from edgesmith.graph.capture import capture
from edgesmith.graph.qdq import apply_plan
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import target
from tests.compress.training import PREPROCESSING, images, net, parts, trained

TASKS = {
    "plain": lambda: plain(parts()),
    "th_kd": lambda: th_kd(parts()),
    "kd, another embedding size": lambda: kd(parts(6, 9), beta=0.5),
    "th_kd, only the teacher's head": lambda: th_kd(parts(), a_th=1.0),
    "sh_kd": lambda: kd(parts(head=net(seed=4).head)),  # type: ignore[arg-type]
    "a borrowed head of another size": lambda: plain(parts(head=net(9, seed=4).head)),  # type: ignore[arg-type]
    "margin with its centres": lambda: margin(parts(), deploy_head=True),
}


def aware(task: Task, family: str = "ort", **options: Any) -> QuantizationAware:
    return QuantizationAware(task, Qat(family, calibration=16, **options), "x86-vnni", ["image"])


def pictures() -> Tensor:
    return torch.from_numpy(PREPROCESSING.apply(images().inputs["image"]))


def several() -> Split:
    split = images()
    return Split(split.inputs, np.eye(3, dtype=np.int8)[split.labels])


@pytest.mark.parametrize("name", TASKS)
def test_what_is_deployed_is_what_was_trained(name: str, tmp_path: Path) -> None:
    task = aware(TASKS[name]())
    result = trained(task, tmp_path, lr=0.01)
    assert result.history[-1].loss < 2 * result.history[0].loss
    made, x = task.deployable(), pictures()
    exported = apply_plan(capture(made, (x[:2],), ("image",)), task.plan)
    fake = task.trained.student  # type: ignore[union-attr]
    if name in ("th_kd, only the teacher's head", "margin with its centres"):  # their head is made at the end
        found, wanted = exported.module(x)[0], made.head(fake.embed(x))  # type: ignore[operator]
        assert (found - wanted).norm() / wanted.norm() < 0.02
    else:
        torch.testing.assert_close(exported.module(x)[0], fake(x), rtol=1e-4, atol=1e-4)
    before = TASKS[name]().deployable()
    assert set(made.state_dict()) == set(before.state_dict())
    assert not torch.allclose(made(x), before(x), rtol=1e-2)  # it has learned


def test_several_labels_an_image(tmp_path: Path) -> None:
    task = aware(asl(parts()), "openvino")
    result = trained(task, tmp_path, several())
    assert result.history[1].loss < result.history[0].loss and task.plan.family == "openvino"


@pytest.mark.parametrize("target_name", ["ort-int8", "openvino-int8"])
def test_the_artefact_answers_as_the_fake_quantized_net(target_name: str, tmp_path: Path) -> None:
    """A value on the edge of a step may fall to either side, and the values behind it follow."""
    row = target(target_name)
    task = aware(th_kd(parts()), str(row.family))
    trained(task, tmp_path / "training", lr=0.01)
    x = pictures()
    program = capture(task.deployable(), (x[:1],), ("image",), dynamic_batch=True)
    (tmp_path / "made").mkdir()
    exported = EXPORTERS.get(row.exporter)(program, task.plan, row, tmp_path / "made")
    with RUNTIMES.get(row.runtime).open(exported, RunOptions(threads=1)) as session:
        found = session.run({"image": x.numpy()})[program.outputs[0].name]
    wanted = task.trained.student(x).detach().numpy()  # type: ignore[union-attr]
    step = np.abs(wanted).max() / 255
    assert np.abs(found - wanted).max() <= 2 * step
    assert np.abs(found - wanted).mean() <= 0.1 * step


def test_it_goes_on_after_an_interruption_bit_for_bit(tmp_path: Path) -> None:
    def task() -> QuantizationAware:
        return aware(plain(parts()), freeze_ranges=1)

    whole, first = task(), task()
    trained(whole, tmp_path / "whole", epochs=3)

    class Stop(Exception):
        pass

    def stop(epoch: int) -> None:
        raise Stop

    end = first.epoch_end
    first.epoch_end = lambda epoch: stop(epoch) if epoch == 1 else end(epoch)  # type: ignore[method-assign]
    with pytest.raises(Stop):
        trained(first, tmp_path / "cut", epochs=3)
    resumed = task()
    assert trained(resumed, tmp_path / "cut", epochs=3).resumed_from == 1
    again = resumed.deployable().state_dict()
    for name, value in whole.deployable().state_dict().items():
        assert torch.equal(value, again[name]), name
    assert whole.plan.digest() == resumed.plan.digest()


def test_step_sizes_freeze_when_it_is_time_and_weights_go_on(tmp_path: Path) -> None:
    task, seen = aware(plain(parts()), freeze_ranges=1), []
    end = task.epoch_end

    def look(epoch: int) -> None:
        student = task.trained.student.net  # type: ignore[union-attr]
        weights = student.constants()["head.weight"].clone()
        seen.append((torch.cat([step.detach().flatten() for step in student.step_sizes()]), weights))
        end(epoch)

    task.epoch_end = look  # type: ignore[method-assign]
    trained(task, tmp_path, epochs=3)
    assert seen[0][0].abs().max() > 0
    assert torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[1][0], seen[2][0])
    assert not torch.equal(seen[1][1], seen[2][1])


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed):
        trained(aware(plain(parts())), tmp_path, lr=1e30)


class NoStudent(nn.Module):
    phases = (Phase("train", "train", list),)


class Prober(nn.Module):
    """A task that asks its student for something no program has."""

    def __init__(self) -> None:
        super().__init__()
        self.student = net()
        self.phases = (Phase("train", "train", self.student.parameters),)

    def step(self, batch: Any, phase: Phase) -> StepOutput:
        return self.student.body(*batch.inputs)  # type: ignore[operator,no-any-return]

    def epoch_end(self, epoch: int) -> None:
        """Nothing."""

    def deployable(self) -> nn.Module:
        return net()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(torch.relu(self.conv(x))).mean((2, 3)))


class Branching(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) > 0 else -x)


@pytest.mark.parametrize(
    ("task", "found"),
    [
        (NoStudent, "NoStudent aware of quantization: the task has no student"),
        (Prober, "Prober asks its student for 'body'"),
        (lambda: plain(Parts(Twice(), None, 3)), r"share conv\.weight"),
        (lambda: plain(Parts(Branching(), None, 3)), "train Branching aware of quantization"),
        (lambda: th_kd(parts(), a_th=0.5, ensemble=True), "other weights than its student"),
        (lambda: distil(parts(), features=1.0, layer="body"), "compare layer 'body'"),
    ],
)
def test_tasks_and_nets_that_cannot_be_trained_so_are_named(task: Any, found: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=found):
        trained(aware(task()), tmp_path)


@pytest.mark.parametrize("options", [{"family": "dsp"}, {"calibration": 0}, {"freeze_ranges": -1}])
def test_settings_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(Qat(), **options)


def test_there_is_no_plan_before_the_training() -> None:
    task = aware(plain(parts()))
    assert set(task.deployable().state_dict()) == set(net().state_dict())
    with pytest.raises(UsageError, match="has not begun"):
        _ = task.plan
