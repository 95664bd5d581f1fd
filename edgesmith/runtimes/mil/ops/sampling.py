"""Images sampled at coordinates: affine maps, resampling, boxes cut out and resized."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgesmith.runtimes.mil.limits import check_size
from edgesmith.runtimes.mil.ops.gathering import checked
from edgesmith.runtimes.mil.ops.resizing import grid, linear
from edgesmith.runtimes.mil.registry import Tensor, op

# How far the image goes on beyond its borders: index along an axis of `size` -> index inside.
_BORDERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "constant": lambda i, size: i.clamp(0, size - 1),
    "border": lambda i, size: i.clamp(0, size - 1),
    "reflection": lambda i, size: (i + size - 1).remainder(max(1, 2 * size - 2)).sub(size - 1).abs(),
    "symmetric": lambda i, size: torch.minimum(i % (2 * size), 2 * size - 1 - i % (2 * size)),
}


def _sampled(x: Tensor, column: Tensor, row: Tensor, border: str, value: float, nearest: bool) -> Tensor:
    """x (B, C, H, W) at places (B, h, w) in pixels, between the four pixels around or at the nearest one."""
    if nearest:
        return _pixels(x, (column + 0.5).floor().long(), (row + 0.5).floor().long(), border, value)
    left, top = column.floor(), row.floor()
    result = torch.zeros(())
    for dx in (0, 1):
        for dy in (0, 1):
            share = (1 - (column - left - dx).abs()) * (1 - (row - top - dy).abs())
            pixels = _pixels(x, left.long() + dx, top.long() + dy, border, value)
            result = result + share.to(x.dtype)[:, None] * pixels
    return result


def _pixels(x: Tensor, column: Tensor, row: Tensor, border: str, value: float) -> Tensor:
    height, width = x.shape[-2:]
    inside_row, inside_column = _BORDERS[border](row, height), _BORDERS[border](column, width)
    batch = torch.arange(len(x))[:, None, None]
    pixels = x.movedim(1, -1)[batch, inside_row, inside_column].movedim(-1, 1)
    if border != "constant":
        return pixels
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    return torch.where(outside[:, None], value, pixels)


def _in_pixels(places: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    """Coordinates of an axis as pixels: -1 or 0 and 1 are the centres, or the edges, of the outermost pixels."""
    if mode == "unnormalized":
        return places
    if mode not in ("normalized_minus_one_to_one", "normalized_zero_to_one"):
        raise ValueError(f"coordinates mode {mode!r} is unknown")
    unit = (places + 1) / 2 if mode == "normalized_minus_one_to_one" else places
    return unit * (size - 1) if align_corners else unit * size - 0.5


def _check_sampling(sampling: str, border: str) -> None:
    if sampling not in ("bilinear", "nearest") or border not in _BORDERS:
        raise ValueError(f"sampling mode {sampling!r} with padding mode {border!r}")


@op("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """x (B, C, H, W) at coordinates (B, h, w, 2), first the column, then the row."""
    sampling, border = sampling_mode.lower(), padding_mode.lower()
    _check_sampling(sampling, border)
    check_size([*x.shape[:2], *coordinates.shape[1:3]])
    column, row = coordinates.double().unbind(-1)
    mode = coordinates_mode.lower()
    column = _in_pixels(column, x.shape[-1], mode, align_corners)
    row = _in_pixels(row, x.shape[-2], mode, align_corners)
    return _sampled(x, column, row, border, padding_value, sampling == "nearest")


@op("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """Every pixel of the result is taken from where [a0 a1 a2 b0 b1 b2] maps its coordinates to."""
    sampling, border, mode = sampling_mode.lower(), padding_mode.lower(), coordinates_mode.lower()
    _check_sampling(sampling, border)
    check_size([*x.shape[:2], output_height, output_width])
    column = _coordinates(output_width, mode, align_corners)[None, None]
    row = _coordinates(output_height, mode, align_corners)[None, :, None]
    a0, a1, a2, b0, b1, b2 = transform_matrix.double().expand(len(x), 6)[..., None, None].unbind(1)
    from_column = _in_pixels(a0 * column + a1 * row + a2, x.shape[-1], mode, align_corners)
    from_row = _in_pixels(b0 * column + b1 * row + b2, x.shape[-2], mode, align_corners)
    return _sampled(x, from_column, from_row, border, padding_value, sampling == "nearest")


def _coordinates(size: int, mode: str, align_corners: bool) -> Tensor:
    """The coordinates of the pixels of an axis: the inverse of _in_pixels."""
    pixels = torch.arange(size, dtype=torch.float64)
    if mode == "unnormalized":
        return pixels
    unit = pixels / max(1, size - 1) if align_corners else (pixels + 0.5) / size
    return 2 * unit - 1 if mode == "normalized_minus_one_to_one" else unit


_CORNERS = {
    "CORNERS_HEIGHT_FIRST": (0, 1, 2, 3),
    "CORNERS_WIDTH_FIRST": (1, 0, 3, 2),
    "CENTER_SIZE_HEIGHT_FIRST": (0, 1, 2, 3),
    "CENTER_SIZE_WIDTH_FIRST": (1, 0, 3, 2),
}


def _crops(
    x: Tensor, boxes: Tensor, images: list[int], size: tuple[int, int], how: tuple[bool, float, str, str, float]
) -> Tensor:
    """One crop (C, h, w) a box from its image; how: normalized, scale, box mode, sampling mode, value outside."""
    normalized, scale, box_mode, mode, outside = how
    if box_mode not in _CORNERS:
        raise ValueError(f"box coordinate mode {box_mode!r}: it is one of {', '.join(_CORNERS)}")
    check_size([len(boxes), x.shape[1], *size])
    made = []
    for numbers, image in zip(boxes.double()[:, list(_CORNERS[box_mode])] * scale, images):
        first, last = numbers[:2], numbers[2:]
        if box_mode.startswith("CENTER"):
            first, last = first - last / 2, first + last / 2
        crop, inside = x[image], torch.ones(size, dtype=torch.bool)
        for axis, (start, end, points) in enumerate(zip(first.tolist(), last.tolist(), size)):
            span = x.shape[2 + axis] - 1
            places = _between(*((start * span, end * span) if normalized else (start, end)), points, mode)
            crop = linear(crop, 1 + axis, places.clamp(0, span))
            inside &= ((places >= 0) & (places <= span)).reshape((-1, 1) if axis == 0 else (1, -1))
        made.append(torch.where(inside, crop, outside))
    return torch.stack(made) if made else x.new_zeros((0, x.shape[1], *size))


def _between(start: float, end: float, points: int, mode: str) -> Tensor:
    """The points of a sampling mode on [start, end]; a box may run backwards."""
    along = grid(abs(end - start) + 1, points, mode)
    return start + along if end >= start else start - along


@op("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Boxes (N, 1, 4, 1, 1) from every image, or (N, 1, 5, 1, 1) from the image that the first number names."""
    how = (normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode)
    return crop_resize_ios16(x, roi, target_height, target_width, *how)


@op("crop_resize", since="ios16")
def crop_resize_ios16(
    x: Tensor,
    roi: Tensor,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """What lies outside the image has the value pad_value."""
    how = (normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode, pad_value)
    rows, size = roi[:, 0, :, 0, 0], (target_height, target_width)
    if rows.shape[1] == 5:
        images = checked(rows[:, 0], len(x), validate=True).tolist()
        return _crops(x, rows[:, 1:], images, size, how)[:, None]
    return torch.stack([_crops(x, rows, [image] * len(rows), size, how) for image in range(len(x))], 1)


@op("crop_resize", since="ios17")
def crop_resize_ios17(
    x: Tensor,
    boxes: Tensor,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Boxes (N, 4), each from the image that box_indices names, or else the one of its own number."""
    places = torch.arange(len(boxes)) if box_indices is None else box_indices
    images = checked(places, len(x), validate=True).tolist()
    how = (normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode, pad_value)
    return _crops(x, boxes, images, (target_height, target_width), how)
