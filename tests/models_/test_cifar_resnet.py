import pytest
import safetensors.torch
import torch

from edgesmith.errors import UsageError
from edgesmith.models.cifar_resnet import build
from edgesmith.models.count import count_macs, count_parameters
from tests.models_.quantized import int8_outputs

# Parameters with 100 classes, as RepDistiller's own nets count; multiply-accumulates for 32 x 32.
COUNTS = [
    ("resnet8x4", 1_233_540, 177_071_104, 256),
    ("resnet32x4", 7_433_860, 1_083_040_768, 256),
    ("resnet20", 278_324, 40_818_944, 64),
    ("resnet32", 472_756, 69_130_496, 64),
    ("resnet56", 861_620, 125_753_600, 64),
    ("resnet110", 1_736_564, 253_155_584, 64),
]


@pytest.mark.parametrize(("variant", "parameters", "macs", "embedding"), COUNTS)
def test_parameters_macs_and_embedding_are_the_published_ones(variant, parameters, macs, embedding) -> None:
    with torch.device("meta"):
        net, card = build(variant)
        image = torch.zeros(card.inputs[0].concrete())
    assert count_parameters(net) == parameters and count_macs(net, image) == macs
    assert net.head.in_features == net.embedding == embedding and net.head.bias is not None


def test_head_embedding_and_map() -> None:
    net, card = build("resnet8", classes=10)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(x), net.head(net.embed(x))) and card.outputs[0].shape == (1, 10)
    assert net.body[:-1](x).shape == (2, 64, 8, 8)  # the stem and the first stage keep the size
    assert torch.allclose(net.embed(x), net.body[:-1](x).mean((2, 3)), atol=1e-6)


def test_only_a_stage_that_changes_the_shape_projects() -> None:
    plain, wide = build("resnet8")[0].body, build("resnet8x4")[0].body
    assert isinstance(plain.stage1[0].shortcut, torch.nn.Identity)
    assert wide.stage1[0].shortcut.conv.stride == (1, 1) and wide.stage2[0].shortcut.conv.stride == (2, 2)


@pytest.mark.parametrize("variant", ["resnet8", "resnet8x4"])
def test_the_authors_checkpoint_loads_by_its_own_names(variant, tmp_path) -> None:
    net, _ = build(variant, classes=3, seed=1)
    state = {}
    for key, value in net.state_dict().items():
        theirs = key.removeprefix("body.").replace("stage", "layer").replace("head.", "fc.")
        theirs = theirs.replace("stem.conv", "conv1").replace("stem.bn", "bn1")
        for ours, name in (
            ("first.conv", "conv1"),
            ("first.bn", "bn1"),
            ("second.conv", "conv2"),
            ("second.bn", "bn2"),
        ):
            theirs = theirs.replace(ours, name)
        state[theirs.replace("shortcut.conv", "downsample.0").replace("shortcut.bn", "downsample.1")] = value.clone()
    assert {"conv1.weight", "layer2.0.downsample.1.bias", "fc.bias"} <= set(state)
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    again, card = build(variant, classes=3, seed=2, weights=str(tmp_path / "w.safetensors"))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(net(x), again(x)) and card.notes == ()


def test_it_is_captured_quantized_exported_and_runs(tmp_path) -> None:
    expected, found = int8_outputs(*build("resnet8", classes=10, size=16), tmp_path)
    cosine = torch.nn.functional.cosine_similarity(expected, found)
    assert expected.shape == (4, 10) and cosine.min() > 0.95 and not torch.equal(expected, found)


@pytest.mark.parametrize("variant", ["resnet21", "resnet2", "resnet8x2", "wrn-16-2", ""])
def test_unknown_variants_are_usage_errors(variant) -> None:
    with pytest.raises(UsageError, match="cifar-resnet"):
        build(variant)
