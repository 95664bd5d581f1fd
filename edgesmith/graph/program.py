"""A captured model: one flat ATen graph, and the user's name for every value in it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, fx

from edgesmith.errors import UsageError
from edgesmith.graph.naming import operator_name
from edgesmith.quant import QuantPlan
from edgesmith.tensors import TensorSpec


@dataclass(frozen=True)
class Origin:
    """What a rewrite did to a node's value.

    layer: path of the layer of the captured model that the value stands for, None for a value that is new.
    factor: the value is `factor` times that layer's value, channel by channel. Shape: (C,), None for 1.
    axis: which one counts the channels.
    """

    layer: str | None
    factor: np.ndarray | None = None
    axis: int = 1


@dataclass(frozen=True)
class Program:
    """One model as a graph of ATen operators, parameters as attributes, in eval mode.

    module(*inputs) returns a flat tuple. paths: node name -> the user's module path ("stage1.0.conv"), operators
    written as functions by the enclosing module and their name ("block0.add", "block0.add_1"); every path is unique.
    example: inputs of the batch size that an exported program has when it is static.
    origins: node name -> what a rewrite did to its value; a node that is absent still has its layer's value.
    digest: of the captured model, weights included; rewrites leave it as it is. A plan says which one it was made for.
    """

    module: fx.GraphModule
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    example: tuple[Tensor, ...]
    paths: Mapping[str, str]
    dynamic_batch: bool
    origins: Mapping[str, Origin] = field(default_factory=dict)
    digest: str = ""

    @property
    def nodes(self) -> dict[str, fx.Node]:
        """Module path -> node."""
        return {self.paths[node.name]: node for node in self.module.graph.nodes if node.name in self.paths}

    @property
    def batch_is_symbolic(self) -> bool:
        """Whether the graph takes batches of any size, so that calibration may feed many samples at once."""
        return any(
            not isinstance(size, int)
            for node in self.module.graph.find_nodes(op="placeholder")
            for size in node.meta["val"].shape[:1]
        )

    def copy(self) -> tuple[fx.GraphModule, dict[str, str], dict[str, Origin]]:
        """The mutable parts, for a rewrite to work on: graph (parameters too), paths, origins."""
        return copy.deepcopy(self.module), dict(self.paths), dict(self.origins)

    def rewritten(self, module: fx.GraphModule, paths: Mapping[str, str], origins: Mapping[str, Origin]) -> Program:
        """This program with a rewritten graph: dead code and unused constants are dropped."""
        module.graph.eliminate_dead_code()
        alive = {node.name for node in module.graph.nodes}
        return replace(
            self,
            module=fx.GraphModule(module, module.graph),
            paths={name: path for name, path in paths.items() if name in alive},
            origins={name: origin for name, origin in origins.items() if name in alive},
        )

    def origin(self, node: fx.Node) -> Origin:
        """The layer whose value `node` computes. Raises: KeyError for a node without a path."""
        return self.origins.get(node.name) or Origin(self.paths[node.name])

    def edges(self) -> Iterator[tuple[str, fx.Node]]:
        """Every float value with its edge name ("<path>:out", "input:<name>"), in graph order."""
        specs = iter(self.inputs)
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                name = f"input:{next(specs).name}"
            elif node.name in self.paths:
                name = f"{self.paths[node.name]}:out"
            else:
                continue
            if node.meta["val"].is_floating_point():
                yield name, node


def model_digest(module: fx.GraphModule, paths: Mapping[str, str]) -> str:
    """A fingerprint of a captured model: its named float operators in order, and every constant they read.

    The same whether the batch is symbolic or not. Weights count: a plan's scales are those of one trained net.
    """
    total = hashlib.sha256()
    for node in module.graph.nodes:
        if node.op == "get_attr":
            value = _attribute(module, str(node.target)).detach().cpu().contiguous()
            total.update(f"{node.target} {value.dtype} {tuple(value.shape)}\n".encode())
            total.update(value.reshape(-1).view(torch.uint8).numpy().data)
        elif node.name in paths and isinstance(node.meta.get("val"), Tensor):
            total.update(f"{paths[node.name]} {operator_name(node)}\n".encode())
    return total.hexdigest()[:16]


def _attribute(module: fx.GraphModule, name: str) -> Tensor:
    value: object = module
    for part in name.split("."):
        value = getattr(value, part)
    return value  # type: ignore[return-value]


def check_program(program: Program, plan: QuantPlan) -> None:
    """Refuse a plan of another model, or of other weights of this one. Raises: UsageError naming both digests."""
    if plan.program and program.digest and plan.program != program.digest:
        found = f"the plan was derived from model {plan.program}, this one is {program.digest}"
        raise UsageError(f"apply a plan for {plan.family}", found, "derive the plan from this model with these weights")
