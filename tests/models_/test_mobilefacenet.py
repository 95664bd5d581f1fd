import pytest
import torch

from edgesmith.errors import UsageError
from edgesmith.models.count import count_macs, count_parameters
from edgesmith.models.mobilefacenet import build
from edgesmith.models.weights import save_weights

# Source: parameter and MAC counts of the published table, counted by hand from its rows.
COUNTS = [
    ({}, 1_003_136, 220_965_376),
    ({"embedding": 512}, 1_200_512, 221_161_984),
    ({"embedding": 256}, 1_068_928, 221_030_912),
    ({"size": (112, 96)}, 999_552, 189_408_256),
    ({"layout": "xiaoccer"}, 999_552, 189_408_256),
    ({"layout": "foamliu"}, 999_936, 233_810_432),
]


@pytest.mark.parametrize(("options", "parameters", "macs"), COUNTS)
def test_parameters_and_macs_are_the_published_ones(options, parameters, macs) -> None:
    net, card = build(**options)
    assert count_parameters(net) == parameters
    assert count_macs(net, torch.zeros(card.inputs[0].concrete())) == macs


@pytest.mark.parametrize("act", ["prelu", "relu", "relu6", "hardswish"])
def test_a_narrow_net_with_a_head(act) -> None:
    net, card = build(width=0.25, act=act, size=32, classes=4, embedding=16, labels=("a", "b", "c", "d"))
    x = torch.randn(2, 3, 32, 32)
    z = net.embed(x)
    assert z.shape == (2, 16) and torch.equal(net(x), net.head(z))
    assert card.inputs[0].shape == (1, 3, 32, 32) and card.outputs[0].shape == (1, 4)


@pytest.mark.parametrize("width", [0.3, 0.5, 0.77, 1.5])
def test_channels_stay_multiples_of_8(width) -> None:
    net, _ = build(width=width, size=32, embedding=24)
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert all(conv.out_channels % 8 == 0 for conv in convolutions)


@pytest.mark.parametrize("size", [32, (40, 24), (33, 47)])
def test_the_global_convolution_spans_the_whole_last_map(size) -> None:
    net, card = build(width=0.25, size=size, embedding=8)
    assert net(torch.zeros(card.inputs[0].concrete())).shape == (1, 8)
    assert net.body(torch.zeros(card.inputs[0].concrete())).shape[2:] == (1, 1)


def test_without_classes_the_net_gives_the_embedding() -> None:
    net, _ = build(width=0.25, size=32, embedding=8)
    x = torch.randn(1, 3, 32, 32)
    assert net.head is None and torch.equal(net(x), net.embed(x))


def test_the_seed_fixes_the_weights() -> None:
    first, second, third = (build(width=0.25, size=32, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first.body.stem.conv.weight, second.body.stem.conv.weight)
    assert not torch.equal(first.body.stem.conv.weight, third.body.stem.conv.weight)


def test_own_weights_come_back(tmp_path) -> None:
    net, _ = build(width=0.25, size=32, classes=3, seed=1)
    save_weights(tmp_path / "w.safetensors", net)
    again, card = build(width=0.25, size=32, classes=3, seed=2, weights=str(tmp_path / "w.safetensors"))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(net(x), again(x)) and card.notes == ()


def test_weights_of_another_net_are_refused(tmp_path) -> None:
    save_weights(tmp_path / "w.safetensors", build(width=0.25, size=32, classes=3)[0])
    with pytest.raises(UsageError, match=r"head\.weight"):
        build(width=0.25, size=32, weights=str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("options", [{"layout": "mine"}, {"width": 0.0}, {"size": (1, 2, 3)}, {"act": "gelu"}])
def test_wrong_options_are_usage_errors(options) -> None:
    with pytest.raises(UsageError):
        build(**options)
