import pytest
import safetensors.torch
import torch

from edgesmith.errors import UsageError
from edgesmith.models.count import count_macs, count_parameters
from edgesmith.models.mobilefacenet_wide import build
from tests.models_.quantized import int8_outputs

# InsightFace's two nets for 112 x 112; their names "0.45G" and "large" stand for the multiply-accumulates.
COUNTS = [
    ({}, 2_059_520, 437_520_896),
    ({"embedding": 256}, 1_927_936, 437_389_824),
    ({"variant": "mbf_large"}, 6_314_880, 1_816_482_816),
]


@pytest.mark.parametrize(("options", "parameters", "macs"), COUNTS)
def test_parameters_and_macs_are_the_published_ones(options, parameters, macs) -> None:
    with torch.device("meta"):
        net, card = build(**options)
        image = torch.zeros(card.inputs[0].concrete())
    assert count_parameters(net) == parameters and count_macs(net, image) == macs


def test_head_embedding_and_the_grouped_convolution() -> None:
    net, card = build(embedding=16, size=32, classes=3)
    x = torch.randn(2, 3, 32, 32)
    assert net.embed(x).shape == (2, 16) and torch.equal(net(x), net.head(net.embed(x)))
    assert net.body.grouped.conv.groups == 64 and net.body.grouped.conv.in_channels == 128
    assert card.outputs[0].shape == (1, 3)
    assert [net.body.down1.shortcut, net.body.blocks1[0].shortcut] == [False, True]


@pytest.mark.parametrize("variant", ["mbf", "mbf_large"])
def test_the_authors_checkpoint_loads_by_its_own_names(variant, tmp_path) -> None:
    net, _ = build(variant, embedding=8, size=32, seed=1)
    unit = {"conv": "layers.0", "bn": "layers.1", "act": "layers.2"}
    place = {"stem": "layers.0", "grouped": "layers.1", "expand": "conv_sep", "gdconv": "features.layers.0"}
    place |= {"embedding": "features.layers.2", "features": "features.layers.3"}
    block = {"expand": "layers.0", "depthwise": "layers.1", "project": "layers.2"}
    state = {}
    for key, value in net.state_dict().items():
        first, *rest = key.removeprefix("body.").split(".")
        if first.startswith("down"):
            words = [f"layers.{2 * int(first[4:])}", block[rest[0]], unit[rest[1]], *rest[2:]]
        elif first.startswith("blocks"):
            where = 2 * int(first[6:]) + 1
            words = [f"layers.{where}", f"layers.{rest[0]}", block[rest[1]], unit[rest[2]], *rest[3:]]
        else:
            words = [place[first], *[unit.get(word, word) for word in rest]]
        state[".".join(words)] = value.clone()
    assert {"layers.2.layers.1.layers.0.weight", "features.layers.3.running_var"} <= set(state)
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    again, card = build(variant, embedding=8, size=32, seed=2, weights=str(tmp_path / "w.safetensors"))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(net(x), again(x)) and card.notes == ()


def test_it_is_captured_quantized_exported_and_runs(tmp_path) -> None:
    expected, found = int8_outputs(*build(embedding=16, size=48), tmp_path)
    cosine = torch.nn.functional.cosine_similarity(expected, found)
    assert expected.shape == (4, 16) and cosine.min() > 0.95 and not torch.equal(expected, found)


def test_unknown_variants_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="mbf_large"):
        build("mbf_huge")
