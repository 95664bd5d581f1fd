import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.compress.checkpoint import NAME
from edgesmith.compress.fit import Epoch, FitConfig, fit
from edgesmith.compress.head_sharing import th_kd
from edgesmith.compress.task import Parts, Phase, Plain, StepOutput
from edgesmith.data.split import Split
from edgesmith.errors import DamagedArtifact, TrainingFailed, UsageError
from edgesmith.models.resnet import build
from edgesmith.tensors import Preprocessing
from tests.models import tiny

PREPROCESSING = Preprocessing((16, 16), (0.5,) * 3, (0.5,) * 3)
CONFIG = FitConfig(epochs=3, batch=8, lr=0.05, seed=3, augment="flip+shift", threads=1, accelerator="cpu")


class Stop(Exception):
    """An interruption at a place of our choice."""


class Dropping(nn.Module):
    """A net with dropout and batch norm: what resumes only if random numbers and buffers do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build(width=4, blocks=(1,), size=16, embedding=6, classes=3)[0]
        self.drop = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.head(self.drop(self.net.embed(x)))


def images(count: int = 26) -> Split:
    labels = np.arange(count) % 3
    noise = np.random.default_rng(0).integers(0, 60, (count, 16, 16, 3))
    return Split({"image": (noise + 90 * labels[:, None, None, None]).astype(np.uint8)}, labels)


def distilling():
    made = [build(width=4, blocks=(1,), size=16, embedding=d, classes=3, seed=s)[0] for d, s in ((4, 0), (6, 1))]
    return th_kd(Parts(made[0], made[1], 3), 0.5, beta=0.5)


def same(first: nn.Module, second: nn.Module) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_training_learns_and_reports_every_epoch(tmp_path) -> None:
    seen: list[Epoch] = []
    result = fit(Plain(Dropping()), images(), PREPROCESSING, replace(CONFIG, epochs=6), tmp_path, seen.append)
    assert (
        tuple(seen) == result.history and [e.epoch for e in seen] == [1, 2, 3, 4, 5, 6] and result.resumed_from is None
    )
    assert seen[-1].loss < seen[0].loss and seen[-1].accuracy > 0.8 and set(seen[0].terms) == {"ce"}


@pytest.mark.parametrize("task", [lambda: Plain(Dropping()), distilling], ids=["plain", "th_kd"])
@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw"}, {"channels_last": True}, {"precision": "bf16-mixed"}])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, task, changes) -> None:
    config = replace(CONFIG, **changes)
    whole, first, second = task(), task(), task()
    expected = fit(whole, images(), PREPROCESSING, config, tmp_path / "whole")

    def stop(epoch: Epoch) -> None:
        raise Stop

    with pytest.raises(Stop):
        fit(first, images(), PREPROCESSING, config, tmp_path / "cut", stop)
    torch.rand(17)  # the caller's random numbers must not matter
    result = fit(second, images(), PREPROCESSING, config, tmp_path / "cut")
    assert result.resumed_from == 1 and same(whole, second)
    assert [e.loss for e in result.history] == [e.loss for e in expected.history]


CHILD = """
import os, signal, sys
from pathlib import Path
from tests.compress import test_fit as here

task, done = here.distilling(), []
whole_step = task.step

def dying_step(batch, phase):
    done.append(1)
    if len(done) == 6:  # four steps an epoch: in the middle of the second
        os.kill(os.getpid(), signal.SIGKILL)
    return whole_step(batch, phase)

task.step = dying_step
here.fit(task, here.images(), here.PREPROCESSING, here.CONFIG, Path(sys.argv[1]))
"""


def test_a_killed_process_resumes_to_the_same_bits(tmp_path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", CHILD, str(tmp_path / "cut")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()[-2000:]
    whole, resumed = distilling(), distilling()
    fit(whole, images(), PREPROCESSING, CONFIG, tmp_path / "whole")
    result = fit(resumed, images(), PREPROCESSING, CONFIG, tmp_path / "cut")
    assert result.resumed_from == 1 and same(whole, resumed)


def test_a_finished_training_is_only_read(tmp_path) -> None:
    first, second = Plain(Dropping()), Plain(Dropping())
    done = fit(first, images(), PREPROCESSING, CONFIG, tmp_path)
    again = fit(second, images(), PREPROCESSING, CONFIG, tmp_path)
    assert again.history == done.history and again.resumed_from == 3 and same(first, second)


def test_the_callers_random_numbers_and_threads_are_left_alone(tmp_path) -> None:
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    task = Plain(Dropping().requires_grad_(True))
    torch.manual_seed(5)
    fit(task, images(), PREPROCESSING, replace(CONFIG, epochs=1, threads=2), tmp_path)
    assert torch.equal(torch.rand(3), expected) and torch.get_num_threads() == threads


class Poisoned(nn.Module):
    """Its term "kl" becomes NaN in the given step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.net, self.at, self.count = nn.Linear(4, 2), at, 0
        self.phases = (Phase("p", "train", self.net.parameters),)

    def step(self, batch, phase) -> StepOutput:
        self.count += 1
        ce = self.net(batch.inputs[0]).square().mean()
        term = ce * (float("nan") if self.count == self.at else 1.0)
        return StepOutput(ce + term, {"ce": ce.detach(), "kl": term.detach()}, len(batch))

    def epoch_end(self, epoch: int) -> None:
        pass


