import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesmith.errors import UsageError
from edgesmith.models.inplace_abn import EPS, as_batch_norm


def inplace_abn(x: Tensor, state: dict[str, Tensor], slope: float) -> Tensor:
    """What InPlaceABN computes in evaluation, from its documentation: the scale is |weight| + eps."""

    def shaped(name: str) -> Tensor:
        return state[f"abn.{name}"][None, :, None, None]

    normalised = (x - shaped("running_mean")) / (shaped("running_var") + EPS).sqrt()
    return F.leaky_relu(normalised * (shaped("weight").abs() + EPS) + shaped("bias"), slope)


def test_a_negative_weight_is_used_by_its_size() -> None:
    weight = torch.tensor([-1.5, 0.0, 0.25, -1e-7])
    rest = {"bias": torch.tensor([0.1, -2.0, 0.0, 3.0]), "running_mean": torch.randn(4), "running_var": torch.rand(4)}
    state = {"abn.weight": weight, **{f"abn.{name}": value for name, value in rest.items()}}
    found = as_batch_norm(state, ["abn"])
    assert found["abn.weight"].tolist() == pytest.approx([1.50001, 1e-5, 0.25001, 1.01e-5])
    norm = nn.Sequential(nn.BatchNorm2d(4), nn.LeakyReLU(1e-3)).eval()
    norm[0].load_state_dict({key.removeprefix("abn."): value for key, value in found.items()})
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(norm(x), inplace_abn(x, state, 1e-3), rtol=1e-5, atol=1e-6)
    assert torch.equal(state["abn.weight"], weight)  # the given state is left alone


def test_a_norm_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="InPlaceABN other"):
        as_batch_norm({"abn.weight": torch.ones(1)}, ["other"])
