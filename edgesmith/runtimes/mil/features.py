"""What a package says of its inputs and outputs, and the way from what a caller gives to a tensor and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgesmith.errors import UsageError
from edgesmith.runtimes.mil import limits
from edgesmith.runtimes.mil.types import CARRIER, NUMPY, TensorType

# Kind of number that the program takes -> the kinds that may be given for it.
_GOES_INTO = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}
# Numbers of ImageFeatureType.ColorSpace in FeatureTypes.proto.
_COLOURS = {10: "gray", 20: "rgb", 30: "bgr", 40: "gray"}


@dataclass(frozen=True)
class Feature:
    """One input or output. kind: tensor, image, or what Core ML calls it. color: rgb, bgr or gray, of an image.

    shape: as described, () where nothing is said. enumerated: the shapes that are allowed, where only some are.
    ranges: the smallest and largest size an axis (None: no limit), where they are said. default: what stands for it
    when it is not given.
    """

    name: str
    kind: str
    color: str = ""
    shape: tuple[int, ...] = ()
    enumerated: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    default: float | None = None


def features_of(described: Iterable[Any]) -> dict[str, Feature]:
    """By name, from FeatureDescription messages."""
    return {one.name: _feature(one.name, one.type) for one in described}


def _feature(name: str, kind: Any) -> Feature:
    which = kind.WhichOneof("Type")
    if which == "imageType":
        image = kind.imageType
        return Feature(name, "image", _COLOURS.get(image.colorSpace, "rgb"), (image.height, image.width))
    if which != "multiArrayType":
        return Feature(name, (which or "unknown").removesuffix("Type"))
    array = kind.multiArrayType
    enumerated = tuple(tuple(one.shape) for one in array.enumeratedShapes.shapes)
    ranges = tuple((r.lowerBound, None if r.upperBound < 0 else r.upperBound) for r in array.shapeRange.sizeRanges)
    default = array.WhichOneof("defaultOptionalValue") if kind.isOptional else None
    value = float(getattr(array, default)) if default else (0.0 if kind.isOptional else None)
    return Feature(name, "tensor", "", tuple(array.shape), enumerated, ranges, value)


def fill_in(features: Mapping[str, Feature], feed: Mapping[str, Any]) -> dict[str, Any]:
    """The feed, and the default of every optional input that is not in it."""
    given = dict(feed)
    for name, feature in features.items():
        if name not in given and feature.default is not None:
            limits.check_size(feature.shape)
            given[name] = np.full(feature.shape, feature.default, np.float32)
    return given


def tensor_of(feature: Feature, kind: TensorType, value: Any) -> torch.Tensor:
    """What a caller gave, as the program takes it. Raises: UsageError."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise _wrong(feature, kind, f"{array.dtype}", "give numbers")
    if feature.kind == "image":
        array = _planes(feature, kind, array)
    if not kind.accepts(array.shape) or not _allowed(feature, array.shape):
        raise _wrong(feature, kind, f"{array.dtype} {array.shape}", "reshape it")
    wanted = np.dtype(NUMPY[kind.dtype])
    if array.dtype.kind not in _GOES_INTO[wanted.kind]:
        raise _wrong(feature, kind, f"{array.dtype}", "convert it")
    if wanted.kind in "iu" and array.size:
        bounds = np.iinfo(wanted)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise _wrong(feature, kind, f"values {array.min()} .. {array.max()}", f"they must fit {wanted}")
    carried = {torch.float32: np.float32, torch.int32: np.int32, torch.int64: np.int64}.get(CARRIER[kind.dtype], wanted)
    return torch.from_numpy(np.array(array, dtype=carried, order="C")).reshape(array.shape)


def _wrong(feature: Feature, kind: TensorType, found: str, todo: str) -> UsageError:
    wanted = f"{feature.kind} {feature.color}".strip() if feature.kind == "image" else kind.dtype
    shapes = f"one of {list(feature.enumerated)}" if feature.enumerated else f"{kind.shape}"
    limited = f" with sizes in {list(feature.ranges)}" if feature.ranges else ""
    return UsageError(f"input {feature.name!r} {wanted} of shape {shapes}{limited}", found, todo)


def _allowed(feature: Feature, shape: tuple[int, ...]) -> bool:
    if feature.enumerated:
        return shape in feature.enumerated
    if feature.ranges:
        return len(shape) == len(feature.ranges) and all(
            low <= size and (high is None or size <= high) for size, (low, high) in zip(shape, feature.ranges)
        )
    return True


def _planes(feature: Feature, kind: TensorType, array: np.ndarray) -> np.ndarray:
    """A picture, uint8 RGB (H, W, 3) or grey (H, W), as the (1, C, H, W) of the program, 0 .. 255 in its colours.

    What is a tensor already stays as it is. Scale and bias are operations of the program.
    """
    if kind.accepts(array.shape):
        return array
    if feature.color == "gray" and array.ndim == 2:
        return array[None, None]
    if feature.color in ("rgb", "bgr") and array.ndim == 3 and array.shape[-1] == 3:
        ordered = array[..., ::-1] if feature.color == "bgr" else array
        return ordered.transpose(2, 0, 1)[None]
    raise _wrong(feature, kind, f"{array.dtype} {array.shape}", "give (H, W, 3) in RGB, or (H, W) for a grey one")


def image_of(feature: Feature, value: torch.Tensor) -> np.ndarray:
    """An output that is a picture: uint8 RGB (H, W, 3) or grey (H, W), rounded and clipped to 0 .. 255."""
    pixels = value.reshape(value.shape[-3:]).round().clamp(0, 255).to(torch.uint8).numpy()
    if feature.color == "gray":
        return np.array(pixels[0])
    return np.array((pixels[::-1] if feature.color == "bgr" else pixels).transpose(1, 2, 0))
