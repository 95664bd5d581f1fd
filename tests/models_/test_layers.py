import pytest
import torch

from edgesmith.errors import UsageError
from edgesmith.models.layers import ConvBnAct, activation, seeded


def test_prelu_has_one_slope_a_channel() -> None:
    assert activation("prelu", 5).weight.shape == (5,)


def test_an_unknown_activation_names_the_known() -> None:
    with pytest.raises(UsageError, match="hardswish"):
        activation("gelu", 4)


def test_a_linear_unit_has_no_activation() -> None:
    unit = ConvBnAct(3, 4).eval()
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(unit(x), unit.bn(unit.conv(x)))


def test_seeded_leaves_the_callers_random_numbers() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeded(5):
        inside = torch.rand(1)
    assert torch.equal(torch.rand(2), expected)
    with seeded(5):
        assert torch.equal(torch.rand(1), inside)
