"""A new network's latency from the kernels of others that were profiled on the device.

Each kind of kernel gets a law that grows with its work: ms = call + MACs / speed + bytes / bandwidth, none below 0.
Profilers slow what they time, so sums of kernels are brought to whole networks' p50 by one factor and one overhead.
The interval comes from networks of families that the laws were not fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesmith.errors import UsageError
from edgesmith.results import Interval

CONFIDENCE = 0.9
FEWEST_FAMILIES = 3
_LEAST_MS = 1e-4  # what profilers count in: a kernel below it says nothing about its own size


@dataclass(frozen=True)
class Kernel:
    """One operator as the runtime executes it. kind: operator and class of shape, e.g. "Conv depthwise"."""

    kind: str
    macs: float
    bytes: float


@dataclass(frozen=True)
class ProfiledNetwork:
    """A network of the table. profiled_ms: of each kernel, under the profiler. p50_ms: of the whole, without it."""

    name: str
    family: str
    kernels: tuple[Kernel, ...]
    profiled_ms: tuple[float, ...]
    p50_ms: float


@dataclass(frozen=True)
class Law:
    """ms of one kind of kernel: per call, per multiply-accumulate and per byte."""

    call: float
    mac: float
    byte: float

    def ms(self, kernel: Kernel) -> float:
        return self.call + self.mac * kernel.macs + self.byte * kernel.bytes


@dataclass(frozen=True)
class LatencyModel:
    """p50 = overhead_ms + factor * sum of kernels. ratio: by how much p50 may differ; None where that is not known."""

    laws: dict[str, Law]
    factor: float
    overhead_ms: float
    ratio: float | None = None


@dataclass(frozen=True)
class Prediction:
    """p50 in ms; `unseen` are kinds of kernels that the table lacks: their time is not in it, and no upper end is."""

    p50_ms: Interval
    unseen: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """What a network was predicted to take by a model of the other families."""

    name: str
    family: str
    predicted: Prediction
    p50_ms: float

    @property
    def error(self) -> float:
        """Relative to what was measured."""
        return self.predicted.p50_ms.value / self.p50_ms - 1


def fit(networks: Sequence[ProfiledNetwork]) -> LatencyModel:
    """Laws, calibration to whole networks, and an interval of 90 % by leaving each family out.

    Without three families, or with too few networks for 90 %, the interval is open. A network with kernels that no
    other family has says nothing about the laws, and does not count. Raises: UsageError for a table that is none.
    """
    _check(networks)
    errors = [abs(math.log1p(one.error)) for one in leave_one_family_out(networks) if not one.predicted.unseen]
    known = len({network.family for network in networks}) >= FEWEST_FAMILIES
    return _laws(networks, _conformal(errors) if known else None)


def predict(model: LatencyModel, kernels: Sequence[Kernel]) -> Prediction:
    """The p50 of a network of these kernels. Raises: UsageError where there are none."""
    if not kernels:
        raise UsageError("predict a latency", "a network without kernels", "give the operators that it runs")
    unseen = tuple(sorted({kernel.kind for kernel in kernels} - set(model.laws)))
    value = model.overhead_ms + model.factor * sum(model.laws[k.kind].ms(k) for k in kernels if k.kind in model.laws)
    if model.ratio is None:
        return Prediction(Interval(value, None, None, CONFIDENCE), unseen)
    high = None if unseen else value * model.ratio
    return Prediction(Interval(value, value / model.ratio, high, CONFIDENCE), unseen)


def leave_one_family_out(networks: Sequence[ProfiledNetwork]) -> tuple[LeftOut, ...]:
    """Each network predicted from all families but its own, without interval; none where there is one family only."""
    _check(networks)
    families = list(dict.fromkeys(network.family for network in networks))
    found = []
    for family in families if len(families) > 1 else ():
        model = _laws([network for network in networks if network.family != family], None)
        own = [network for network in networks if network.family == family]
        found += [LeftOut(n.name, family, predict(model, n.kernels), n.p50_ms) for n in own]
    return tuple(found)


def _laws(networks: Sequence[ProfiledNetwork], ratio: float | None) -> LatencyModel:
    samples: dict[str, list[tuple[Kernel, float]]] = {}
    for network in networks:
        for kernel, ms in zip(network.kernels, network.profiled_ms):
            samples.setdefault(kernel.kind, []).append((kernel, ms))
    laws = {kind: _law(own) for kind, own in samples.items()}
    sums = np.array([sum(laws[kernel.kind].ms(kernel) for kernel in network.kernels) for network in networks])
    times = np.array([network.p50_ms for network in networks])
    overhead, factor = _positive_fit(np.stack([np.ones(len(sums)), sums], 1), times)
    return LatencyModel(laws, float(factor), float(overhead), ratio)


def _law(samples: Sequence[tuple[Kernel, float]]) -> Law:
    rows = np.array([[1.0, kernel.macs, kernel.bytes] for kernel, _ in samples])
    times = np.array([max(ms, _LEAST_MS) for _, ms in samples])
    return Law(*(float(value) for value in _positive_fit(rows, times)))


def _positive_fit(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Coefficients, none below 0, of the smallest relative error: every subset of columns is tried, there are few.

    Source: Karush, Kuhn and Tucker: the best of all least squares over subsets that stay positive is the solution.
    """
    scale = np.maximum(np.abs(rows).max(axis=0), 1e-30)
    relative = rows / scale / times[:, None]
    best, least = np.zeros(rows.shape[1]), math.inf
    for chosen in range(1, 2 ** rows.shape[1]):
        columns = [c for c in range(rows.shape[1]) if chosen >> c & 1]
        found, *_ = np.linalg.lstsq(relative[:, columns], np.ones(len(times)), rcond=None)
        error = float(np.sum((relative[:, columns] @ found - 1) ** 2))
        if (found >= 0).all() and error < least * (1 - 1e-9):
            best, least = np.zeros(rows.shape[1]), error
            best[columns] = found
    return best / scale


def _conformal(errors: Sequence[float]) -> float | None:
    """The ratio that a new network stays within, 90 times in 100; None where there are too few networks to say.

    Source: split conformal prediction, Lei et al. 2018: rank ceil((n + 1) * 0.9) of n absolute residuals.
    """
    rank = math.ceil((len(errors) + 1) * CONFIDENCE)
    return math.exp(sorted(errors)[rank - 1]) if rank <= len(errors) else None


def _check(networks: Sequence[ProfiledNetwork]) -> None:
    asked = "fit a table of latencies"
    if not networks:
        raise UsageError(asked, "no networks", "profile some first")
    for network in networks:
        if not network.kernels or len(network.kernels) != len(network.profiled_ms):
            found = f"{network.name}: {len(network.kernels)} kernels, {len(network.profiled_ms)} times"
            raise UsageError(asked, found, "give one time a kernel")
        numbers = [network.p50_ms, *network.profiled_ms, *(v for k in network.kernels for v in (k.macs, k.bytes))]
        if not all(math.isfinite(number) and number >= 0 for number in numbers) or network.p50_ms <= 0:
            raise UsageError(asked, f"{network.name}: a time or size that is none", "measure the network again")
