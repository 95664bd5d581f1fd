"""Phases as the loop runs them: halves of the data, phases that wait, own optimizers, parameters that go away."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.batches import batches_of
from edgesmith.compress.checkpoint import NAME
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.optimizer import OptimizerChoice
from edgesmith.compress.phases import active, feeds
from edgesmith.compress.ranks import Ranks
from edgesmith.compress.task import Phase, StepOutput
from edgesmith.data.split import Split
from edgesmith.errors import DamagedArtifact, UsageError

CONFIG = FitConfig(epochs=4, batch=4, lr=0.1, schedule="constant", seed=3, threads=1, accelerator="cpu")
ALPHA = OptimizerChoice("adam", 0.05, betas=(0.5, 0.999), weight_decay=1e-3, decay_vectors=True)


def numbers(count: int = 17) -> Split:
    """Sample i is the number i, in every column."""
    return Split({"x": np.arange(count, dtype=np.float32)[:, None].repeat(3, 1) / count})


class Search(nn.Module):
    """A search in small: branches mixed by alphas; after each epoch the weakest branch is deleted, down to one."""

    def __init__(self, branches: int = 3, grace: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.branches = nn.ModuleDict({str(n): nn.Linear(3, 2) for n in range(branches)})
        self.alphas = nn.ParameterDict({str(n): nn.Parameter(torch.zeros(())) for n in range(branches)})
        self.grace, self.seen, self.rates = grace, [], []

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("weights", "first_half", self.branches.parameters),
            Phase("alphas", "second_half", self.alphas.parameters, ALPHA),
        )

    def active(self, epoch: int) -> list[str]:
        return ["weights"] if epoch < self.grace else ["weights", "alphas"]

    def step(self, batch, phase: Phase) -> StepOutput:
        self.seen.append((phase.name, tuple(batch.rows.tolist())))
        shares = torch.stack([self.alphas[name] for name in self.branches]).softmax(0)
        mixed = sum(share * branch(batch.inputs[0]) for share, branch in zip(shares, self.branches.values()))
        loss = (mixed - 1).square().mean()
        return StepOutput(loss, {"gap": loss.detach()}, len(batch))

    def epoch_end(self, epoch: int) -> None:
        if epoch >= self.grace and len(self.branches) > 1:
            weakest = min(self.alphas, key=lambda name: self.alphas[name].item())
            del self.branches[weakest], self.alphas[weakest]

    @property
    def finished(self) -> bool:
        return len(self.branches) == 1

    def load_state_dict(self, state, strict: bool = True, assign: bool = False):
        for name in [name for name in self.branches if f"alphas.{name}" not in state]:
            del self.branches[name], self.alphas[name]
        return super().load_state_dict(state, strict, assign)


class Stop(Exception):
    """An interruption at a place of our choice."""


def stop_after(epoch: int):
    def report(done) -> None:
        if done.epoch == epoch:
            raise Stop

    return report


def test_halves_are_disjoint_fixed_and_stepped_in_turn(tmp_path) -> None:
    task = Search(grace=0)
    fit(task, numbers(), None, replace(CONFIG, epochs=2), tmp_path)
    assert [name for name, _ in task.seen] == ["weights", "alphas"] * 4
    of = {
        (name, epoch): [row for phase, rows in task.seen[4 * epoch : 4 * epoch + 4] if phase == name for row in rows]
        for name in ("weights", "alphas")
        for epoch in (0, 1)
    }
    assert all(len(rows) == len(set(rows)) == 8 for rows in of.values())
    assert not set(of["weights", 0]) & set(of["alphas", 0])
    assert set(of["weights", 0]) == set(of["weights", 1]) and of["weights", 0] != of["weights", 1]
    assert set(of["alphas", 0]) == set(of["alphas", 1])


def test_another_seed_cuts_other_halves() -> None:
    phases, split = Search().phases, numbers(40)
    cut = [
        feeds(batches_of(split, None, 4, seed, "none", False), phases, Ranks())["first_half"].rows for seed in (0, 0, 1)
    ]
    assert torch.equal(cut[0], cut[1]) and set(cut[0].tolist()) != set(cut[2].tolist())


def test_a_phase_that_is_not_active_does_not_move(tmp_path) -> None:
    task = Search(grace=2)
    result = fit(task, numbers(), None, replace(CONFIG, epochs=2), tmp_path)
    assert {name for name, _ in task.seen} == {"weights"} and all(float(a) == 0 for a in task.alphas.values())
    assert set(result.history[0].terms) == {"weights.gap", "weights.loss"}


@pytest.mark.parametrize("names", [[], ["weights", "depth"]])
def test_wrong_names_of_active_phases_are_refused(names) -> None:
    task = Search()
    task.active = lambda epoch: names
    with pytest.raises(UsageError, match="train epoch 3"):
        active(task, 2)


def test_too_few_samples_to_halve_are_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"first_half.*1 samples"):
        fit(Search(), numbers(3), None, CONFIG, tmp_path)


class Two(nn.Module):
    """Two numbers whose gradient is always 1."""

    def __init__(self, second: OptimizerChoice | None) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))
        self.phases = (
            Phase("first", "train", lambda: [self.first]),
            Phase("second", "train", lambda: [self.second], second),
        )
        self.path: list[float] = []

    def step(self, batch, phase: Phase) -> StepOutput:
        self.path.append(float(self.second))
        loss: Tensor = 10 * (self.first if phase.name == "first" else self.second).sum()
        return StepOutput(loss, {}, len(batch))

    def epoch_end(self, epoch: int) -> None:
        pass


def test_a_phase_goes_by_its_own_optimizer_schedule_and_clip(tmp_path) -> None:
    task = Two(OptimizerChoice("sgd", 1.0, momentum=0.0, schedule="cosine", min_lr=0.5, clip=0.1))
    fit(task, numbers(8), None, replace(CONFIG, epochs=2, momentum=0.0, weight_decay=0.0), tmp_path)
    assert float(task.first) == pytest.approx(-4 * 0.1 * 10)  # FitConfig's: constant, not clipped
    rates = [0.5 + 0.25 * (1 + np.cos(np.pi * step / 4)) for step in range(4)]
    assert float(task.second) == pytest.approx(-0.1 * sum(rates), rel=1e-5)


def test_what_the_task_deletes_leaves_the_optimizers_and_the_rest_keeps_its_momentum(tmp_path) -> None:
    task = Search(grace=0)
    with pytest.raises(Stop):
        fit(task, numbers(), None, CONFIG, tmp_path, stop_after(1))
    weights, alphas = torch.load(tmp_path / NAME, weights_only=True)["optimizers"]
    assert len(task.branches) == 2 and [len(group["params"]) for group in weights["param_groups"]] == [2, 2]
    assert set(weights["state"]) == {0, 1, 2, 3} and set(alphas["state"]) == {0, 1}
    assert all(int(state["step"]) == 2 for state in alphas["state"].values())


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_training_resumed_after_pruning_ends_with_the_same_bits(tmp_path, cut) -> None:
    whole, first, second = (Search(branches=4) for _ in range(3))
    config = replace(CONFIG, epochs=9, optimizer="adamw")
    expected = fit(whole, numbers(), None, config, tmp_path / "whole")
    with pytest.raises(Stop):
        fit(first, numbers(), None, config, tmp_path / "cut", stop_after(cut))
    found = fit(second, numbers(), None, config, tmp_path / "cut")
    a, b = whole.state_dict(), second.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) and found.resumed_from == cut
    assert [e.terms for e in found.history] == [e.terms for e in expected.history]


def test_a_finished_task_ends_the_training_and_stays_ended(tmp_path) -> None:
    first = fit(Search(), numbers(), None, replace(CONFIG, epochs=9), tmp_path)
    assert first.finished_early and len(first.history) == 3
    again = Search()
    second = fit(again, numbers(), None, replace(CONFIG, epochs=9), tmp_path)
    assert second.finished_early and len(second.history) == 3 and second.resumed_from == 3 and not again.seen


def test_a_task_that_cannot_take_a_pruned_state_is_told(tmp_path) -> None:
    with pytest.raises(Stop):
        fit(Search(), numbers(), None, CONFIG, tmp_path, stop_after(2))
    stubborn = Search()
    stubborn.load_state_dict = lambda state: nn.Module.load_state_dict(stubborn, state)
    with pytest.raises(DamagedArtifact, match="does not fit this task"):
        fit(stubborn, numbers(), None, CONFIG, tmp_path)
