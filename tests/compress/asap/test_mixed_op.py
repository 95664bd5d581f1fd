import pytest
import torch
from torch import nn

from edgesmith.compress.asap.mixed_op import MixedOp, mixed_ops
from edgesmith.errors import UsageError


def mixed(dropout_on=()) -> MixedOp:
    torch.manual_seed(0)
    return MixedOp("e", {"a": nn.Linear(4, 4), "skip": nn.Identity(), "b": nn.Linear(4, 4)}, dropout_on)


def test_it_is_the_weighted_sum() -> None:
    edge, x, w = mixed(), torch.randn(3, 4), torch.tensor([0.5, 0.3, 0.2])
    assert torch.allclose(edge(x, weights=w), 0.5 * edge.ops["a"](x) + 0.3 * x + 0.2 * edge.ops["b"](x))


def test_pruning_deletes_parameters_and_buffers() -> None:
    edge = mixed()
    edge.prune(["skip", "a"])
    assert edge.alive == ("a", "skip") and {name.split(".")[1] for name, _ in edge.named_parameters()} == {"a"}
    edge.prune(["skip"])
    assert not list(edge.parameters())


def test_one_operation_left_is_called_alone() -> None:
    edge, x = mixed(), torch.randn(3, 4)
    edge.prune(["skip"])
    assert edge(x) is x
    assert torch.equal(edge(x, weights=torch.tensor([0.25])), 0.25 * x)  # a node that still chooses its inputs


def test_weights_of_another_supernet_are_refused() -> None:
    for weights in (None, torch.ones(2)):
        with pytest.raises(UsageError, match="3 operations"):
            mixed()(torch.randn(1, 4), weights=weights)
    with pytest.raises(UsageError, match="alive are"):
        mixed().prune(["c"])


def test_its_state_brings_back_who_is_alive() -> None:
    edge, other, x = mixed(), nn.Sequential(mixed()), torch.randn(3, 4)
    edge.prune(["b", "skip"])
    edge.rate = 0.25
    torch.nn.init.zeros_(other[0].ops["b"].weight)
    other.load_state_dict(nn.Sequential(edge).state_dict())
    w = torch.tensor([0.5, 0.5])
    assert other[0].alive == ("skip", "b") and other[0].rate == 0.25
    assert torch.equal(other[0](x, weights=w), edge(x, weights=w))
    assert [path for path, _ in mixed_ops(other)] == ["0"]


def test_a_state_with_more_alive_does_not_fit() -> None:
    edge = mixed()
    edge.prune(["a"])
    with pytest.raises(ValueError, match="alive are"):
        edge.load_state_dict(mixed().state_dict())


def test_dropout_is_behind_skips_in_training_while_there_are_others() -> None:
    edge, x, only_skip = mixed(("skip",)), torch.ones(64, 4), torch.tensor([0.0, 1.0, 0.0])
    edge.rate = 0.5
    dropped = edge(x, weights=only_skip)
    assert set(dropped.detach().flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(edge.eval()(x, weights=only_skip), x)
    edge.train().prune(["skip"])
    assert edge(x) is x
