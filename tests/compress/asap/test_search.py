import copy
from dataclasses import replace

import pytest
import torch

from edgesmith.compress.asap.anneal import Annealing
from edgesmith.compress.asap.cells import CellSpace
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.compress.asap.methods import search
from edgesmith.compress.asap.mixed_op import mixed_ops
from edgesmith.compress.asap.search import LatencyTerm, Rules, Search, frozen
from edgesmith.compress.fit import fit
from edgesmith.compress.task import Batch, Parts
from edgesmith.errors import DamagedArtifact, UsageError
from tests.compress.training import CONFIG, PREPROCESSING, images

SPACE = CellSpace(3, 2, 3, ("sep3", "max3", "skip"))
FAST = Annealing(start=1.5, factor=0.5)  # one epoch of grace, then 0.75, 0.375, ...


class Stopped(Exception):
    """The power went off after an epoch."""


def task(rules: Rules | None = None, space: CellSpace = SPACE, alpha_lr: float = 0.1) -> Search:
    return search(Parts(space.supernet(), None, 3), rules or Rules(FAST), alpha_lr=alpha_lr)


def run(made: Search, folder, epochs: int = 4, report=None):
    return fit(made, images(), PREPROCESSING, replace(CONFIG, epochs=epochs), folder, report)


def batch() -> Batch:
    torch.manual_seed(0)
    return Batch((torch.randn(6, 3, 8, 8),), torch.arange(6) % 3)


def moved(before: dict, after: dict) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_in_grace_only_the_weights_move_and_afterwards_both(tmp_path) -> None:
    made, states = task(), []
    states.append({name: p.detach().clone() for name, p in made.named_parameters()})
    first = run(made, tmp_path, 2, lambda _: states.append({n: p.detach().clone() for n, p in made.named_parameters()}))
    alphas = {name for name in states[0] if "architecture" in name}
    assert not moved(states[0], states[1]) & alphas and moved(states[0], states[1])
    assert {name for name in alphas if name in states[2]} <= moved(states[1], states[2])
    assert [any(name.startswith("architecture") for name in epoch.terms) for epoch in first.history] == [False, True]
    assert [epoch.grace for epoch in made.history] == [True, False]


def test_each_phase_gives_gradients_to_its_own_parameters_only() -> None:
    made = task()
    for phase in made.phases:
        made.zero_grad()
        made.step(batch(), phase).loss.backward()
        own = {id(parameter) for parameter in phase.parameters()}
        touched = {id(parameter) for parameter in made.parameters() if parameter.grad is not None}
        assert touched and touched <= own
        assert all(parameter.requires_grad for parameter in made.parameters())


def test_frozen_parameters_are_back_after_an_error() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ZeroDivisionError), frozen([weight]):
        assert not weight.requires_grad
        _ = 1 / 0
    assert weight.requires_grad


def test_a_search_shrinks_ends_early_and_deploys_what_it_was(tmp_path) -> None:
    made = task(Rules(Annealing(1.5, 0.2)))
    sizes: list[int] = []
    result = run(made, tmp_path, 12, lambda _: sizes.append(sum(p.numel() for p in made.supernet.parameters())))
    assert result.finished_early and made.finished and not made.forced and len(result.history) < 12
    assert sizes[0] > sizes[-1] and sizes == sorted(sizes, reverse=True)
    assert [epoch.parameters for epoch in made.history] == sizes
    assert all(len(mixed.alive) <= 1 for _, mixed in mixed_ops(made.supernet))
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(made.deployable()(x), made.supernet.eval()(x))


def test_pruning_is_monotone_and_never_takes_the_strongest(tmp_path) -> None:
    made = task()
    run(made, tmp_path)
    for before, after in zip(made.history, made.history[1:]):
        assert after.operations <= before.operations
        for edge, weights in after.weights.items():
            assert set(weights) <= set(before.weights[edge])
            assert sum(weights.values()) == pytest.approx(1.0, abs=1e-5)
    assert all(sum(epoch.strongest.values()) == len(epoch.weights) for epoch in made.history)


def test_deleted_operations_leave_the_optimizers(tmp_path) -> None:
    made = task(Rules(Annealing(1.5, 0.2)))
    run(made, tmp_path, 3)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    kept = sum(1 for parameter in made.phases[0].parameters())
    assert len(state["optimizers"][0]["state"]) <= kept < sum(1 for _ in task().phases[0].parameters())


