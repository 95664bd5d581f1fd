"""From image files to uint8 RGB arrays."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from edgesmith.errors import DamagedArtifact, UsageError
from edgesmith.tensors import Preprocessing

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# What Pillow is known to raise on broken or hostile files.
BROKEN = (OSError, SyntaxError, ValueError, TypeError, struct.error, EOFError, Image.DecompressionBombError)


def decode(source: Path | bytes, name: str = "") -> np.ndarray:
    """Read one picture upright (EXIF). Shape: uint8 RGB (H, W, 3). Raises: DamagedArtifact naming it."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except BROKEN as error:
        shown = name or ("bytes" if isinstance(source, bytes) else str(source))
        raise DamagedArtifact(f"read image {shown}", f"{error}", "replace or remove it") from error


def squish(image: np.ndarray, size: tuple[int, int], bicubic: bool = False) -> np.ndarray:
    """Resize to (height, width), whatever the aspect ratio; smaller sizes are antialiased. Shape: (H, W[, 3])."""
    if image.shape[:2] == tuple(size):
        return image
    method = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), method))


def need_preprocessing(preprocessing: Preprocessing | None, name: str) -> Preprocessing:
    """The preprocessing, or UsageError: a guess would silently cost accuracy."""
    if preprocessing is None:
        todo = "give --preprocess FILE, or --size --mean --std --color"
        raise UsageError(f"load {name}", "nothing says how its pictures become the model's input", todo)
    return preprocessing
