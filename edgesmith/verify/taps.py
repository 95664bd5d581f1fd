"""What an artefact computes at the places of the original's layers, read in chunks so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgesmith.artifact import Exported
from edgesmith.graph.layers import INPUT, Layer, Original
from edgesmith.runtimes.session import Session
from edgesmith.tensors import Arrays

CHUNK_BYTES = 256 << 20


@dataclass(frozen=True)
class Seen:
    """One layer in the artefact and in the original, on the same inputs.

    given: the original's values of its sources, which it was fed; {} where the artefact fed it itself.
    """

    layer: Layer
    reference: np.ndarray
    found: np.ndarray
    given: Arrays


@dataclass(frozen=True)
class Taps:
    """An open artefact whose layers are read beside those of the original. chunk_bytes: of tapped values at once."""

    session: Session
    exported: Exported
    original: Original
    feed: Arrays
    chunk_bytes: int = CHUNK_BYTES

    def propagated(self, layers: Sequence[Layer]) -> Iterator[tuple[list[Seen], Arrays]]:
        """Each layer on what the artefact itself feeds it; chunk by chunk, with the outputs beside these taps."""
        for chunk in self._chunks(layers):
            truth = self.original.values([layer.path for layer in chunk])
            answer = self.session.run(self.feed, taps=self._tensors(chunk))
            yield [Seen(one, truth[one.path], self._value(one.path, answer), {}) for one in chunk], answer

    def local(self, layers: Sequence[Layer]) -> Iterator[list[Seen]]:
        """Each layer fed the original's values of its sources: an error here is made here."""
        for group in independent(layers):
            for chunk in self._chunks(group):
                yield self._injected(chunk)

    def _injected(self, chunk: Sequence[Layer]) -> list[Seen]:
        sources = {name for layer in chunk for name in layer.sources}
        inner = sorted(name for name in sources if not name.startswith(INPUT))
        truth = self.original.values([*inner, *(layer.path for layer in chunk)])
        truth |= {name: self.original.feed[name.removeprefix(INPUT)] for name in sources if name.startswith(INPUT)}
        inject = {tensor: self._scaled(name, tensor, truth[name]) for name in inner for tensor in self._places(name)}
        answer = self.session.run(self.feed, taps=self._tensors(chunk), inject=inject)
        return [
            Seen(one, truth[one.path], self._value(one.path, answer), {name: truth[name] for name in one.sources})
            for one in chunk
        ]

    def _tensors(self, chunk: Sequence[Layer]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.exported.layer_names[layer.path] for layer in chunk))

    def _places(self, path: str) -> tuple[str, ...]:
        return (self.exported.layer_names[path], *self.exported.layer_copies.get(path, ()))

    def _value(self, path: str, answer: Arrays) -> np.ndarray:
        """A tapped tensor as the original has it: what the file multiplied is divided again."""
        tensor = self.exported.layer_names[path]
        array = answer[tensor].astype(np.float32, copy=False) / self._multiple(tensor)
        factor = self.factor(path, array)
        return array if factor is None else array / factor

    def _scaled(self, path: str, tensor: str, array: np.ndarray) -> np.ndarray:
        factor = self.factor(path, array)
        return (array if factor is None else array * factor) * self._multiple(tensor)

    def _multiple(self, tensor: str) -> np.float32:
        return np.float32(self.exported.multiples.get(tensor, 1.0))

    def factor(self, path: str, array: np.ndarray) -> np.ndarray | None:
        """What the artefact multiplies a layer's channels with, in the shape of its value."""
        factor = self.exported.layer_factors.get(path)
        if factor is None:
            return None
        return np.asarray(factor, np.float32).reshape(-1, *[1] * (array.ndim - 2))

    def _chunks(self, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
        rows = len(next(iter(self.feed.values())))
        chunk: list[Layer] = []
        held = 0
        for layer in layers:
            size = layer.size_bytes * rows
            if chunk and held + size > self.chunk_bytes:
                yield chunk
                chunk, held = [], 0
            chunk.append(layer)
            held += size
        if chunk:
            yield chunk


def independent(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Groups in which no layer reads another of its group: each group can be tapped while its sources are injected."""
    group_of: dict[str, int] = {}
    groups: list[list[Layer]] = []
    for layer in layers:
        taken = {group_of.get(name) for name in layer.sources}
        chosen = next(number for number in range(len(groups) + 1) if number not in taken)
        group_of[layer.path] = chosen
        if chosen == len(groups):
            groups.append([])
        groups[chosen].append(layer)
    return groups