@pytest.mark.parametrize("stop", [1, 2])
def test_an_interrupted_search_ends_as_if_it_had_not_been(tmp_path, stop) -> None:
    rules = Rules(Annealing(1.5, 0.6), skip_dropout=0.3)
    whole = task(rules)
    run(whole, tmp_path / "whole", 3)

    def interrupt(epoch) -> None:
        if epoch.epoch == stop:
            raise Stopped

    with pytest.raises(Stopped):
        run(task(rules), tmp_path / "part", 3, interrupt)
    resumed = task(rules)
    result = run(resumed, tmp_path / "part", 3)
    assert result.resumed_from == stop and resumed.history == whole.history
    one, other = whole.supernet.state_dict(), resumed.supernet.state_dict()
    assert set(one) == set(other) and resumed.genotype() == whole.genotype()
    assert all(torch.equal(one[key], other[key]) for key in one if torch.is_tensor(one[key]))


def test_a_checkpoint_of_another_space_is_refused(tmp_path) -> None:
    run(task(), tmp_path, 2)
    other = task(space=CellSpace(3, 2, 3, ("sep3", "avg3", "skip")))
    with pytest.raises(DamagedArtifact, match="does not fit this task"):
        run(other, tmp_path, 2)


def test_what_is_open_at_the_end_is_forced_and_said_so(tmp_path) -> None:
    made = task(alpha_lr=1e-4)
    result = run(made, tmp_path, 2)
    before = copy.deepcopy(made.supernet.state_dict())
    assert made.forced and not result.finished_early
    net = made.deployable()
    assert set(before) == set(made.supernet.state_dict())  # the supernet itself stays as it is
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, 3)
    assert len(made.genotype().kept()) == 16


def test_the_limit_of_skips_holds_in_the_genotype() -> None:
    for limit, most in ((0, 8), (1, 1)):
        made = task(Rules(FAST, skip_limit=limit))
        with torch.no_grad():
            for alpha in made.supernet.architecture.alphas.values():
                alpha[2] = 3.0
        made.epoch_end(4)
        kept = made.genotype().kept()
        for kind in ("normal", "reduce"):
            assert sum(op == "skip" for edge, op in kept.items() if edge.startswith(kind)) == most


def test_skip_dropout_falls_with_the_temperature() -> None:
    made = task(Rules(FAST, skip_dropout=0.4))
    rates = []
    for epoch in range(3):
        rates.append(next(mixed_ops(made.supernet))[1].rate)
        made.epoch_end(epoch)
    assert rates == pytest.approx([0.4, 0.2, 0.1])


def table(slow: str) -> LatencyTable:
    entries = {edge.name: {op: 1.0 if op == slow else 0.1 for op in edge.operations} for edge in SPACE.edges}
    return LatencyTable("cells", "onnx-fp32", 1, 0.5, entries)


@pytest.mark.parametrize("form", ["linear", "hinge"])
def test_the_latency_term_pushes_against_what_is_slow(form) -> None:
    made = task(Rules(FAST, latency=LatencyTerm(table("sep3"), 100.0, 2.0, form)))
    output = made.step(batch(), made.phases[1])
    output.loss.backward()
    gradients = [alpha.grad for alpha in made.supernet.architecture.alphas.values()]
    assert all(gradient[0] > 0 and gradient[0] == gradient.max() for gradient in gradients)
    assert float(output.terms["latency_ms"]) == pytest.approx(0.5 + 16 * 0.4, rel=1e-4)
    assert "latency_ms" not in made.step(batch(), made.phases[0]).terms


def test_the_hinge_rests_below_the_budget_and_the_linear_term_does_not() -> None:
    expected = torch.tensor(3.0)
    assert float(LatencyTerm(table("sep3"), 2.0, 4.0, "hinge")(expected)) == 0.0
    assert float(LatencyTerm(table("sep3"), 2.0, 2.0, "hinge")(expected)) == 1.0
    assert float(LatencyTerm(table("sep3"), 2.0, 4.0, "linear")(expected)) == 1.5
    with pytest.raises(UsageError, match="budget 0"):
        LatencyTerm(table("sep3"), 2.0, 0.0)
