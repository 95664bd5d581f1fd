"""The operators of a network as its runtime executes them on this device: what a latency model is fitted to."""

from __future__ import annotations

from collections.abc import Sequence

from edgesmith.artifact import Exported
from edgesmith.bench.latency_model import Kernel, ProfiledNetwork
from edgesmith.errors import UsageError
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.executed import Executed, told_by
from edgesmith.runtimes.profile import profiled_by
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import random_feed

RUNS = 30


def profiled_network(
    exported: Exported, name: str, family: str, p50_ms: float, options: RunOptions, runs: int = RUNS
) -> ProfiledNetwork:
    """Every operator with its median time under the runtime's profiler. p50_ms: of the whole, measured without it.

    Raises: UsageError for a runtime without a profiler, EngineFailed.
    """
    with RUNTIMES.get(exported.runtime)().open(exported, options) as session:
        told = told_by(session)
        feeds = [random_feed(exported.inputs, seed) for seed in range(4)]
        profile = profiled_by(session, feeds, runs)
    if told is None or profile is None:
        found = f"{exported.runtime} does not tell the times of its operators"
        raise UsageError(f"profile {exported.target}", found, "take a target of ort or openvino")
    known = {operator.names[0]: operator for operator in told.operators}
    pairs = [(known.get(timed.names[0]), timed) for timed in profile.operators]
    kernels = tuple(kernel(one) if one else Kernel(timed.op, 0.0, 0.0) for one, timed in pairs)
    return ProfiledNetwork(name, family, kernels, tuple(_median(timed.ms) for _, timed in pairs), p50_ms)


def kernel(operator: Executed) -> Kernel:
    """What its time depends on: kind (operator, class of shape, type), multiply-accumulates, bytes read and written."""
    kind = " ".join(part for part in (operator.op, operator.shape, operator.precision) if part)
    return Kernel(kind, float(operator.macs), float(operator.touched_bytes or 0))


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
