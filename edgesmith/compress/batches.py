"""Seeded mini-batches of a split: pictures stay uint8 in memory and are normalised batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgesmith.compress.augment import AUGMENTS, Augment, augmented, mirrors
from edgesmith.compress.task import Batch
from edgesmith.data.split import Split
from edgesmith.errors import UsageError
from edgesmith.multilabel_metrics import check_labels
from edgesmith.tensors import Preprocessing

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Batches:
    """All mini-batches of a split in an order, and with an augmentation, that (seed, epoch) fixes.

    rows: the only samples to take, where it is not the whole split. rank, world: of each batch only this process's
    share is given, the shares are equally large, and together they are the batch of one process.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor | None
    preprocessing: Preprocessing | None
    size: int
    seed: int
    augment: Augment
    channels_last: bool
    rows: Tensor | None = None
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return len(self.inputs[0] if self.rows is None else self.rows)

    def steps(self) -> int:
        """Batches in an epoch, the same on every rank.

        A last batch that would give a rank a single sample is left out, as batch norm cannot take it; of a smaller
        last one that the ranks cannot share equally, the odd samples are.
        """
        full, rest = divmod(len(self), self.size)
        return full + (1 if rest // self.world > 1 or not full else 0)

    def epoch(self, epoch: int, device: torch.device) -> Iterator[Batch]:
        """The batches of one epoch, on the device and ready for the model."""
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        order = torch.randperm(len(self), generator=generator)
        order = order if self.rows is None else self.rows[order]
        if self.rank:  # the order is that of every rank, the augmentation is its own
            generator.manual_seed((self.rank << 48) + (self.seed << 20) + epoch)
        for step in range(self.steps()):
            rows = self._share(order[step * self.size : (step + 1) * self.size])
            mirrored = mirrors(len(rows), self.augment, generator)
            inputs = tuple(self._augmented(array[rows], mirrored, generator, device) for array in self.inputs)
            yield self._batch(inputs, rows, mirrored, device)

    def _share(self, rows: Tensor) -> Tensor:
        size = len(rows) // self.world
        return rows[self.rank * size : (self.rank + 1) * size]

    def read(self, rows: Tensor, mirrored: bool, device: torch.device) -> Batch:
        """These samples without augmentation, or all of them flipped. Raises: UsageError to flip what is no picture."""
        if mirrored and self.preprocessing is None:
            raise UsageError("mirror the training data", "they are not pictures", 'say augment "none"')
        flipped = [array[rows].flip(2) if mirrored else array[rows] for array in self.inputs]
        inputs = tuple(self._prepared(array, device) for array in flipped)
        return self._batch(inputs, rows, torch.full((len(rows),), mirrored), device)

    def _batch(self, inputs: tuple[Tensor, ...], rows: Tensor, mirrored: Tensor, device: torch.device) -> Batch:
        labels = None if self.labels is None else self.labels[rows].long().to(device)
        return Batch(inputs, labels, rows.to(device), mirrored.to(device))

    def _augmented(self, values: Tensor, mirrored: Tensor, generator: torch.Generator, device: torch.device) -> Tensor:
        if self.preprocessing is None:
            return values.to(device)
        return self._prepared(augmented(values, self.augment, mirrored, generator), device)

    def _prepared(self, values: Tensor, device: torch.device) -> Tensor:
        if self.preprocessing is None:
            return values.to(device)
        images = normalised(values.to(device), self.preprocessing)
        return images if self.channels_last else images.contiguous()


def batches_of(
    split: Split, preprocessing: Preprocessing | None, size: int, seed: int, augment: Augment, channels_last: bool
) -> Batches:
    """Wrap a split's arrays without copying them. Raises: UsageError when they do not suit the preprocessing.

    Labels are class numbers (N,), or rows of 1, 0 and -1 (N, C).
    """
    if augment not in AUGMENTS:
        raise UsageError(f"augment {augment!r}", "no such name", f"choose one of: {', '.join(AUGMENTS)}")
    if preprocessing is None and augment != "none":
        raise UsageError(f"augment {augment!r}", "the training data are not pictures", 'say augment "none"')
    if not len(split):
        raise UsageError("train", "the training split is empty", "give data, or a smaller holdout")
    if preprocessing is not None:
        image = split.inputs.get("image")
        if len(split.inputs) != 1 or image is None or image.dtype != np.uint8 or image.shape[-1] != 3:
            found = {name: f"{array.dtype} {array.shape}" for name, array in split.inputs.items()}
            raise UsageError("train on pictures: uint8 'image' (N, H, W, 3)", f"{found}", "drop the preprocessing")
    inputs = tuple(torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in split.inputs.values())
    labels = None if split.labels is None else torch.from_numpy(_table(split.labels))
    return Batches(inputs, labels, preprocessing, size, seed, augment, channels_last)


def _table(labels: np.ndarray) -> np.ndarray:
    """Class numbers as int64; rows of -1, 0 and 1 stay a byte each, for there may be thousands of classes."""
    if labels.ndim == 1:
        return np.array(labels, np.int64)
    check_labels(labels)
    return np.array(labels, np.int8)


def normalised(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Preprocessing.apply in torch. Shape: uint8 RGB (N, H, W, 3) -> float32 (N, C, H, W), channels last in memory."""
    if preprocessing.color == "bgr":
        images = images.flip(-1)
    scaled = images.float() / 255.0
    if preprocessing.color == "gray":
        scaled = (scaled * scaled.new_tensor(LUMA)).sum(-1, keepdim=True)
    mean, std = scaled.new_tensor(preprocessing.mean), scaled.new_tensor(preprocessing.std)
    return ((scaled - mean) / std).permute(0, 3, 1, 2)
