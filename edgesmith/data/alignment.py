"""Faces put onto ArcFace's template: a similarity transform of five points, and a bilinear warp.

Source: Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", eq. 38-43;
the template is that of Deng et al. 2019 (ArcFace).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

ALIGNED = (112, 112)
# Eye on the left of the picture, eye on its right, nose tip, corners of the mouth likewise; (x, y) in pixels.
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)], np.float64
)
ORDER = "eye on the picture's left, eye on its right, nose, mouth corner on the left, on the right"
# Points of the 68-point scheme that stand for each of the five.
FROM_68 = ((36, 39), (42, 45), (30,), (48,), (54,))


@dataclass(frozen=True)
class Landmarks:
    """A picture by name, its five points (5, 2) and the detector's score."""

    name: str
    points: np.ndarray
    score: float = 1.0


def five_points(points: np.ndarray) -> np.ndarray:
    """Five points from five or from the 68-point scheme: eyes are the middle of their corners.

    Shape: (5, 2) or (68, 2) -> float64 (5, 2). Raises: UsageError for any other shape or for NaN.
    """
    found = np.asarray(points, np.float64)
    if found.shape not in ((5, 2), (68, 2)) or not np.isfinite(found).all():
        shown = f"{found.shape}" if np.isfinite(found).all() else "NaN or infinity"
        raise UsageError("align by 5 or 68 points (x, y)", shown, "give one row a point")
    if len(found) == 5:
        return found
    return np.stack([found[list(rows)].mean(0) for rows in FROM_68])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, one scale and shift that bring `source` nearest to `target` in least squares; never a mirror.

    Shape: (N, 2) twice -> (2, 3), to be applied to (x, y, 1). Raises: UsageError when all source points are one.
    Source: Umeyama 1991, eq. 40-42.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    variance = ((source - source_mean) ** 2).sum(1).mean()
    if variance == 0:
        raise UsageError("a similarity transform", "all points are one", "give points that differ")
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    left, values, right = np.linalg.svd(covariance)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = (left * signs) @ right
    scale = (values * signs).sum() / variance
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def alignment(points: np.ndarray, refuse_mirrored: bool = True) -> np.ndarray:
    """The transform from a picture with these points to the 112 x 112 template. Shape: (5 or 68, 2) -> (2, 3).

    Points in mirrored order would silently ruin every embedding. A detector's points on an extreme profile may look
    so too: say refuse_mirrored=False where the order is known to be right.
    Raises: UsageError for mirrored points, or points that are all one.
    """
    five = five_points(points)
    if refuse_mirrored and looks_mirrored(five):
        raise UsageError("align a face", "its points are in mirrored order, or in one place", f"the order is: {ORDER}")
    return similarity(five, TEMPLATE)


def align(image: np.ndarray, points: np.ndarray, refuse_mirrored: bool = True) -> np.ndarray:
    """One face on the template; what lies outside the picture is black. Shape: uint8 (H, W, 3) -> (112, 112, 3)."""
    return warp(image, alignment(points, refuse_mirrored), ALIGNED)


def warp(image: np.ndarray, transform: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Apply a (2, 3) transform of (x, y), bilinear, black outside. Shape: uint8 (H, W, C) -> (*size, C).

    Pixel centres have whole coordinates. OpenCV's warpAffine is the same up to its rounding of positions to 1/32.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise UsageError("warp a uint8 picture (H, W, C)", f"{image.dtype} {image.shape}", "decode it first")
    x, y = _source_positions(np.asarray(transform, np.float64), size)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, down = (x - left)[..., None], (y - top)[..., None]
    upper = _pixels(image, left, top) * (1 - right) + _pixels(image, left + 1, top) * right
    lower = _pixels(image, left, top + 1) * (1 - right) + _pixels(image, left + 1, top + 1) * right
    return np.rint(upper * (1 - down) + lower * down).astype(np.uint8)


def _source_positions(transform: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    linear, shift = transform[:, :2], transform[:, 2]
    if abs(np.linalg.det(linear)) < 1e-12:
        raise UsageError("warp a picture", "a transform that cannot be inverted", "give points that differ")
    back = np.linalg.inv(linear)
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    x, y = back @ (np.stack([columns.ravel(), rows.ravel()]) - shift[:, None])
    return x.reshape(size), y.reshape(size)


def _pixels(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return image[y.clip(0, height - 1), x.clip(0, width - 1)] * inside[..., None].astype(np.float64)


def looks_mirrored(points: np.ndarray) -> bool:
    """Whether the mouth lies on the other side of the line of eyes than in the template. Shape: (5 or 68, 2)."""
    five = five_points(points)
    across = (five[1] - five[0]) + (five[4] - five[3])
    downwards = (five[3] + five[4]) / 2 - (five[0] + five[1]) / 2
    return bool(across[0] * downwards[1] - across[1] * downwards[0] <= 0)


def read_landmarks(path: Path, scored: bool = False) -> list[Landmarks]:
    """Read "name x1 y1 ... x5 y5 [score]" lines; `scored`: the score is not optional (name_5pts_score of IJB).

    Raises: MissingResource, DamagedArtifact naming the line.
    """
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError as error:
        raise MissingResource(f"read landmarks {path}", "no such file", "check the path") from error
    except UnicodeDecodeError as error:
        raise DamagedArtifact(f"read landmarks {path}", f"not text ({error})", "fetch it again") from error
    return [_landmarks(path, number, line.split(), scored) for number, line in enumerate(lines, 1) if line.strip()]


def _landmarks(path: Path, number: int, words: Sequence[str], scored: bool) -> Landmarks:
    try:
        values = [float(word) for word in words[1:]]
        if len(values) not in ((11,) if scored else (10, 11)) or not np.isfinite(values).all():
            raise ValueError(f"{len(values)} numbers")
    except ValueError as error:
        found = f"line {number} is not 'name x1 y1 ... x5 y5 {'score' if scored else '[score]'}': {error}"
        raise DamagedArtifact(f"read landmarks {path}", found, "fetch it again") from error
    return Landmarks(words[0], np.array(values[:10]).reshape(5, 2), values[10] if len(values) == 11 else 1.0)
