"""Planted mistakes of the input are named, on exact and on noisy artefacts; what is not at fault is not accused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.errors import UsageError
from edgesmith.tensors import Arrays, Preprocessing
from edgesmith.verify.preprocessing import find_input_fault, find_tensor_fault

CARD = Preprocessing((12, 12), (0.45, 0.40, 0.35), (0.25, 0.30, 0.35))
IMAGENET = Preprocessing((12, 12), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Change = Callable[[np.ndarray], np.ndarray]


def pictures(count: int = 16, seed: int = 0) -> np.ndarray:
    """Coloured gradients with grain: rows, columns and colours all differ."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, 12)
    rows, columns = ramp[None, :, None, None], ramp[None, None, :, None]
    tint, slopes = rng.uniform(0, 0.5, (count, 1, 1, 3)), rng.uniform(-0.4, 0.6, (2, count, 1, 1, 3))
    smooth = tint + slopes[0] * rows + slopes[1] * columns + 0.15 * rng.standard_normal((count, 12, 12, 3))
    return (255 * smooth.clip(0, 1)).astype(np.uint8)


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3, stride=2), nn.PReLU(), nn.Conv2d(16, 24, 3), nn.PReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(24 * 9, 10)).eval()


def artefact(change: Change = lambda x: x, noise: float = 0.0) -> Callable[[Arrays], Arrays]:
    """The net behind a change of its input; noise: of each output, as a share of its spread, as int8 has it."""
    module, spread = net(), 0.0
    with torch.no_grad():
        spread = float(module(torch.from_numpy(CARD.apply(pictures()))).std(0).mean())

    def run(feed: Arrays) -> Arrays:
        taken = np.ascontiguousarray(change(feed["x"]), np.float32)
        if taken.shape[1:] != (3, 12, 12):
            raise UsageError("run it", f"{taken.shape}", "feed NCHW")
        with torch.no_grad():
            exact = module(torch.from_numpy(taken)).numpy()
        rng = np.random.default_rng(int(1e6 * abs(taken).mean()))  # the same for the same input
        return {"y": exact + noise * spread * rng.standard_normal(exact.shape)}

    return run


ORIGINAL = artefact()({"x": CARD.apply(pictures())})


def per_channel(values: tuple[float, ...]) -> np.ndarray:
    return np.reshape(values, (1, -1, 1, 1))


def share(x: np.ndarray) -> np.ndarray:
    """Back from the card's normalisation to 0..1."""
    return x * per_channel(CARD.std) + per_channel(CARD.mean)


def card(u: np.ndarray) -> np.ndarray:
    return (u - per_channel(CARD.mean)) / per_channel(CARD.std)


def imagenet(u: np.ndarray) -> np.ndarray:
    return (u - per_channel(IMAGENET.mean)) / per_channel(IMAGENET.std)


def from_imagenet(x: np.ndarray) -> np.ndarray:
    return x * per_channel(IMAGENET.std) + per_channel(IMAGENET.mean)


# What the artefact does to its input, the kind of the mistake, and a word of what it is called.
PLANTED: dict[str, tuple[Change, str, str]] = {
    "bgr": (lambda x: x[:, ::-1], "colour", "blue, green, red"),
    "wants 0..1": (lambda x: card(x), "normalisation", "values 0..1"),
    "wants 0..255": (lambda x: card(x / 255), "normalisation", "values 0..255"),
    "wants ImageNet's": (lambda x: card(from_imagenet(x)), "normalisation", "ImageNet's mean and std"),
    "wants -1..1": (lambda x: card(x * 0.5 + 0.5), "normalisation", "mean 0.5 and std 0.5"),
    "normalises again": (lambda x: imagenet(x), "normalisation", "of its own undone (ImageNet"),
    "fed by ImageNet's": (lambda x: imagenet(share(x)), "normalisation", "ImageNet's mean and std undone"),
    "fed 0..255": (lambda x: 255 * share(x), "normalisation", "values 0..255 undone"),
    "both": (lambda x: card(from_imagenet(x[:, ::-1])), "colour and normalisation", "blue, green, red, ImageNet's"),
    "NHWC read as NCHW": (lambda x: x.transpose(0, 2, 3, 1).reshape(x.shape), "layout", "memory taken for NHWC"),
    "NCHW read as NHWC": (lambda x: x.reshape(-1, 12, 12, 3).transpose(0, 3, 1, 2), "layout", "laid out as NHWC"),
    "takes NHWC": (lambda x: x.transpose(0, 3, 1, 2), "layout", "an input of shape NHWC"),
    "transposed": (lambda x: x.swapaxes(2, 3), "layout", "rows and columns exchanged"),
}


