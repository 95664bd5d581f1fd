"""In-place operators: made ordinary where that is safe, left alone where it is not."""

import torch
from torch import Tensor, nn

from edgesmith.graph.capture import capture
from edgesmith.graph.naming import operator_name


class Ignored(nn.Module):
    """Writes in place and reads the written tensor, not the result."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        before = y + 1
        y.relu_()
        return before * y


class Aliased(nn.Module):
    """Writes into a view of a tensor that is read afterwards."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y[:, 0].relu_()
        return y + 1


def operators(net: nn.Module) -> list[str]:
    program = capture(net, (torch.randn(1, 3, 4, 4),))
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(program.module(x)[0], net(x))
    targets = [node.target for node in program.module.graph.nodes if node.op == "call_function"]
    return [target._schema.name.split("::")[1] for target in targets]


def test_readers_of_the_written_tensor_read_the_new_one() -> None:
    names = operators(Ignored())
    assert "relu" in names and "relu_" not in names


def test_writing_into_a_view_stays() -> None:
    assert "relu_" in operators(Aliased())


def test_inplace_activations_count_as_the_ordinary_ones() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU6(inplace=True))
    program = capture(net, (torch.randn(1, 3, 4, 4),))
    assert [operator_name(node) for node in program.nodes.values()] == ["conv2d", "hardtanh"]
    assert not program.nodes["1"].target._schema.is_mutable
