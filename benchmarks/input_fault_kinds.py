"""Faults that are planted at the input: a file whose first operators turn the input into what it was not made for.

As in the field, nothing in the file is broken: it was made for pictures prepared in another way. Colours and scales
are one convolution of 1 x 1 behind the input, layouts a permutation. What heals the file is known: it is the words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from edgesmith.graph.program import Program
from edgesmith.tensors import Preprocessing
from edgesmith.verify.input_variants import NORMALISATIONS

aten = torch.ops.aten
Rng = np.random.Generator
Affine = tuple[np.ndarray, np.ndarray]  # scale and shift of each channel
LAID_OUT, TAKEN = "memory laid out as NHWC", "memory taken for NHWC"
EXCHANGED, UPSIDE_DOWN = "rows and columns exchanged", "the picture upside down"
SCALES = ("values 0..1", "values 0..255")


@dataclass(frozen=True)
class Planted:
    """kind, words: what the finder must say, the words among others. plant: changes the graph behind the input."""

    kind: str
    words: str
    plant: Callable[[fx.GraphModule, fx.Node], fx.Node]


def colour(own: Preprocessing, rng: Rng) -> Planted:
    """Made for blue first."""
    return Planted("colour", "blue, green, red", _mixing((np.ones(3), np.zeros(3)), True))


def scale(own: Preprocessing, rng: Rng) -> Planted:
    """Made for values 0..1, or 0..255."""
    name = str(rng.choice(SCALES))
    return Planted("normalisation", name, _mixing(_wants(own, name), False))


def mean_std(own: Preprocessing, rng: Rng) -> Planted:
    """Made for another mean and standard deviation."""
    name = _another(own, rng)
    return Planted("normalisation", name, _mixing(_wants(own, name), False))


def normalised_twice(own: Preprocessing, rng: Rng) -> Planted:
    """Normalises by itself what is normalised already."""
    name = str(rng.choice([name for name in NORMALISATIONS if name != SCALES[0]]))
    mean, std = _values(name)
    changed = (1 / std, -mean / std)
    return Planted("normalisation", f"a normalisation of its own undone ({name})", _mixing(changed, False))


def both(own: Preprocessing, rng: Rng) -> Planted:
    """Blue first and another mean and standard deviation."""
    name = _another(own, rng)
    return Planted("colour and normalisation", f"blue, green, red, {name}", _mixing(_wants(own, name), True))


def layout(own: Preprocessing, rng: Rng) -> Planted:
    """The memory read as if the colours were last, or as if they were first; rows for columns; upside down."""
    name = str(rng.choice([LAID_OUT, TAKEN, EXCHANGED, UPSIDE_DOWN]))
    return Planted("layout", name, lambda module, node: _moved(module, node, name))


INPUT_KINDS: dict[str, Callable[[Preprocessing, Rng], Planted]] = {
    "colour order": colour,
    "input scale": scale,
    "mean and std": mean_std,
    "normalised twice": normalised_twice,
    "colour, mean and std": both,
    "layout": layout,
}


def planted_at_input(program: Program, fault: Planted) -> Program:
    """The program with the fault between its only input and whoever reads it."""
    module, paths, origins = program.copy()
    node = next(iter(module.graph.find_nodes(op="placeholder")))
    readers = list(node.users)
    changed = fault.plant(module, node)
    for reader in readers:
        reader.replace_input_with(node, changed)
    return program.rewritten(module, paths, origins)


def _values(name: str) -> Affine:
    mean, std = (np.resize(np.asarray(values, np.float64), 3) for values in NORMALISATIONS[name])
    return mean, std


def _wants(own: Preprocessing, name: str) -> Affine:
    """What leads from an input prepared as `name` says to the model's own."""
    (mean, std), (own_mean, own_std) = _values(name), (np.resize(v, 3) for v in (own.mean, own.std))
    return std / own_std, (mean - own_mean) / own_std


def _another(own: Preprocessing, rng: Rng) -> str:
    """A normalisation that is told from the model's own: each differs by more than the rounding of a byte."""
    differs = []
    for name in NORMALISATIONS:
        gain, shift = _wants(own, name)
        if name not in SCALES and max(np.abs(gain - 1).max(), np.abs(shift).max()) > 0.02:
            differs.append(name)
    return str(rng.choice(differs))


def _mixing(affine: Affine, turned: bool) -> Callable[[fx.GraphModule, fx.Node], fx.Node]:
    """A convolution of 1 x 1 that reads the colours in the other order (turned), scales and shifts them."""

    def plant(module: fx.GraphModule, node: fx.Node) -> fx.Node:
        weight = np.diag(affine[0])
        weight = weight[:, ::-1] if turned else weight
        shift = affine[1]
        module.register_buffer("planted_weight", torch.tensor(weight.copy(), dtype=torch.float32)[:, :, None, None])
        module.register_buffer("planted_shift", torch.tensor(shift, dtype=torch.float32))
        with module.graph.inserting_after(node):
            second = module.graph.get_attr("planted_shift")
            first = module.graph.get_attr("planted_weight")
        with module.graph.inserting_after(second):
            return module.graph.call_function(aten.conv2d.default, (node, first, second))

    return plant


def _moved(module: fx.GraphModule, node: fx.Node, name: str) -> fx.Node:
    """The numbers of the input in another order. Shape: (N, C, H, W) stays; pictures are square."""
    channels, rows, columns = (int(size) for size in node.meta["val"].shape[1:])
    steps = {
        # A file that wants the memory of NHWC reads each picture as (H, W, C) and turns it to (C, H, W).
        LAID_OUT: [(aten.reshape.default, [-1, rows, columns, channels]), (aten.permute.default, [0, 3, 1, 2])],
        TAKEN: [(aten.permute.default, [0, 2, 3, 1]), (aten.reshape.default, [-1, channels, rows, columns])],
        EXCHANGED: [(aten.permute.default, [0, 1, 3, 2])],
        UPSIDE_DOWN: [(aten.flip.default, [2])],
    }[name]
    for operator, argument in steps:
        with module.graph.inserting_after(node):
            node = module.graph.call_function(operator, (node, argument))
    return node
