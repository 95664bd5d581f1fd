"""Unique names out of a graph."""

import torch
from torch import Tensor, nn

from edgesmith.graph.capture import capture
from edgesmith.graph.naming import leaves_of, unique


def test_unique_counts_up_past_what_is_taken() -> None:
    assert unique("add", ()) == "add"
    assert unique("add", {"add", "add_1"}) == "add_2"


def test_leaves_are_modules_without_children() -> None:
    is_leaf = leaves_of(nn.Sequential(nn.Sequential(nn.ReLU())))
    assert is_leaf("0.0") and not is_leaf("0") and not is_leaf("nowhere")


class Affine(nn.Module):
    """A leaf of the user's own with two operators."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 + 1


def test_the_last_operator_of_a_leaf_bears_its_path() -> None:
    net = nn.Sequential(Affine(), nn.Conv2d(3, 3, 3, padding=1, padding_mode="circular"))
    paths = list(capture(net, (torch.randn(1, 3, 4, 4),)).paths.values())
    assert paths[:2] == ["0.mul", "0"] and paths[-1] == "1" and len(set(paths)) == len(paths)
