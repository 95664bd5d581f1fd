"""A task's student as a fake-quantized program: answers as the net does, also by embed() and head()."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from edgesmith.compress.quantize.fake_quant import FakeQuantNet
from edgesmith.errors import ExportFailed, UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.operators import argument, is_weighted, source
from edgesmith.graph.program import Program
from edgesmith.tensors import TensorSpec

HEAD = "head"  # the attribute that tasks call a net's classifier


@dataclass(frozen=True)
class Captured:
    """A net as a program. embedding: whether its last output is one added here, the value that its head reads.

    As an output it is out of reach of equalisation: other heads read it too. keys: names of a dictionary of outputs.
    """

    program: Program
    embedding: bool
    keys: tuple[str, ...]


def capture_student(net: nn.Module, inputs: tuple[Tensor, ...], names: tuple[str, ...] | None) -> Captured:
    """Capture what a task deploys. Raises: UsageError for a net that cannot be captured, or for one batch size only."""
    asked = f"train {type(net).__name__} aware of quantization"
    try:
        program = capture(net, inputs, names)
    except ExportFailed as error:
        raise UsageError(asked, error.found, "leave it to calibration, or rewrite what torch.export refuses") from error
    if not program.batch_is_symbolic:
        raise UsageError(asked, "its graph holds for one batch size only", "keep axis 0 free in the model")
    with torch.no_grad():
        answer = net(*inputs)
    keys = tuple(answer) if isinstance(answer, dict) else ()
    head = program.nodes.get(HEAD)
    embeds = callable(getattr(net, "embed", None)) and head is not None and is_weighted(head)
    return Captured(_with_output(program, source(head)) if embeds and head else program, bool(embeds), keys)


class QuantizedStudent(nn.Module):
    """Stands in the place of a task's student while it is trained; weights are those of the planned program."""

    def __init__(self, captured: Captured, lowered: Program, net: FakeQuantNet) -> None:
        super().__init__()
        self.net, self.keys, self.embedding = net, captured.keys, captured.embedding
        self.outputs = len(captured.program.outputs) - int(captured.embedding)
        self.head = _Head(net, lowered) if captured.embedding else None

    def forward(self, *inputs: Tensor) -> Any:
        values = self.net(*inputs)[: self.outputs]
        if self.keys:
            return dict(zip(self.keys, values))
        return values[0] if len(values) == 1 else values

    def embed(self, *inputs: Tensor) -> Tensor:
        """What the head reads; of a net without a head its answer."""
        return self.net(*inputs)[-1]


class _Head(nn.Module):
    """The program's head by itself: rounds what it reads, and its weight, as the program does."""

    def __init__(self, net: FakeQuantNet, lowered: Program) -> None:
        super().__init__()
        node = lowered.nodes[HEAD]
        edges = {node: edge for edge, node in lowered.edges()}
        quantizers = (net.quantizer(edges[source(node)]), net.quantizer(f"{HEAD}:weight"))
        self.parts = (net, *quantizers)  # not registered: they are the program's
        self.names = tuple(str(read.target) if (read := argument(node, index)) else "" for index in (1, 2))

    def forward(self, z: Tensor) -> Tensor:
        net, of_input, of_weight = self.parts
        assert isinstance(net, FakeQuantNet)
        weight, bias = (net.graph.get_parameter(name) if name else None for name in self.names)
        return F.linear(_through(of_input, z), _through(of_weight, weight), bias)


def _through(quantizer: nn.Module | None, value: Any) -> Tensor:
    return value if quantizer is None else quantizer(value)  # type: ignore[no-any-return]


def _with_output(program: Program, value: fx.Node) -> Program:
    module, paths, origins = program.copy()
    mine = next(node for node in module.graph.nodes if node.name == value.name)
    end = module.graph.output_node()
    end.args = ((*end.args[0], mine),)  # type: ignore[misc]
    spec = TensorSpec("embedding", tuple(program.example[0].shape[:1]))
    return replace(program.rewritten(module, paths, origins), outputs=(*program.outputs, spec))
