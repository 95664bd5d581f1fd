"""Steps shared along additions, told from the original's own ranges."""

from __future__ import annotations

import torch
from torch import nn

from edgesmith.graph.capture import capture
from edgesmith.graph.operators import is_add
from edgesmith.targets import FAMILIES
from edgesmith.verify.shared import shared_widths


class Sum(nn.Module):
    """Two convolutions added, and nothing that runs inside the addition."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.left(x) + self.right(x))


def widths(family: str, left: float, right: float, both: float) -> dict[str, float]:
    """Ranges of the operands and of their sum are symmetric, of these sizes."""
    program = capture(Sum().eval(), (torch.randn(2, 3, 4, 4),))
    total = next(path for path, node in program.nodes.items() if is_add(node))
    ends = {path: (-size, size) for path, size in (("left", left), ("right", right), (total, both))}
    return shared_widths(program, ends, FAMILIES[family], "x86")


def test_operands_of_the_size_of_their_sum_share_its_step() -> None:
    found = widths("ort", 1.0, 0.8, 1.2)
    assert len(found) == 3 and set(found.values()) == {2.4}


def test_an_operand_far_smaller_than_the_sum_keeps_its_grid() -> None:
    assert widths("ort", 10.0, 0.01, 10.01) == {}


def test_a_runtime_that_adds_before_it_rounds_shares_nothing() -> None:
    assert widths("openvino", 1.0, 0.8, 1.2) == {}
