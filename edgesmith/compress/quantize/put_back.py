"""Weights of a planned program put back into the net it was captured from.

A planned program has its batch norms folded, its channels scaled and flipped and its biases shifted. All that becomes
part of the net's own weights: batch norms are left as the identity with a bias, PReLU slopes are those after the flips.
The net then is the function that was trained, and its plan needs no factors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.graph.operators import argument, is_weighted, source
from edgesmith.graph.program import Program
from edgesmith.graph.rewrite import folded_norms, planned
from edgesmith.quant import QuantPlan

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Places:
    """Where the constants of a planned program belong in the net that it was captured from.

    layers: layer path -> names of its weight and of its bias ("": none) in the program. norms: layer path -> the batch
    norm whose work the layer does. written: layers that are such a batch norm themselves.
    """

    layers: Mapping[str, tuple[str, str]]
    norms: Mapping[str, fx.Node]
    written: frozenset[str]

    def of(self, path: str) -> set[str]:
        """The names, in the net, that take part in one layer of the program."""
        norm = self.norms.get(path)
        names = set() if norm is None else {_name(norm, index) for index in (1, 2, 3, 4)}
        return (names | set(() if path in self.written else self.layers[path])) - {""}


def places_of(program: Program, lowered: Program) -> Places:
    """program: the net as captured. lowered: the same, planned (graph/rewrite.py)."""
    ours, layers = program.nodes, {}
    for path, node in lowered.nodes.items():
        if is_weighted(node) and (path in ours):  # a layer that the form of an activation is made of stays as it is
            layers[path] = (_name(node, 1), _name(node, 2))
    left = {path: ours[path] for path in layers if operator_name(ours[path]) == "batch_norm"}
    norms = {**left, **{path: norm for path, norm in folded_norms(program).items() if path in layers}}
    return Places(layers, norms, frozenset(left))


def check_unshared(program: Program) -> None:
    """Raise UsageError where two operators of a captured net read the same weight."""
    readers: dict[str, list[str]] = {}
    for path, node in program.nodes.items():
        for read in node.all_input_nodes:
            if read.op == "get_attr":
                readers.setdefault(str(read.target), []).append(path)
    for name, paths in readers.items():
        weighted = any(is_weighted(program.nodes[path]) for path in paths)
        if len(paths) > 1 and weighted:
            todo = "give each layer weights of its own, or leave this net to calibration"
            raise UsageError("train aware of quantization", f"{paths[0]} and {paths[1]} share {name}", todo)


def put_back(places: Places, program: Program, lowered: Program, trained: State, state: State) -> dict[str, Tensor]:
    """The net's state with the trained constants in it. trained: constants of the planned program, by name."""
    found = {name: trained[name].reshape(old.shape) if name in trained else old for name, old in state.items()}
    for path, norm in places.norms.items():
        weight, bias = places.layers[path]
        scale = trained[weight].flatten() if path in places.written else None
        shift = None if bias in state and path not in places.written else trained[bias]
        found |= _identity_norm(norm, state, scale, shift)
    for name, slopes in _slopes(program, lowered, state).items():
        found[name] = slopes
    return found


def left_over(places: Places, trained: State, state: State) -> dict[str, np.ndarray]:
    """Biases that the net has no place for: layer path -> bias. They stay a matter of the plan."""
    homeless = {
        path: bias
        for path, (_, bias) in places.layers.items()
        if bias and path not in places.norms and bias not in state
    }
    return {path: trained[bias].double().numpy() for path, bias in homeless.items()}


def check_put_back(program: Program, plan: QuantPlan, trained: State, names: Collection[str]) -> Program:
    """The planned program of the net after put_back. Raises: UsageError when its weights are not the trained ones."""
    again = planned(program, plan)
    constants = dict(again.module.state_dict())
    for name in names:
        here = constants.get(name)
        if here is None or not torch.allclose(here.reshape(trained[name].shape), trained[name], 1e-5, 1e-7):
            found = f"{name} of the net is not what was trained"
            raise UsageError("put the trained weights back", found, "leave this net to calibration")
    return again


def _identity_norm(norm: fx.Node, state: State, scale: Tensor | None, shift: Tensor | None) -> dict[str, Tensor]:
    """A batch norm that computes scale x + shift, each as it is where None. 1 / sqrt(var + eps) is made 1."""
    gamma, beta, mean, var = (_name(norm, index) for index in (1, 2, 3, 4))
    ones = torch.ones_like(state[var])
    shift = torch.zeros_like(ones) if shift is None else shift
    found = {var: ones - float(norm.args[7]), mean: torch.zeros_like(ones)}  # type: ignore[arg-type]
    if gamma in state:
        found[gamma] = ones if scale is None else scale
    elif scale is not None:
        found[var] = scale.double().pow(-2).sub(float(norm.args[7])).to(ones)  # type: ignore[arg-type]
    if beta in state:
        found[beta] = shift
    else:
        found[mean] = -shift if scale is None else -shift / scale
    return found


def _slopes(program: Program, lowered: Program, state: State) -> dict[str, Tensor]:
    """PReLU slopes after the flips: 1 / a where the layer before has changed its sign."""
    factors = {origin.layer: origin.factor for origin in map(lowered.origin, lowered.nodes.values())}
    found = {}
    for node in program.nodes.values():
        name = _name(node, 1) if operator_name(node) == "prelu" else ""
        before = program.paths.get(source(node).name) if name in state else None
        factor = factors.get(before) if before else None
        if factor is not None and (factor < 0).any():
            old = state[name]
            flipped = torch.from_numpy(factor < 0)[: len(old)]
            found[name] = torch.where(flipped, (1 / old.double()).to(old), old)
    return found


def _name(node: fx.Node, index: int) -> str:
    """The name of the constant that a node reads at one position; "" where it reads none."""
    read = argument(node, index)
    return str(read.target) if read is not None and read.op == "get_attr" else ""
