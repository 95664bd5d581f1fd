"""A model that answers anew each time is found by running it twice, and the layer is named."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.repeatable import check_repeatable
from tests.models import tiny


class Noisy(nn.Module):
    """A tiny net behind what its argument does."""

    def __init__(self, first: nn.Module) -> None:
        super().__init__()
        self.first, self.net = first, tiny("linear")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.first(x))


class AlwaysDropped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.2, training=True)


class Jitter(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.01 * torch.randn_like(x)


@pytest.mark.parametrize("layer", [AlwaysDropped, Jitter])
def test_the_layer_is_named(layer: type[nn.Module]) -> None:
    program = capture(Noisy(layer()), (torch.randn(1, 3, 8, 8),))
    with pytest.raises(UsageError, match=r"first.* answers differently each time"):
        check_repeatable(program)


def test_dropout_that_eval_mode_ends_is_none() -> None:
    check_repeatable(capture(Noisy(nn.Dropout(0.5)).train(), (torch.randn(1, 3, 8, 8),)))
