import pytest
import torch

from edgesmith.compress.asap.anneal import Annealing, SkipLimit, prune, settle, survivors
from edgesmith.compress.asap.architecture import Architecture
from edgesmith.errors import UsageError
from edgesmith.models.genotype import Edge


def architecture(alphas: dict[str, list[float]], nodes=None, operations=("skip", "x", "y"), gated=True) -> Architecture:
    made = Architecture([Edge(name, operations, "g") for name in alphas], nodes, gated=gated)
    with torch.no_grad():
        for name, values in alphas.items():
            made.alphas[name].copy_(torch.tensor(values))
    return made


def test_what_is_below_its_share_goes_but_never_the_largest() -> None:
    assert survivors([0.1, 0.3, 0.6], 0.4) == [1, 2]  # 0.4 / 3 = 0.133
    assert survivors([0.14, 0.3, 0.56], 0.4) == [0, 1, 2]
    assert survivors([0.01, 0.98, 0.01], 0.4) == [1]
    assert survivors([0.02, 0.95, 0.02, 0.01], 0.4, keep=2) == [0, 1]


def test_pruning_rises_with_few_alive_because_n_is_the_number_alive() -> None:
    made = architecture({"a": [0.0, 2.0, 2.3]})
    made.restrict({"a": ["x", "y"]}, {})
    made.temperature.fill_(0.15)
    prune(made, 0.4)  # exp(-2) / (1 + exp(-2)) = 0.119 < 0.4 / 2, though not < 0.4 / 8
    assert made.alive("a") == ("y",)


def test_gates_are_pruned_by_the_same_rule_down_to_two_and_take_their_edges_along() -> None:
    alphas = {name: [0.0, 0.0, 0.0] for name in "abcd"}
    made = architecture(alphas, {"n": tuple("abcd")})
    with torch.no_grad():
        made.gates["n"].copy_(torch.tensor([-3.0, 0.5, 1.0, 0.4]))
    prune(made, 0.4)
    assert made.inputs["n"] == ("b", "c", "d") and made.alive("a") == () and len(made.alive("b")) == 3
    made.temperature.fill_(0.01)
    prune(made, 0.4)
    assert made.inputs["n"] == ("b", "c")


def test_settling_takes_the_strongest_and_spares_none_where_it_can() -> None:
    made = architecture({"a": [0.0, 2.0, 3.0], "b": [0.0, 1.0, 0.5]}, operations=("none", "x", "y"))
    with torch.no_grad():
        made.alphas["a"][0] = 9.0
    settle(made, never=("none",))
    assert made.alive("a") == ("y",) and made.alive("b") == ("x",) and made.decided
    only = architecture({"a": [0.0, 0.0, 0.0]}, operations=("none", "x", "y"))
    only.restrict({"a": ["none"]}, {})
    settle(only, never=("none",))
    assert only.alive("a") == ("none",)


def test_the_two_inputs_of_an_ungated_node_are_those_with_the_largest_alphas() -> None:
    alphas = {"a": [0.0, 3.0, 0.0], "b": [5.0, 0.0, 0.0], "c": [0.0, 0.0, 1.0]}
    made = architecture(alphas, {"n": ("a", "b", "c")}, ("none", "x", "y"), gated=False)
    settle(made, never=("none",))
    assert made.inputs["n"] == ("a", "c")  # b is large in none only
    made = architecture(alphas, {"n": ("a", "b", "c")}, ("none", "x", "y"), gated=False)
    settle(made)
    assert made.inputs["n"] == ("a", "b")


def test_skips_above_the_limit_give_way_to_the_best_other_the_weakest_first() -> None:
    alphas = {"a": [3.0, 1.0, 0.0], "b": [5.0, 0.0, 1.0], "c": [4.0, 1.0, 0.0], "d": [0.0, 4.0, 0.0]}
    limit = SkipLimit(("skip",), 2)
    for decide in (lambda made: prune(made, 0.4, limit), lambda made: settle(made, limit)):
        made = architecture(alphas)
        made.temperature.fill_(0.3)
        decide(made)
        assert [made.alive(name) for name in "abcd"] == [("x",), ("skip",), ("skip",), ("x",)]


def test_a_skip_that_was_let_through_counts_later() -> None:
    made = architecture({"a": [0.0, 0.0, 0.0], "b": [9.0, 0.0, 1.0]})
    made.restrict({"a": ["skip"]}, {})
    prune(made, 0.4, SkipLimit(("skip",), 1))
    assert made.alive("a") == ("skip",) and made.alive("b") == ("y",)
    free = architecture({"a": [9.0, 0.0, 0.0], "b": [9.0, 0.0, 1.0]})
    prune(free, 0.4, SkipLimit(("skip",), 0))
    assert free.alive("a") == free.alive("b") == ("skip",)


@pytest.mark.parametrize("wrong", [{"start": 0.0}, {"factor": 0.0}, {"factor": 1.1}, {"threshold": 1.0}])
def test_schedules_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Annealing(**wrong)
