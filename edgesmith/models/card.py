"""What a model takes and gives, and how pictures become its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesmith.errors import UsageError
from edgesmith.tensors import Preprocessing, TensorSpec


@dataclass(frozen=True)
class Card:
    """A model's interface; the batch axis of every spec is 1. `notes` are plain sentences for the user."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None
    labels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def image_card(
    name: str,
    preprocessing: Preprocessing,
    embedding: int,
    classes: int,
    labels: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Card:
    """The card of a net from one picture to logits, or to an embedding when it has no classes.

    Raises: UsageError when the number of labels is not the number of classes.
    """
    if labels and len(labels) != classes:
        raise UsageError(f"{name} with {len(labels)} labels", f"it has {classes} classes", "give one label a class")
    image = TensorSpec("image", (1, preprocessing.channels, *preprocessing.size))
    output = TensorSpec("logits", (1, classes)) if classes else TensorSpec("embedding", (1, embedding))
    return Card(name, (image,), (output,), preprocessing, tuple(labels), tuple(notes))


def image_size(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) from one number or two. Raises: UsageError for anything else."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(side, int) or side < 1 for side in pair):
        raise UsageError("an image size", f"{size!r}", "give one positive number, or height and width")
    return pair[0], pair[1]
