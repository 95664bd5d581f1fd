from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

import edgesmith
from edgesmith.errors import UsageError
from edgesmith.models.count import count_macs, count_parameters
from edgesmith.models.inplace_abn import EPS
from edgesmith.models.tresnet import BlurPool, SpaceToDepth, _keys, tresnet_l, tresnet_m
from edgesmith.models.weights import save_weights
from tests.models_.quantized import int8_outputs, settle

BLOCKS = (1, 2, 1, 2)
TINY = {"blocks": BLOCKS, "width": 0.125, "size": 64, "classes": 5}
# Without a head, multiply-accumulates for 224 x 224 (the blur filters are constants and not counted): timm's numbers.
COUNTS = [(tresnet_m, 29_340_032, 5_732_917_248, 2048), (tresnet_l, 53_556_256, 10_873_257_984, 2432)]


@pytest.mark.parametrize(("build", "parameters", "macs", "embedding"), COUNTS)
def test_parameters_and_macs_are_the_known_ones(build, parameters, macs, embedding) -> None:
    with torch.device("meta"):
        net, card = build(size=224)
        image = torch.zeros(card.inputs[0].concrete())
    assert (count_parameters(net), count_macs(net, image), net.embedding) == (parameters, macs, embedding)


def test_embedding_head_and_card() -> None:
    net, card = tresnet_m(**TINY, labels=list("abcde"))
    x = torch.rand(2, 3, 64, 64)
    assert net.embed(x).shape == (2, 256) and torch.equal(net(x), net.head(net.embed(x)))
    assert card.preprocessing.mean == (0.0,) * 3 and card.outputs[0].shape == (1, 5) and card.labels == tuple("abcde")
    assert tresnet_l(blocks=BLOCKS, width=0.125)[1].inputs[0].shape == (1, 3, 448, 448)


def test_space_to_depth_puts_every_four_pixels_side_by_side() -> None:
    x = torch.arange(2 * 3 * 8 * 12.0).reshape(2, 3, 8, 12)
    expected = F.pixel_unshuffle(x, 4).reshape(2, 3, 16, 2, 3).transpose(1, 2).reshape(2, 48, 2, 3)
    assert torch.equal(SpaceToDepth()(x), expected)


def test_the_blur_keeps_a_constant_and_halves_the_map() -> None:
    blur = BlurPool(4)
    assert torch.equal(blur(torch.full((1, 4, 6, 6), 2.0)), torch.full((1, 4, 3, 3), 2.0))
    spike = torch.zeros(1, 4, 6, 6)
    spike[:, :, 2, 2] = 16.0
    assert blur(spike)[0, 0].tolist() == [[0.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]
    assert "kernel" not in "".join(blur.state_dict())


@pytest.mark.needs("timm")
def test_the_same_weights_give_timms_outputs(tmp_path) -> None:
    from edgesmith.models.timm import import_timm

    import_timm()
    from timm.models.tresnet import TResNet

    theirs = TResNet(layers=list(BLOCKS), width_factor=0.125, num_classes=5)
    settle(theirs, (1, 3, 64, 64))
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    ours, card = tresnet_m(**TINY, weights=str(tmp_path / "timm.safetensors"))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    assert card.notes == ()


def inplace_checkpoint(path: Path, classes: int = 5) -> torch.nn.Module:
    """A file as the authors' training writes it, some scales negative; gives our net of the same function."""
    net, _ = tresnet_m(**{**TINY, "classes": classes}, seed=3)
    settle(net, (1, 3, 64, 64))
    back = {ours: theirs for theirs, ours in _keys(BLOCKS, timm=False).items()}
    state: dict[str, Tensor] = {}
    for index, (key, value) in enumerate(net.state_dict().items()):
        if key.endswith("num_batches_tracked"):
            continue
        scale = key.endswith(".weight") and key.replace("weight", "running_mean") in net.state_dict()
        state[back[key]] = ((value - EPS) * (-1) ** index if scale else value).contiguous()
    safetensors.torch.save_file(state, path)
    return net


def test_a_checkpoint_of_inplace_abn_gives_the_same_function(tmp_path) -> None:
    file = tmp_path / "miil.safetensors"
    net = inplace_checkpoint(file)
    stored = safetensors.torch.load_file(file)
    assert any((value < 0).all() for key, value in stored.items() if key.endswith("1.weight") and value.ndim == 1)
    named = ("body.conv1.0.weight", "body.layer2.0.conv1.0.1.running_var", "body.layer3.0.conv2.0.0.weight")
    assert {*named, "body.layer2.0.downsample.1.0.weight", "body.layer1.0.se.fc1.bias", "head.fc.weight"} <= set(stored)
    loaded, _ = tresnet_m(**TINY, weights=str(file))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), net(x), rtol=1e-4, atol=1e-5)


def test_our_own_file_another_head_and_a_stranger(tmp_path) -> None:
    net, _ = tresnet_m(**TINY, seed=1)
    save_weights(tmp_path / "own.safetensors", net)
    again, card = tresnet_m(**TINY, weights=str(tmp_path / "own.safetensors"))
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(net(x), again(x)) and card.notes == ()
    inplace_checkpoint(tmp_path / "miil.safetensors", classes=9)
    _, card = tresnet_m(**TINY, weights=str(tmp_path / "miil.safetensors"))
    assert card.notes == ("the checkpoint's head of 9 classes was left out", "the head is random")
    with pytest.raises(UsageError, match="missing"):
        tresnet_m(**{**TINY, "blocks": (2, 2, 2, 2)}, weights=str(tmp_path / "own.safetensors"))


@pytest.mark.parametrize("wrong", [{"size": 72}, {"width": 0.0}, {"blocks": (1, 1, 1)}, {"blocks": (1, 0, 1, 1)}])
def test_refusals(wrong) -> None:
    with pytest.raises(UsageError, match="tresnet_m"):
        tresnet_m(**{**TINY, **wrong})


@pytest.mark.needs("onnx", "onnxruntime", "torchao")
def test_its_int8_file_says_nearly_the_same(tmp_path) -> None:
    net, card = tresnet_m(blocks=(1, 1, 1, 1), width=0.125, size=64, classes=12)
    ours, theirs = int8_outputs(net, card, tmp_path)
    assert F.cosine_similarity(ours, theirs).min() > 0.98


@pytest.mark.slow
def test_every_target_of_this_machine_takes_it(tmp_path) -> None:
    net, _ = tresnet_m(blocks=(1, 1, 1, 1), width=0.125, size=64, classes=12)
    settle(net, (1, 3, 64, 64))
    x = torch.rand(24, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    built = ["coreml-fp16", "coreml-int8"]
    run = ["ort-fp32", "ort-int8", "openvino-fp32", "openvino-bf16", "openvino-int8"]
    bundle = edgesmith.convert(net, {"image": x[:1]}, [*run, *built], calibration=[(x,)], out=tmp_path)
    assert set(bundle.exported) >= {*run, *built} and not bundle.absent
    table = edgesmith.check(bundle, net, [(x,)], {"cosine": 0.98}, required=run, bench=False)
    assert table.judgement.state == "pass", str(table)
