"""The ways in which a model's input is commonly got wrong: colour order, mean and std, scale, layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgesmith.tensors import Preprocessing

Change = Callable[[np.ndarray], np.ndarray]
Kind = Literal["colour", "normalisation", "colour and normalisation", "layout", "resize"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Mean and std on the 0..1 scale; the channels are red, green, blue where they differ.
NORMALISATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "values 0..1": ((0.0,), (1.0,)),
    "values 0..255": ((0.0,), (1 / 255,)),
    "ImageNet's mean and std": IMAGENET,
    "mean 0.5 and std 0.5": ((0.5,), (0.5,)),
    "mean 127.5 and std 128 of 0..255": ((0.5,), (128 / 255,)),
    "mean 0.5 and std 1": ((0.5,), (1.0,)),
    "ImageNet's mean on 0..255, std 1": (IMAGENET[0], (1 / 255,)),
}


@dataclass(frozen=True)
class Variant:
    """Another input made of the original's. expects: what an artefact that it heals wants, in words."""

    kind: Kind
    expects: str
    of: Change


def single_variants(tensor: np.ndarray, preprocessing: Preprocessing | None) -> list[Variant]:
    """One mistake each; none for what is not a batch of pictures. Shape: (N, C, H, W) or (N, H, W, C)."""
    axis = channel_axis(tensor)
    if axis is None:
        return []
    return [
        *_colours(tensor, axis, preprocessing),
        *_normalisations(tensor, axis, preprocessing),
        *_layouts(tensor, axis),
    ]


def double_variants(tensor: np.ndarray, preprocessing: Preprocessing | None) -> list[Variant]:
    """A wrong colour order together with each wrong normalisation."""
    axis = channel_axis(tensor)
    if axis is None:
        return []
    found = []
    for colour in _colours(tensor, axis, preprocessing):
        for other in _normalisations(tensor, axis, preprocessing):
            both = f"{colour.expects}, {other.expects}"
            found.append(Variant("colour and normalisation", both, _after(colour.of, other.of)))
    return found


def channel_axis(tensor: np.ndarray) -> int | None:
    """Where the colours of a batch of pictures are, if it is one."""
    if tensor.ndim != 4:
        return None
    return next((axis for axis in (1, 3) if tensor.shape[axis] in (1, 3)), None)


def reshaped_variants(tensor: np.ndarray) -> list[Variant]:
    """For an artefact that refuses the original's shape: the same pictures with their colours at the other end."""
    axis = channel_axis(tensor)
    if axis is None:
        return []
    order, words = ((0, 2, 3, 1), "NHWC") if axis == 1 else ((0, 3, 1, 2), "NCHW")
    return [Variant("layout", f"an input of shape {words}", lambda x: x.transpose(order))]


def _after(last: Change, first: Change) -> Change:
    return lambda tensor: last(first(tensor))


def _colours(tensor: np.ndarray, axis: int, preprocessing: Preprocessing | None) -> list[Variant]:
    if tensor.shape[axis] != 3:
        return []
    words = "the colours in the other order"
    if preprocessing is not None:
        words = "red, green, blue" if preprocessing.color == "bgr" else "blue, green, red"
    return [Variant("colour", words, lambda x: np.flip(x, axis))]


def _normalisations(tensor: np.ndarray, axis: int, preprocessing: Preprocessing | None) -> Iterator[Variant]:
    """An artefact made for normalisation n; one that normalises by n itself; one in which n took our own's place."""
    if tensor.dtype.kind != "f":
        return
    own = (preprocessing.mean, preprocessing.std) if preprocessing is not None else ((0.0,), (1.0,))
    turned = preprocessing is not None and preprocessing.color == "bgr"
    mean, std = (_by_channel(values, axis, False) for values in own)
    named = [(name, *values, turned) for name, values in NORMALISATIONS.items()]
    for name, other_mean, other_std, reverse in (*named, ("the original's mean and std", *own, False)):
        if len(other_mean) in (1, tensor.shape[axis]):
            m, s = _by_channel(other_mean, axis, reverse), _by_channel(other_std, axis, reverse)
            yield _affine(name, std / s, (mean - m) / s)
            yield _affine(f"a normalisation of its own undone ({name})", s, m)
            yield _affine(f"{name} undone and the original's in their place", s / std, (m - mean) / std)
    yield _affine("numbers 255 times as large", np.array(255.0), np.array(0.0))
    yield _affine("numbers 255 times as small", np.array(1 / 255), np.array(0.0))


def _affine(expects: str, scale: np.ndarray, shift: np.ndarray) -> Variant:
    return Variant("normalisation", expects, lambda x: (x * scale + shift).astype(x.dtype))


def _by_channel(values: tuple[float, ...], axis: int, reverse: bool) -> np.ndarray:
    shape = [1, 1, 1, 1]
    shape[axis] = len(values)
    return np.asarray(values[::-1] if reverse else values, np.float64).reshape(shape)


def _layouts(tensor: np.ndarray, axis: int) -> Iterator[Variant]:
    """The same numbers in another order; the shape stays."""
    shape = tensor.shape[1:]
    there, back, words = ((0, 2, 3, 1), (0, 3, 1, 2), "NHWC") if axis == 1 else ((0, 3, 1, 2), (0, 2, 3, 1), "NCHW")
    other = tuple(shape[i - 1] for i in there[1:])
    yield Variant("layout", f"memory laid out as {words}", lambda x: x.transpose(there).reshape(x.shape))
    yield Variant("layout", f"memory taken for {words}", lambda x: x.reshape(len(x), *other).transpose(back))
    rows = 2 if axis == 1 else 1
    if shape[rows - 1] == shape[rows]:
        yield Variant("layout", "rows and columns exchanged", lambda x: x.swapaxes(rows, rows + 1))
    yield Variant("layout", "the picture upside down", lambda x: np.flip(x, rows))
