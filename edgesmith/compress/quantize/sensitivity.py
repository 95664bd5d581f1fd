"""What quantizing each layer alone does: to its own output, to the net's output, and to the loss on labelled data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgesmith.compress.quantize.placement import owner
from edgesmith.compress.quantize.simulate import Simulation
from edgesmith.errors import UsageError
from edgesmith.graph.macs import layer_macs
from edgesmith.graph.program import Program
from edgesmith.metrics import sqnr_db
from edgesmith.quant import QuantPlan

Loss = Callable[[tuple[Tensor, ...], Tensor], Tensor]
Batch = tuple[tuple[Tensor, ...], Tensor | None]
_FLOAT, _ALL = "", "*"  # keys of the two runs that are not of one layer


@dataclass(frozen=True)
class LayerSensitivity:
    """One layer in integers, everything else in float.

    noise: noise over signal at the outputs of the net (their mean, where there are several); sqnr_db says the same in
    dB, own_sqnr_db at the layer's own output. loss: by how much the mean loss rises, None without labels. macs: of one
    sample.
    """

    layer: str
    noise: float
    sqnr_db: float
    own_sqnr_db: float
    loss: float | None
    macs: int


@dataclass(frozen=True)
class Sensitivities:
    """Every layer of one plan. together: all layers in integers at once, the layer "*".

    Noise adds up to first order: `sum_of_noise` beside `together.noise` says how well that holds for this net.
    """

    family: str
    plan_digest: str
    layers: tuple[LayerSensitivity, ...]
    together: LayerSensitivity
    samples: int
    seconds: float

    @property
    def sum_of_noise(self) -> float:
        return float(sum(layer.noise for layer in self.layers))


def sensitivities(
    program: Program, plan: QuantPlan, batches: Iterable[Batch], loss: Loss | None = None
) -> Sensitivities:
    """Measure every layer that `plan` quantizes, on held-out batches of (inputs, labels or None).

    The float values of a batch are kept and each layer is run from there on, so that all layers together cost about
    half as many passes as there are layers; memory holds the values of one batch. loss: of outputs and labels, by
    default cross-entropy for labels (N,), binary for labels (N, C).
    Raises: UsageError for no sample, or a float net whose outputs are not finite.
    """
    started = time.monotonic()
    simulation = Simulation(program, plan)
    sums: dict[str, _Sums] = {name: _Sums() for name in (_FLOAT, *simulation.layers, _ALL)}
    samples = 0
    with torch.no_grad():
        for inputs, labels in batches:
            samples += len(inputs[0])
            _see(simulation, inputs, labels, loss or task_loss, sums)
    if samples == 0:
        raise UsageError("measure the sensitivity of layers", "no samples", "give some that were not calibrated on")
    macs = _macs(program, plan, simulation)
    rows = {name: found.row(name, sums[_FLOAT], samples, macs.get(name, 0)) for name, found in sums.items()}
    layers = tuple(rows[name] for name in simulation.layers)
    return Sensitivities(plan.family, plan.digest(), layers, rows[_ALL], samples, time.monotonic() - started)


def task_loss(outputs: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Cross-entropy of the first output for labels (N,), binary for labels (N, C); summed. Labels below 0: unknown."""
    if labels.dim() == 1:
        return functional.cross_entropy(outputs[0], labels, reduction="sum", ignore_index=-1)
    known = (labels >= 0).float()
    targets = labels.clamp(min=0).float()
    return functional.binary_cross_entropy_with_logits(outputs[0], targets, known, reduction="sum")


@dataclass
class _Sums:
    """Signal and noise at each output and at a layer's own, and the loss, over all batches."""

    signal: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=lambda: [0.0, 0.0])
    loss: float | None = None

    def add(self, floats: Sequence[Tensor], found: Sequence[Tensor]) -> None:
        pairs = [_signal_and_noise(first, second) for first, second in zip(floats, found)]
        self.signal = [old + new[0] for old, new in zip(self.signal or [0.0] * len(pairs), pairs)]
        self.noise = [old + new[1] for old, new in zip(self.noise or [0.0] * len(pairs), pairs)]

    def row(self, name: str, original: _Sums, samples: int, macs: int) -> LayerSensitivity:
        ratios = [noise / max(signal, 1e-30) for signal, noise in zip(self.signal, self.noise)]
        noise = float(np.mean(ratios)) if ratios else 0.0
        loss = None
        if self.loss is not None and original.loss is not None:
            loss = (self.loss - original.loss) / samples
        return LayerSensitivity(name, noise, sqnr_db(1.0, noise), sqnr_db(*self.own), loss, macs)


def _see(
    simulation: Simulation,
    inputs: tuple[Tensor, ...],
    labels: Tensor | None,
    loss: Loss,
    sums: Mapping[str, _Sums],
) -> None:
    values = simulation.values(inputs)
    floats = simulation.outputs(values)
    if not all(bool(torch.isfinite(output).all()) for output in floats):
        raise UsageError(
            "measure the sensitivity of layers", "the float net's outputs are not finite", "check the data"
        )
    for name, found in sums.items():
        layers = {_FLOAT: (), _ALL: simulation.layers}.get(name, (name,))
        answer = simulation.run(values, layers)
        found.add(floats, answer.outputs)
        if name in answer.tails and name in simulation.layers:
            pair = _signal_and_noise(simulation.float_tail(values, name), answer.tails[name])
            found.own = [old + new for old, new in zip(found.own, pair)]
        if labels is not None:
            found.loss = (found.loss or 0.0) + float(loss(answer.outputs, labels))


def _signal_and_noise(original: Tensor, found: Tensor) -> tuple[float, float]:
    return float(original.double().square().sum()), float((original.double() - found.double()).square().sum())


def _macs(program: Program, plan: QuantPlan, simulation: Simulation) -> dict[str, int]:
    """Of each layer as it is executed: the parts of a lowered activation count for the activation."""
    found: dict[str, int] = {}
    for path, count in layer_macs(simulation.program).items():
        found[owner(path, plan.rewrites)] = found.get(owner(path, plan.rewrites), 0) + count
    return found