def test_a_nan_names_epoch_step_and_term_and_spoils_no_checkpoint(tmp_path) -> None:
    data = Split({"x": np.ones((8, 4), np.float32)})
    config = replace(CONFIG, batch=4, augment="none")
    with pytest.raises(TrainingFailed, match="epoch 2, step 2: term 'kl' is nan"):
        fit(Poisoned(4), data, None, config, tmp_path)
    assert torch.load(tmp_path / NAME, weights_only=True)["epoch"] == 1


class TwoPhases(Poisoned):
    """Two optimizers, one a layer, that take turns on each batch."""

    def __init__(self) -> None:
        super().__init__(0)
        self.other = nn.Linear(4, 2)
        self.phases = (
            Phase("first", "train", self.net.parameters),
            Phase("second", "train", self.other.parameters),
        )
        self.order: list[str] = []

    def step(self, batch, phase) -> StepOutput:
        self.order.append(phase.name)
        loss = (self.net(batch.inputs[0]) - self.other(batch.inputs[0])).square().mean()
        return StepOutput(loss, {"gap": loss.detach()}, len(batch))


def test_phases_take_turns_and_each_moves_its_own_parameters(tmp_path) -> None:
    task = TwoPhases()
    before = [task.net.weight.clone(), task.other.weight.clone()]
    data = Split({"x": np.ones((8, 4), np.float32)})
    result = fit(task, data, None, replace(CONFIG, epochs=1, batch=4, augment="none"), tmp_path)
    assert task.order == ["first", "second"] * 2 and set(result.history[0].terms) >= {"first.gap", "second.gap"}
    assert not torch.equal(task.net.weight, before[0]) and not torch.equal(task.other.weight, before[1])


def test_a_damaged_checkpoint_is_said_to_be(tmp_path) -> None:
    fit(Plain(Dropping()), images(), PREPROCESSING, replace(CONFIG, epochs=1), tmp_path)
    with pytest.raises(DamagedArtifact, match="does not fit this task"):
        fit(Plain(tiny("depthwise")), images(), PREPROCESSING, replace(CONFIG, epochs=1), tmp_path)
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:300])
    with pytest.raises(DamagedArtifact, match="delete it"):
        fit(Plain(Dropping()), images(), PREPROCESSING, replace(CONFIG, epochs=1), tmp_path)


def test_other_settings_or_data_do_not_resume(tmp_path) -> None:
    config = replace(CONFIG, epochs=1)
    fit(Plain(Dropping()), images(), PREPROCESSING, config, tmp_path)
    with pytest.raises(UsageError):
        fit(Plain(Dropping()), images(), PREPROCESSING, replace(config, lr=0.01), tmp_path)
    with pytest.raises(UsageError):
        fit(Plain(Dropping()), images(20), PREPROCESSING, config, tmp_path)
    assert fit(Plain(Dropping()), images(), PREPROCESSING, replace(config, threads=2), tmp_path).resumed_from == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16-mixed"},
        {"channels_last": True},
        {"clip": 0.1},
        {"warmup_epochs": 1.0},
        {"schedule": "step", "milestones": (3, 5)},
        {"min_lr": 0.01},
        {"ema": 0.5},
    ],
)
def test_every_setting_trains(tmp_path, changes) -> None:
    task = distilling()
    teacher = {key: value.clone() for key, value in task.teacher.state_dict().items()}
    result = fit(task, images(), PREPROCESSING, replace(CONFIG, epochs=6, **changes), tmp_path)
    assert result.history[-1].terms["ce"] < result.history[0].terms["ce"]
    assert all(torch.equal(teacher[key], value) for key, value in task.teacher.state_dict().items())


def test_clipping_bounds_the_step(tmp_path) -> None:
    config = replace(CONFIG, epochs=1, batch=26, clip=1e-3, lr=1.0, momentum=0.0, weight_decay=0.0)
    task = Plain(Dropping())
    before = [p.detach().clone() for p in task.parameters()]
    fit(task, images(), PREPROCESSING, config, tmp_path)
    moved = sum(float((a - b).detach().square().sum()) for a, b in zip(task.parameters(), before)) ** 0.5
    assert 0 < moved <= 1.01e-3


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"batch": 1}, {"lr": 0.0}, {"threads": 0}, {"optimizer": "lion"}])
def test_wrong_settings_are_usage_errors(tmp_path, changes) -> None:
    with pytest.raises(UsageError):
        fit(Plain(Dropping()), images(), PREPROCESSING, replace(CONFIG, **changes), tmp_path)


def test_data_that_no_one_gives_are_refused(tmp_path) -> None:
    task = Poisoned(0)
    task.phases = (Phase("alpha", "validation", task.net.parameters),)
    with pytest.raises(UsageError, match="validation"):
        fit(task, Split({"x": np.ones((8, 4), np.float32)}), None, replace(CONFIG, augment="none"), tmp_path)