@pytest.mark.parametrize("noise", [0.0, 0.15], ids=["exact", "as int8"])
@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_is_named(planted: tuple[Change, str, str], noise: float) -> None:
    change, kind, words = planted
    found = find_input_fault(artefact(change, noise), ORIGINAL, pictures(), CARD, "x")
    assert found is not None and found.kind == kind and words in found.expects
    assert found.after > 0.95 and not found.before > found.after and found.gain_db > 6
    assert kind in str(found) and f"{found.after:.4f}" in str(found)


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3, 0.05, 0.3, 1.0, 3.0])
def test_nothing_is_accused_where_the_input_is_right(noise: float) -> None:
    for seed in range(3):
        images = pictures(seed=seed)
        reference = artefact()({"x": CARD.apply(images)})
        assert find_input_fault(artefact(noise=noise), reference, images, CARD, "x") is None


@pytest.mark.parametrize("layer", [2, 5])
@pytest.mark.parametrize("fault", ["scale", "permuted"])
def test_a_fault_of_a_layer_is_not_blamed_on_the_input(layer: int, fault: str) -> None:
    broken = net()
    weight = broken[layer].weight
    with torch.no_grad():
        weight.copy_(weight * 4 if fault == "scale" else weight[torch.randperm(len(weight))])

        def run(feed: Arrays) -> Arrays:
            return {"y": broken(torch.from_numpy(feed["x"])).detach().numpy()}

        assert find_input_fault(run, ORIGINAL, pictures(), CARD, "x") is None


def test_outputs_that_are_permuted_or_not_finite_do_not_heal() -> None:
    def shuffled(feed: Arrays) -> Arrays:
        return {"y": artefact()(feed)["y"][:, ::-1]}

    def nothing(feed: Arrays) -> Arrays:
        return {"y": np.full((len(feed["x"]), 10), np.nan)}

    for run in (shuffled, nothing):
        assert find_input_fault(run, ORIGINAL, pictures(), CARD, "x") is None


def test_a_bgr_card_and_grey_pictures() -> None:
    bgr = Preprocessing((12, 12), CARD.mean, CARD.std, "bgr")
    reference = artefact()({"x": bgr.apply(pictures())})
    found = find_input_fault(artefact(lambda x: x[:, ::-1]), reference, pictures(), bgr, "x")
    assert found is not None and found.expects == "red, green, blue"
    grey = np.repeat(pictures()[..., :1], 3, 3)
    plain = Preprocessing((12, 12), (0.5,), (0.5,))
    reference = artefact()({"x": plain.apply(grey)})
    assert find_input_fault(artefact(lambda x: x[:, ::-1]), reference, grey, plain, "x") is None  # no difference


def test_tensors_of_an_unknown_make() -> None:
    x = CARD.apply(pictures())
    for change, kind, words in (PLANTED["bgr"], PLANTED["normalises again"], PLANTED["transposed"]):
        found = find_tensor_fault(artefact(change, 0.1), ORIGINAL, x, None, "x")
        assert found is not None and found.kind == kind
        assert words in found.expects or found.expects == "the colours in the other order"
    flat = x.reshape(len(x), -1)
    assert find_tensor_fault(lambda feed: {"y": -feed["x"]}, {"y": flat}, flat, None, "x") is None  # no pictures


def test_what_cannot_be_judged_is_refused() -> None:
    run, images = artefact(), pictures()
    with pytest.raises(UsageError, match="holds NaN"):
        find_input_fault(run, {"y": np.full((16, 10), np.nan)}, images, CARD, "x")
    with pytest.raises(UsageError, match="16 inputs"):
        find_input_fault(run, {"y": ORIGINAL["y"][:3]}, images, CARD, "x")
    with pytest.raises(UsageError, match="no outputs"):
        find_input_fault(run, {}, images, CARD, "x")
