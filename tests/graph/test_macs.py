"""Multiply-accumulates by hand."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgesmith.graph.capture import capture
from edgesmith.graph.macs import layer_macs
from edgesmith.graph.rewrite import simplify
from tests.graph.test_capture import captured


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 8, 3, groups=2)
        self.up = nn.ConvTranspose2d(8, 2, 2, stride=2)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.up(self.grouped(x))
        tokens = y.flatten(2).reshape(-1, 2, 12, 12)
        scores = tokens @ tokens.transpose(2, 3)
        return self.fc(tokens), scores, functional.scaled_dot_product_attention(tokens, tokens, tokens)


def test_every_kind_of_product_is_counted_for_one_sample() -> None:
    torch.manual_seed(0)
    found = layer_macs(capture(Mixed().eval(), (torch.randn(2, 4, 8, 8),)))
    assert found["grouped"] == 8 * 6 * 6 * 2 * 9
    assert found["up"] == 8 * 6 * 6 * 2 * 4
    assert found["fc"] == 2 * 12 * 12 * 5
    assert found["matmul"] == 2 * 12 * 12 * 12
    assert found["scaled_dot_product_attention"] == 2 * (12 * 12 * 12) * 2


def test_folding_keeps_the_count_of_convolutions() -> None:
    program = captured("depthwise")
    before, after = layer_macs(program), layer_macs(simplify(program))
    for path in ("expand", "depthwise", "project"):
        assert before[path] == after[path] > 0
    assert before["expand"] == 8 * 64 * 3
