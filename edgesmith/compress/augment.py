"""Seeded augmentation of uint8 pictures: mirrors, shifts, RandAugment (kornia's) and Cutout."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

from edgesmith.plugins import missing_package

# Parts joined by "+", always in the order in which they are applied.
Augment = Literal[
    "none",
    "flip", "shift", "randaugment", "cutout",
    "flip+shift", "flip+randaugment", "flip+cutout", "shift+randaugment", "shift+cutout", "randaugment+cutout",
    "flip+shift+randaugment", "flip+shift+cutout", "flip+randaugment+cutout", "shift+randaugment+cutout",
    "flip+shift+randaugment+cutout",
]  # fmt: skip
AUGMENTS: tuple[str, ...] = get_args(Augment)
LARGEST_SHIFT = 2 / 16
OPERATIONS, MAGNITUDE = 2, 9  # of RandAugment: N and M of 30, as for ResNet-50 in the paper
GROUP = 8  # pictures that share RandAugment's choice of operations: each choice costs a call
CUTOUT = 0.5  # side of the cut out rectangle, as a share of the picture's


def mirrors(count: int, augment: Augment, generator: torch.Generator) -> Tensor:
    """Which of so many samples are flipped: half of them where the augmentation says so. Shape: bool (count,)."""
    if "flip" not in augment:
        return torch.zeros(count, dtype=torch.bool)
    return torch.rand((count, 1), generator=generator).squeeze(1) < 0.5


def augmented(images: Tensor, augment: Augment, mirrored: Tensor, generator: torch.Generator) -> Tensor:
    """Flip the pictures that are to be `mirrored`, move them, change them by RandAugment, cut a part out, as asked.

    Everything random comes from `generator`. Shape: uint8 (N, H, W, C), kept. Raises: MissingPackage (kornia).
    """
    parts = augment.split("+")
    if "flip" in parts or "shift" in parts:
        images = _moved(images, "shift" in parts, mirrored, generator)
    if "randaugment" in parts:
        images = randaugment(images, generator)
    return cutout(images, generator) if "cutout" in parts else images


def _moved(images: Tensor, shift: bool, mirrored: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrored where told, and shifted by up to 2/16 of each side; a shift repeats the border."""
    count, height, width, _ = images.shape
    rows, columns = torch.arange(height).expand(count, -1), torch.arange(width).expand(count, -1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    if shift:
        rows = (rows + _offsets(count, height, generator)).clamp(0, height - 1)
        # Moved after mirroring: the index of a column, not the column, is what is shifted.
        moved = (torch.arange(width) + _offsets(count, width, generator)).clamp(0, width - 1)
        columns = columns.gather(1, moved)
    return images[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _offsets(count: int, side: int, generator: torch.Generator) -> Tensor:
    most = int(side * LARGEST_SHIFT)
    return torch.randint(-most, most + 1, (count, 1), generator=generator)


def cutout(images: Tensor, generator: torch.Generator) -> Tensor:
    """A rectangle of half of each side, anywhere and perhaps partly outside, in one random colour a picture.

    Shape: uint8 (N, H, W, C), kept. Source: DeVries and Taylor 2017, arXiv 1708.04552; differs from the paper: the
    colour is random, as the ASL recipe has it (arXiv 2009.14119).
    """
    count, height, width, channels = images.shape
    inside_rows = _band(count, height, generator)
    inside_columns = _band(count, width, generator)
    colour = torch.randint(0, 256, (count, 1, 1, channels), generator=generator).to(torch.uint8)
    return torch.where((inside_rows[:, :, None] & inside_columns[:, None, :])[..., None], colour, images)


def _band(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Which rows (or columns) the rectangle covers: its middle is drawn evenly from all of them."""
    half = max(1, round(side * CUTOUT / 2))
    middle = torch.randint(0, side, (count, 1), generator=generator)
    place = torch.arange(side)
    return (place >= middle - half) & (place < middle + half)


def randaugment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Two random operations of kornia's default policy at magnitude 9 of 30, chosen anew for every 8 pictures.

    Shape: uint8 (N, H, W, 3), kept. Source: Cubuk et al. 2019, arXiv 1909.13719. Raises: MissingPackage.
    """
    policy = _policy()
    seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    scaled = images.permute(0, 3, 1, 2).float() / 255
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # kornia draws from torch's own generator
        torch.manual_seed(seed)
        changed = torch.cat([policy(group) for group in scaled.split(GROUP)])
    return (changed.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


@cache
def _policy() -> Callable[[Tensor], Tensor]:
    try:
        from kornia.augmentation.auto import RandAugment
    except ModuleNotFoundError as error:
        raise missing_package(error, 'augment "randaugment"') from error
    return RandAugment(OPERATIONS, MAGNITUDE)
