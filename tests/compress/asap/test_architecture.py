import pytest
import torch

from edgesmith.compress.asap.architecture import Architecture, capped_softmax
from edgesmith.errors import UsageError
from edgesmith.models.genotype import Edge

EDGES = [Edge(name, ("x", "y", "z")) for name in "abcd"]
NODES = {"n": ("a", "b", "c")}


def architecture(**options) -> Architecture:
    return Architecture(EDGES, NODES, **options)


def test_weights_are_phi_times_the_nodes_gate() -> None:
    made = architecture()
    with torch.no_grad():
        made.alphas["a"].copy_(torch.tensor([1.0, 0.0, -1.0]))
        made.temperature.fill_(0.5)
    weights = made.weights()
    assert torch.allclose(weights["a"], torch.softmax(torch.tensor([2.0, 0, -2]), 0) * 2 / 3)
    assert torch.allclose(weights["d"], torch.full((3,), 1 / 3))  # of no node: no gate
    assert float(sum(weights[edge].sum() for edge in "abc")) == pytest.approx(2.0)


def test_softmax_is_over_those_alive_and_one_left_is_exactly_1() -> None:
    made = architecture()
    made.restrict({"d": ["z", "x"]}, {})
    assert made.alive("d") == ("x", "z") and torch.equal(made.weights()["d"], torch.tensor([0.5, 0.5]))
    made.restrict({"d": ["z"], "a": ["z"]}, {})
    assert made.weights()["d"] is None
    assert made.weights()["a"].shape == (1,)  # its node still chooses


def test_dropped_inputs_take_their_edge_along_and_two_left_are_exactly_1() -> None:
    made = architecture()
    made.restrict({edge: ["x"] for edge in "abcd"}, {"n": ["c", "a"]})
    assert made.alive("b") == () and made.inputs["n"] == ("a", "c")
    assert made.weights() == {"a": None, "c": None, "d": None} and made.decided
    assert {edge: {op: float(s) for op, s in of.items()} for edge, of in made.shares().items()} == {
        edge: {"x": 1.0} for edge in "acd"
    }


def test_what_still_learns() -> None:
    made = architecture()
    assert len(made.undecided_parameters()) == 5 and not made.decided
    made.restrict({"d": ["x"]}, {"n": ["a", "b"]})
    assert [id(p) for p in made.undecided_parameters()] == [id(made.alphas["a"]), id(made.alphas["b"])]


def test_an_ungated_node_keeps_its_inputs_at_weight_1() -> None:
    made = architecture(gated=False)
    assert torch.allclose(made.weights()["a"], torch.full((3,), 1 / 3)) and not list(made.gates)


def test_gradients_reach_the_alphas_alive_and_the_gates() -> None:
    made = architecture()
    made.restrict({"a": ["x", "z"]}, {})
    (made.weights()["a"] * torch.tensor([1.0, 3.0])).sum().backward()
    gradient = made.alphas["a"].grad
    assert gradient[1] == 0 and gradient[0] < 0 < gradient[2] and made.gates["n"].grad[0] > 0


def test_the_state_restores_a_pruned_architecture_only_of_the_same_space() -> None:
    made, fresh = architecture(), architecture()
    made.restrict({"a": ["y"]}, {"n": ["a", "b"]})
    fresh.load_state_dict(made.state_dict())
    assert fresh.operations == made.operations and fresh.inputs == made.inputs
    with pytest.raises((ValueError, RuntimeError)):
        Architecture(EDGES[:2]).load_state_dict(made.state_dict())


def test_the_capped_softmax_goes_from_uniform_to_the_largest_two() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0, 2.0])
    for temperature in (100.0, 3.0, 1.0, 0.3, 0.01):
        weights = capped_softmax(logits / temperature, 2)
        assert float(weights.sum()) == pytest.approx(2.0) and float(weights.max()) <= 1.0
        assert weights.argsort().tolist()[:2] == [0, 2]
    assert torch.allclose(weights, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert torch.allclose(capped_softmax(logits, 1), torch.softmax(logits, 0))
    assert torch.equal(capped_softmax(logits[:2], 2), torch.ones(2))


def test_the_step_from_three_inputs_to_two_is_small_when_the_third_is_weak() -> None:
    """The weights of the two that stay tend to 1 as the third fades: nothing jumps when it is deleted."""
    weights = capped_softmax(torch.tensor([1.0, 0.5, -4.0]), 2)
    assert float(weights[2]) < 0.02 and torch.allclose(weights[:2], torch.ones(2), atol=0.02)


@pytest.mark.parametrize("wrong", [{"a": []}, {"a": ["w"]}, {"e": ["x"]}])
def test_impossible_restrictions_are_refused(wrong) -> None:
    with pytest.raises(UsageError, match="alive are"):
        architecture().restrict(wrong, {})


def test_spaces_that_make_no_sense_are_refused() -> None:
    for edges, nodes in (([], {}), ([EDGES[0], EDGES[0]], {}), (EDGES, {"n": ("q",)})):
        with pytest.raises(UsageError, match="search space"):
            Architecture(edges, nodes)
