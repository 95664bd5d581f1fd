"""Albums composed from any labelled pictures: an event is a theme, photos are drawn mostly from the theme's classes.

A photo is important when it belongs to the theme. Small, and free of anybody's photos: real ones are albums.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesmith.data import DATASETS
from edgesmith.data.album_rows import Albums, Sampling, album_data, check_album_options
from edgesmith.data.split import Data, Split
from edgesmith.errors import UsageError
from edgesmith.tensors import Preprocessing

# Pictures are only resized by these numbers: an album net normalises by itself.
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
Themes = Mapping[str, Sequence[str]]


def load(
    preprocessing: Preprocessing | None = None,
    source: Mapping[str, Any] | None = None,
    themes: Themes | None = None,
    albums: int = 600,
    evaluation: int = 300,
    photos: int = 8,
    smallest: int = 4,
    largest: int = 16,
    share: float = 0.5,
    size: int = 32,
    several: bool = False,
    sampling: Sampling = "uniform",
    calibration: int = 100,
    seed: int = 0,
) -> Data:
    """Compose albums of `smallest` to `largest` photos from `source`, another data set ({use: digits} if not said).

    themes: event -> its classes (consecutive pairs if not said). `share` of an album's photos, at least one, are of its
    theme, and every class of the theme is as likely; the others are of classes outside it. `several`: an album has one
    or two themes, and multi-label events. Training albums are made of the source's training pictures, evaluation
    albums of its evaluation pictures. The same seed gives the same bytes. Raises: UsageError.
    """
    check_album_options(preprocessing, photos, max(largest, photos))
    if not 1 <= smallest <= largest or not 0 < share <= 1 or min(albums, evaluation) < 1:
        found = f"{albums} and {evaluation} albums of {smallest} to {largest} photos, share {share}"
        raise UsageError("compose albums", found, "give counts from 1, and a share above 0 and up to 1")
    spec = {"use": "digits", **(source or {})}
    options = {key: value for key, value in spec.items() if key != "use"}
    data: Data = DATASETS.get(str(spec["use"]))(preprocessing=Preprocessing((size, size), *PLAIN), **options)
    if data.train is None or data.evaluation is None or set(data.train.inputs) != {"image"}:
        found = f"{data.name} has no labelled pictures to train and to judge with"
        raise UsageError("compose albums", found, "name another source")
    events = {name: tuple(own) for name, own in (themes or _pairs(data.classes)).items()}
    recipe = _Recipe(_numbered(events, data.classes), smallest, largest, share, several)
    train = _compose(data.train, albums, recipe, np.random.default_rng((seed, 0)), "train")
    judged = _compose(data.evaluation.split, evaluation, recipe, np.random.default_rng((seed, 1)), "evaluation")
    return album_data(f"theme albums of {data.name}", train, judged, tuple(events), photos, sampling, calibration, seed)


@dataclass(frozen=True)
class _Recipe:
    """How an album is put together; themes are class numbers."""

    themes: Sequence[np.ndarray]
    smallest: int
    largest: int
    share: float
    several: bool

    def draw(self, rng: np.random.Generator, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The themes of one album, the class of each photo, and which photos belong to a theme."""
        count = int(rng.integers(1, 3)) if self.several else 1
        own = rng.permutation(len(self.themes))[:count]
        total = int(rng.integers(self.smallest, self.largest + 1))
        inside = min(total, max(count, round(self.share * total)))
        members = [rng.choice(self.themes[own[photo % count]]) for photo in range(inside)]
        outside = np.setdiff1d(np.arange(classes), np.concatenate([self.themes[theme] for theme in own]))
        others = rng.choice(outside, total - inside) if len(outside) else np.zeros(0, np.int64)
        order = rng.permutation(inside + len(others))
        kinds = np.concatenate([members, others]).astype(np.int64)
        return own, kinds[order], (np.arange(len(order)) < inside)[order]


def _compose(source: Split, count: int, recipe: _Recipe, rng: np.random.Generator, name: str) -> Albums:
    pictures, kinds = source.inputs["image"], source.labels
    if kinds is None or kinds.ndim != 1:
        raise UsageError("compose albums", "the source's pictures have no class", "another source")
    rows_of = [np.flatnonzero(kinds == kind) for kind in range(int(kinds.max()) + 1)]
    shape = (count, recipe.largest)
    photos, mask = np.zeros((*shape, *pictures.shape[1:]), np.uint8), np.zeros(shape, np.uint8)
    importance, events = np.full(shape, np.nan, np.float32), np.zeros((count, len(recipe.themes)), np.int8)
    for album in range(count):
        themes, own, inside = recipe.draw(rng, len(rows_of))
        rows = [rng.choice(rows_of[kind]) for kind in own]
        photos[album, : len(own)], mask[album, : len(own)] = pictures[rows], 1
        importance[album, : len(own)], events[album, themes] = inside, 1
    names = tuple(f"{name}-{album:05d}" for album in range(count))
    return Albums(photos, mask, events if recipe.several else events.argmax(1), importance, names)


def _pairs(classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {"+".join(pair): pair for pair in (tuple(classes[at : at + 2]) for at in range(0, len(classes), 2))}


def _numbered(themes: Mapping[str, Sequence[str]], classes: Sequence[str]) -> list[np.ndarray]:
    if not themes or (strangers := sorted({kind for own in themes.values() for kind in own} - set(classes))):
        found = f"classes the source has not: {strangers[:5]}" if themes else "no themes"
        raise UsageError("compose albums", found, f"name classes of the source: {', '.join(classes[:20])}")
    if bare := [name for name, own in themes.items() if not own]:
        raise UsageError("compose albums", f"themes without a class: {bare[:5]}", "name one at least")
    return [np.array([list(classes).index(kind) for kind in own]) for own in themes.values()]
