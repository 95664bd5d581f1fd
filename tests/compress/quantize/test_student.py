"""Nets as fake-quantized students: forward, embed and head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgesmith.compress.quantize.aware import begin
from edgesmith.compress.quantize.student import QuantizedStudent, capture_student
from edgesmith.errors import UsageError
from tests.compress.training import net
from tests.models import tiny


def student(module: nn.Module, *samples: Tensor) -> QuantizedStudent:
    return begin(module, module.state_dict(), samples, None, "ort", "x86-vnni").student


def pictures(count: int = 8) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_head_and_embedding_together_are_forward() -> None:
    made, x = student(net(), pictures()), pictures()
    torch.testing.assert_close(made.head(made.embed(x)), made(x))  # type: ignore[misc]
    assert (made.embed(x) - net().embed(x)).norm() / net().embed(x).norm() < 0.05  # type: ignore[operator]


def test_the_embedding_is_not_scaled_for_the_heads_sake() -> None:
    """A teacher's head may read it: factors between the last layer and the head would be wrong for that one."""
    module = net()
    with torch.no_grad():
        module.head.weight[:, 0] *= 100  # type: ignore[union-attr,index]
    wanted = module.embed(pictures())  # type: ignore[operator]
    assert (student(module, pictures()).embed(pictures()) - wanted).norm() / wanted.norm() < 0.05


def test_a_net_without_a_head_embeds_by_its_answer() -> None:
    module = net()
    module.head = None  # type: ignore[assignment]
    made = student(module, pictures())
    assert made.head is None and torch.equal(made.embed(pictures()), made(pictures()))


def test_several_outputs_come_as_the_net_gives_them() -> None:
    made = student(tiny("two"), torch.randn(4, 3, 8, 8), torch.randn(4, 4))
    answer = made(torch.randn(4, 3, 8, 8), torch.randn(4, 4))
    assert isinstance(answer, tuple) and [part.shape[1] for part in answer] == [5, 8]

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"a": self.fc(x), "b": x + 1}

    assert set(student(Named(), torch.randn(4, 4))(torch.randn(4, 4))) == {"a", "b"}


class Stubborn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


class OneSize(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, -1)


@pytest.mark.parametrize(("module", "found"), [(Stubborn(), "Stubborn"), (OneSize(), "one batch size only")])
def test_what_cannot_be_captured_is_named(module: nn.Module, found: str) -> None:
    with pytest.raises(UsageError, match=found):
        capture_student(module, (torch.randn(2, 3),), None)
