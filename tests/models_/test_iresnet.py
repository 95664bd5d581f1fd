import pytest
import safetensors.torch
import torch

from edgesmith.errors import UsageError
from edgesmith.models.count import count_macs, count_parameters
from edgesmith.models.iresnet import build
from edgesmith.models.weights import save_weights
from tests.models_.quantized import int8_outputs

# The four published nets: parameters and multiply-accumulates for 112 x 112.
COUNTS = [
    (18, 24_025_600, 2_609_954_816),
    (34, 34_139_328, 4_459_642_880),
    (50, 43_590_848, 6_309_330_944),
    (100, 65_156_160, 12_089_606_144),
]


@pytest.mark.parametrize(("depth", "parameters", "macs"), COUNTS)
def test_parameters_and_macs_are_the_published_ones(depth, parameters, macs) -> None:
    with torch.device("meta"):  # shapes alone: no 65 million random numbers
        net, card = build(depth)
        image = torch.zeros(card.inputs[0].concrete())
    assert count_parameters(net) == parameters
    assert count_macs(net, image) == macs


def test_the_embedding_has_a_scale_that_is_not_trained() -> None:
    net, card = build(18, embedding=16, width=0.125, size=32, classes=3)
    x = torch.randn(2, 3, 32, 32)
    assert net.embed(x).shape == (2, 16) and torch.equal(net(x), net.head(net.embed(x)))
    norm = net.body.features
    assert torch.equal(norm.weight, torch.ones(16)) and not norm.weight.requires_grad and norm.bias.requires_grad
    assert card.outputs[0].shape == (1, 3) and card.preprocessing.mean == (0.5, 0.5, 0.5)


def test_a_block_normalises_first_and_adds_without_an_activation() -> None:
    block = build(18, width=0.125, size=32)[0].body.stage1[1]
    torch.nn.init.zeros_(block.second.conv.weight)
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(block(x), x)  # negative values survive, and the shortcut passes the norm by


@pytest.mark.parametrize("size", [32, (33, 47)])
def test_any_size_has_its_linear_layer(size) -> None:
    net, card = build(18, embedding=8, width=0.125, size=size)
    assert net(torch.zeros(card.inputs[0].concrete())).shape == (1, 8)


def theirs(key: str) -> str:
    """Our key in InsightFace's words, by hand for the parts that the test looks at."""
    key = key.removeprefix("body.")
    for ours, name in (
        ("stem.conv", "conv1"), ("stem.bn", "bn1"), ("stem.act", "prelu"), ("stage", "layer"), (".bn.", ".bn1."),
        (".first.conv", ".conv1"), (".first.bn1.", ".bn2."), (".first.act", ".prelu"), (".second.conv", ".conv2"),
        (".second.bn1.", ".bn3."), (".shortcut.conv", ".downsample.0"), (".shortcut.bn1.", ".downsample.1."),
    ):  # fmt: skip
        key = key.replace(ours, name)
    return "bn2." + key[3:] if key.startswith("bn.") else key.replace("embedding.", "fc.")


def test_the_authors_checkpoint_loads_by_its_own_names(tmp_path) -> None:
    net, _ = build(18, embedding=8, width=0.125, size=32, seed=1)
    state = {theirs(key): value for key, value in net.state_dict().items()}
    assert {"layer1.0.downsample.1.running_var", "bn2.weight", "fc.bias", "layer4.1.bn3.bias", "prelu.weight"} <= set(
        state
    )
    safetensors.torch.save_file({key: value.clone() for key, value in state.items()}, tmp_path / "w.safetensors")
    options = {"embedding": 8, "width": 0.125, "size": 32, "weights": str(tmp_path / "w.safetensors")}
    again, card = build(18, seed=2, **options)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(net(x), again(x)) and card.notes == ()
    headed, card = build(18, classes=3, **options)
    assert torch.equal(net(x), headed.embed(x)) and "head is random" in card.notes[0]


def test_own_weights_come_back(tmp_path) -> None:
    net, _ = build(18, embedding=8, width=0.125, size=32, classes=2, seed=1)
    save_weights(tmp_path / "w.safetensors", net)
    path = str(tmp_path / "w.safetensors")
    again, _ = build(18, embedding=8, width=0.125, size=32, classes=2, seed=2, weights=path)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(net(x), again(x))


def test_it_is_captured_quantized_exported_and_runs(tmp_path) -> None:
    net, card = build(18, embedding=16, width=0.125, size=32)
    expected, found = int8_outputs(net, card, tmp_path)
    cosine = torch.nn.functional.cosine_similarity(expected, found)
    assert expected.shape == (4, 16) and cosine.min() > 0.95 and not torch.equal(expected, found)


@pytest.mark.parametrize("options", [{"depth": 42}, {"width": 0.0}, {"dropout": 1.0}, {"act": "gelu"}])
def test_wrong_options_are_usage_errors(options) -> None:
    with pytest.raises(UsageError):
        build(**options)
