"""Resizing by a grid of sample points along every axis.

The sampling modes say where along an axis of X elements the N points of the result lie (coremltools, resize_bilinear;
SamplingMode in NeuralNetwork.proto):

    STRICT_ALIGN_CORNERS  i (X - 1) / (N - 1)
    ALIGN_CORNERS         the same; for N = 1 the middle
    DEFAULT               i X / N
    OFFSET_CORNERS        (i + 1/2) max(1, X - 1) / N
    UNALIGN_CORNERS       (i + 1/2) X / N - 1/2

each held between 0 and X - 1. How Core ML rounds for the nearest neighbour is not written down. The values that
coremltools expects of it in its tests are met by rounding half up in `resize`, and down in `upsample_nearest_neighbor`,
which `resize_nearest_neighbor` is taken to share.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from edgesmith.runtimes.mil.limits import check_size
from edgesmith.runtimes.mil.registry import Ints, Tensor, op

_GRIDS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "STRICT_ALIGN_CORNERS": lambda i, x, n: i * ((x - 1) / max(1, n - 1)),
    "ALIGN_CORNERS": lambda i, x, n: i * ((x - 1) / (n - 1)) if n > 1 else i + (x - 1) / 2,
    "DEFAULT": lambda i, x, n: i * x / n,
    "OFFSET_CORNERS": lambda i, x, n: (i + 0.5) * max(1.0, x - 1) / n,
    "UNALIGN_CORNERS": lambda i, x, n: (i + 0.5) * x / n - 0.5,
}


def grid(extent: float, points: int, mode: str) -> Tensor:
    """Where the points of the result lie on an axis of `extent` elements. Raises: ValueError for an unknown mode."""
    if mode not in _GRIDS:
        raise ValueError(f"sampling mode {mode!r}: it is one of {', '.join(_GRIDS)}")
    check_size([points])
    return _GRIDS[mode](torch.arange(points, dtype=torch.float64), extent, points).clamp(0, extent - 1)


def linear(x: Tensor, axis: int, places: Tensor) -> Tensor:
    """x between its elements along an axis, at places from 0 to size - 1."""
    low = places.floor().long().clamp(0, x.shape[axis] - 1)
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    share = (places - low).to(x.dtype if x.is_floating_point() else torch.float32)
    share = share.reshape([-1] + [1] * (x.dim() - axis - 1))
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


def _resized(x: Tensor, sizes: dict[int, int], mode: str, nearest: bool = False) -> Tensor:
    check_size([sizes.get(axis, size) for axis, size in enumerate(x.shape)])
    for axis, size in sizes.items():
        places = grid(x.shape[axis], size, mode)
        x = x.index_select(axis, (places + 0.5).floor().long()) if nearest else linear(x, axis, places)
    return x


def _floored(x: Tensor, sizes: dict[int, int]) -> Tensor:
    """The nearest neighbour before the point, as repeating every element does for a whole factor."""
    check_size([sizes.get(axis, size) for axis, size in enumerate(x.shape)])
    for axis, size in sizes.items():
        x = x.index_select(axis, torch.arange(size) * x.shape[axis] // size)
    return x


def _last_two(x: Tensor, height: int, width: int) -> dict[int, int]:
    if x.dim() < 3:
        raise ValueError(f"an image of rank {x.dim()}; it has at least 3")
    return {x.dim() - 2: height, x.dim() - 1: width}


def _scaled(x: Tensor, height: float, width: float) -> dict[int, int]:
    """Sizes times factors, computed in float32 as the declared ones are."""
    factors = np.float32(height), np.float32(width)
    return _last_two(x, *(int(np.floor(factor * np.float32(size))) for factor, size in zip(factors, x.shape[-2:])))


@op("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """The two last axes to a size."""
    return _resized(x, _last_two(x, target_size_height, target_size_width), sampling_mode)


@op("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """The two last axes to a size."""
    return _floored(x, _last_two(x, target_size_height, target_size_width))


@op("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0) -> Tensor:
    """The two last axes by factors, which need not be whole."""
    return _floored(x, _scaled(x, scale_factor_height, scale_factor_width))


@op("upsample_bilinear")
def upsample_bilinear(
    x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0, align_corners: bool = True
) -> Tensor:
    """The two last axes by factors; the points follow from the sizes, not from the factors."""
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS"
    return _resized(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@op("upsample_bilinear", since="ios16")
def upsample_bilinear_ios16(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Corners that are not aligned lie at half pixels unless that is switched off. Raises: ValueError for both."""
    if align_corners and half_pixel_centers:
        raise ValueError("align_corners and half_pixel_centers exclude one another")
    if align_corners or half_pixel_centers is not False:
        return upsample_bilinear(x, scale_factor_height, scale_factor_width, align_corners)
    return _resized(x, _scaled(x, scale_factor_height, scale_factor_width), "DEFAULT")


@op("resize", since="ios17")
def resize(
    x: Tensor, shape: Ints, resized_dims: int, interpolation_mode: str = "LINEAR", sampling_mode: str = "DEFAULT"
) -> Tensor:
    """The last `resized_dims` axes to the last sizes of `shape`; 0 keeps a size. Raises: ValueError."""
    if not 0 <= resized_dims <= len(shape) <= x.dim():
        raise ValueError(f"{resized_dims} axes of the shape {shape} for rank {x.dim()}")
    if interpolation_mode not in ("LINEAR", "NEAREST_NEIGHBOR"):
        raise ValueError(f"interpolation mode {interpolation_mode!r}: it is LINEAR or NEAREST_NEIGHBOR")
    first = x.dim() - resized_dims
    sizes = {first + i: size for i, size in enumerate(shape[len(shape) - resized_dims :]) if size != 0}
    return _resized(x, sizes, sampling_mode, nearest=interpolation_mode == "NEAREST_NEIGHBOR")
