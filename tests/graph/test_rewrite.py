"""Batch norms folded and pointwise layers rewritten: same function, names kept."""

import pytest
import torch
from torch import Tensor, nn

from edgesmith.graph.capture import Program, capture, exported_program
from edgesmith.graph.naming import operator_name
from edgesmith.graph.program import Origin
from edgesmith.graph.rewrite import fold_batchnorm, pointwise_to_linear, simplify
from tests.graph.test_capture import captured, example
from tests.models import TINY


def settled(net: nn.Module) -> nn.Module:
    """Batch norms with statistics that are not the trivial ones."""
    torch.manual_seed(2)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -1, 1)
            nn.init.uniform_(norm.running_var, 0.2, 3)
            if norm.affine:
                nn.init.uniform_(norm.weight, -2, 2)
                nn.init.uniform_(norm.bias, -1, 1)
    return net.eval()


def assert_same(before: Program, after: Program, inputs: tuple[Tensor, ...]) -> None:
    """Equal to 1e-5 of the size of the output."""
    for old, new in zip(before.module(*inputs), after.module(*inputs), strict=True):
        assert (old - new).abs().max() <= 1e-5 * old.abs().max()


def operators(program: Program) -> list[str]:
    return [operator_name(node) for node in program.nodes.values()]


@pytest.mark.parametrize("name", [*TINY, "two"])
def test_folding_is_exact_and_leaves_the_original_alone(name: str) -> None:
    program = captured(name)
    before = operators(program)
    folded = fold_batchnorm(program)
    assert "batch_norm" not in operators(folded) and operators(program) == before
    assert_same(program, folded, example(name, 4))
    assert fold_batchnorm(folded) is folded


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3, groups=1, bias=False), nn.BatchNorm2d(4)), (3, 8, 8)),
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8, affine=False)), (4, 8, 8)),
        (nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), (3, 8)),
        (nn.Sequential(nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4)), (6,)),
        (nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.BatchNorm1d(4)), (3, 8, 8)),
    ],
)
def test_every_kind_of_layer_is_folded(net: nn.Sequential, shape: tuple[int, ...]) -> None:
    program = capture(settled(net), (torch.randn(1, *shape),))
    folded = fold_batchnorm(program)
    assert "batch_norm" not in operators(folded)
    assert_same(program, folded, (torch.randn(3, *shape),))


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.BatchNorm1d(256)),
    ],
)
def test_a_batch_norm_behind_something_else_stays(net: nn.Sequential) -> None:
    program = capture(settled(net), example())
    assert operators(fold_batchnorm(program)) == operators(program)


def test_a_batch_norm_that_cannot_be_folded_becomes_a_depthwise_convolution() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4, affine=False))
    program = capture(settled(net), example())
    rewritten = simplify(program)
    assert operators(rewritten) == ["conv2d", "relu", "conv2d", "relu", "conv2d"]
    assert list(rewritten.nodes) == list(program.nodes)
    assert_same(program, rewritten, example(batch=3))


class Shared(nn.Module):
    """One convolution, two batch norms: the weight has two folded versions. Or one result read twice."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        if self.twice:
            return self.second(self.conv(self.first(self.conv(x))))
        y = self.conv(x)
        return self.first(y) + y


@pytest.mark.parametrize(("twice", "left"), [(True, 0), (False, 1)])
def test_shared_weights_and_shared_results_are_respected(twice: bool, left: int) -> None:
    program = capture(settled(Shared(twice)), example())
    folded = fold_batchnorm(program)
    assert operators(folded).count("batch_norm") == left
    assert_same(program, folded, example(batch=2))


def test_a_folded_layer_keeps_its_path_and_says_whose_value_it_has() -> None:
    folded = fold_batchnorm(captured("conv-bn-relu"))
    assert list(folded.nodes) == ["conv", "act"]
    assert folded.origin(folded.nodes["conv"]) == Origin("bn")
    assert [name for name, _ in exported_program(folded).named_parameters()] == ["conv.weight", "conv.bias"]


def test_a_last_pointwise_convolution_becomes_linear() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 8), nn.Conv2d(6, 5, 1, bias=False), nn.BatchNorm2d(5), nn.Flatten())
    program = capture(settled(net), example())
    rewritten = simplify(program)
    assert operators(rewritten) == ["conv2d", "flatten", "linear"] and list(rewritten.nodes) == ["0", "1.flatten", "1"]
    assert rewritten.origin(rewritten.nodes["1"]).layer == "3"
    assert_same(program, rewritten, example(batch=3))
    assert exported_program(rewritten).module()(*example())[0].shape == (1, 5)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 6, 8), nn.Conv2d(6, 6, 1, groups=2), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 6, 8), nn.Conv2d(6, 5, 1)),
    ],
)
def test_other_pointwise_convolutions_stay(net: nn.Sequential) -> None:
    program = capture(net.eval(), example())
    assert pointwise_to_linear(program) is program
