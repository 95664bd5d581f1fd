import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgesmith.errors import UsageError
from edgesmith.models import mobilefacenet
from edgesmith.models.layers import ConvBnAct, seeded
from edgesmith.models.mobilefacenet import Slim
from edgesmith.models.slim import moments, thin
from edgesmith.models.weights import read_weights

X = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
BLOCKS = (0, 1, 5, 6, 12)


def alive(unit: ConvBnAct) -> ConvBnAct:
    """Batch norms as after a training: no two channels alike."""
    for parameter, low, high in ((unit.bn.weight, 0.5, 1.5), (unit.bn.bias, -1.0, 1.0)):
        nn.init.uniform_(parameter, low, high)
    unit.bn.running_mean.normal_()
    unit.bn.running_var.uniform_(0.5, 2.0)
    return unit


def chain(act: str = "prelu") -> tuple[ConvBnAct, ConvBnAct, ConvBnAct]:
    with seeded(1):
        expand, depthwise = ConvBnAct(4, 8, act=act), ConvBnAct(8, 8, 3, 1, 1, groups=8, act=act)
        return alive(expand).eval(), alive(depthwise).eval(), alive(ConvBnAct(8, 5)).eval()


def through(units, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return nn.Sequential(*units)(x)


def net(**options):
    return mobilefacenet.build(size=32, width=0.5, embedding=16, **options)


def save(module: nn.Module, path) -> str:
    save_file(module.state_dict(), path)
    return str(path)


@pytest.mark.parametrize("act", ["relu6", "relu", "none"])
def test_moments_are_those_of_normal_values_through_the_activation(act) -> None:
    unit = alive(ConvBnAct(2, 6, act=act)).eval()
    values = unit.bn.bias + unit.bn.weight * torch.randn(200_000, 6, generator=torch.Generator().manual_seed(0))
    given = unit.act(values.detach())
    found = moments(unit)
    assert torch.allclose(found.mean.float(), given.mean(0), atol=0.02)
    assert torch.allclose(found.std.float(), given.std(0), atol=0.03)


@pytest.mark.parametrize("act", ["relu6", "prelu"])
def test_channels_that_give_nothing_go_first_and_nothing_changes(act) -> None:
    units, x = chain(act), torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        units[1].bn.weight[[1, 4, 6]] = 0.0  # a constant in every picture: only its mean is missed
    before = through(units, x)
    thin(units[:2], units[2], 5)
    assert units[0].conv.weight.shape == (5, 4, 1, 1) and units[1].conv.groups == 5
    assert torch.allclose(through(units, x), before, atol=1e-5)


def test_what_is_kept_are_the_channels_with_the_largest_part() -> None:
    units = chain("none")
    part = units[1].bn.weight.detach() * units[2].conv.weight.detach()[:, :, 0, 0].norm(dim=0)
    expected = units[0].conv.weight.detach()[part.topk(3).indices.sort().values]
    thin(units[:2], units[2], 3)
    assert torch.equal(units[0].conv.weight, expected)


def test_a_slim_net_has_less_of_everything_and_trains() -> None:
    slim = Slim(blocks=BLOCKS, inner=0.5, stem=16, last=64)
    whole, (small, card) = net()[0], net(slim=slim)
    count = [sum(p.numel() for p in module.parameters()) for module in (whole, small)]
    assert count[1] < 0.4 * count[0] and len(small.body.blocks) == 5 and card.name == "mobilefacenet"
    assert small.body.blocks[0].expand.conv.out_channels == 32 and small.body.stem.conv.out_channels == 16
    small.train()(X).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in small.parameters())


def test_it_starts_from_a_checkpoint_of_the_whole_net_and_loads_its_own(tmp_path) -> None:
    whole = net(seed=7)[0]
    path = save(whole, tmp_path / "whole.safetensors")
    only_blocks, _ = net(slim=Slim(blocks=BLOCKS), slim_from=path)
    own = dict(only_blocks.body.blocks[2].named_parameters())
    theirs = dict(whole.body.blocks[5].named_parameters())
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)
    slim = Slim(blocks=BLOCKS, inner=0.5)
    first, _ = net(slim=slim, slim_from=path)
    again, _ = net(slim=slim, weights=save(first, tmp_path / "slim.safetensors"), seed=3)
    assert (
        torch.equal(first(X), again(X))
        and read_weights(tmp_path / "slim.safetensors").keys() == dict(first.state_dict()).keys()
    )


def test_with_everything_kept_it_is_the_whole_net(tmp_path) -> None:
    whole = net(seed=7)[0]
    path = save(whole, tmp_path / "whole.safetensors")
    assert torch.equal(net(slim=Slim(), slim_from=path)[0](X), whole(X))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slim": Slim(blocks=(1, 5, 12))}, r"keep blocks .* \[0\]"),
        ({"slim": Slim(blocks=(0, 5, 12, 15))}, r"\[15\]"),
        ({"slim": Slim(stem=33)}, "1 to 32"),
        ({"slim": Slim(last=0)}, "1 to 256"),
        ({"slim_from": "whole.safetensors"}, "nothing is to be left out"),
    ],
)
def test_what_is_not_there_cannot_be_kept(options, said) -> None:
    with pytest.raises(UsageError, match=said):
        net(**options)
