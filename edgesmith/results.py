"""What was measured and what was concluded: frozen records, all with to and from JSON (records.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["pass", "fail", "inconclusive", "not_measured"]
Scenario = Literal["single-stream", "multi-stream", "offline", "cold-start"]
SCENARIOS: tuple[Scenario, ...] = ("single-stream", "multi-stream", "offline", "cold-start")


@dataclass(frozen=True)
class DeviceInfo:
    """The machine a measurement was taken on.

    throttling: how far the system holds clocks down to cool it, in the system's words; "none" if it does not.
    load_percent: of all cores, what is in use or waited for.
    """

    name: str
    os: str
    cpu: str
    cores: int
    memory_bytes: int
    instruction_set: str
    python: str
    accelerator: str | None = None
    governor: str | None = None
    clock_mhz: float | None = None
    temperature_c: float | None = None
    driver: str | None = None
    battery_percent: float | None = None
    accelerator_clock_mhz: float | None = None
    throttling: str | None = None
    load_percent: float | None = None


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; low or high None where it is not bounded by the samples."""

    value: float
    low: float | None
    high: float | None
    confidence: float = 0.95


@dataclass(frozen=True)
class Latency:
    """Every sample of one candidate in milliseconds, cut into the blocks in which they were taken."""

    blocks_ms: tuple[tuple[float, ...], ...]
    warmup: int

    @property
    def samples_ms(self) -> tuple[float, ...]:
        return tuple(sample for block in self.blocks_ms for sample in block)


@dataclass(frozen=True)
class PlacedLayer:
    """One layer that multiplies matrices, where the runtime runs it and in which type.

    layer: module path, or the runtime's own name where no path is known. precision: int8, fp16, bf16, fp32, or
    "unknown" where the runtime names no such operator. asked: the type it was to be run in, "" where nobody said.
    """

    layer: str
    op: str
    precision: str
    unit: str
    macs: int
    asked: str = ""


@dataclass(frozen=True)
class Placement:
    """Which unit executed how much, in which type, as the runtime itself says; shares are of multiply-accumulates.

    asked, asked_unit: what it was to run in and on, as a whole. partitions: stretches of consecutive operators on one
    unit. copies: operators that only convert or move values, and the bytes they write (None: not known).
    """

    target: str
    share_by_precision: Mapping[str, float]
    share_by_unit: Mapping[str, float]
    source: str
    asked: str = ""
    asked_unit: str = ""
    layers: tuple[PlacedLayer, ...] = ()
    partitions: int = 1
    copies: int = 0
    copied_bytes: int | None = None


@dataclass(frozen=True)
class LayerTime:
    """What one layer takes in an inference, by the runtime's own profiler; all kernels it was split into together.

    layer: module path; "" for what belongs to no layer (a conversion), then `op` says what it is. members: other layers
    that are computed in the same kernel. op: the runtime's own kinds of operators. ms: mean over the runs. share: of
    the time of all operators, 0..1.
    """

    layer: str
    op: str
    ms: Interval
    share: float
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class LayerTimes:
    """The layers in the order of execution. whole_ms: a run under the profiler, which is slower than one without.

    mapped: share of the operators' time that has a module path, 0..1.
    """

    rows: tuple[LayerTime, ...]
    whole_ms: Interval
    runs: int
    mapped: float
    source: str


@dataclass(frozen=True)
class Energy:
    """Joules for an inference (one row of a batch) by one gauge: of all that it feeds, not of our process alone.

    joules: as counted; net_joules: with the idle power subtracted, None where that is not known. Means over blocks with
    intervals. idle_w: mean of `idles_w`, the power before and after all candidates. reason: why joules is None.
    """

    source: str
    joules: Interval | None = None
    net_joules: Interval | None = None
    idle_w: float | None = None
    idles_w: tuple[float, ...] = ()
    blocks: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Measurement:
    """One candidate on one device. state is "measured", or "failed" / "not_measured" with the reason.

    wall_ms: how long each block took from its first to its last run, which is what a throughput is told from.
    energy: one a gauge of the device; () where nobody asked. device_ms: an accelerator's own work without copies, by
    its events, run by run after the blocks; () where there is none.
    """

    target: str
    state: Literal["measured", "failed", "not_measured"]
    reason: str = ""
    engine: str = ""
    version: str = ""
    precision: str = ""
    batch: int = 1
    threads: int = 1
    latency: Latency | None = None
    load_ms: tuple[float, ...] = ()
    first_ms: float | None = None
    peak_bytes: int | None = None
    size_bytes: int | None = None
    notes: tuple[str, ...] = ()
    placement: Placement | None = None
    scenario: Scenario = "single-stream"
    streams: int = 1
    wall_ms: tuple[float, ...] = ()
    layers: LayerTimes | None = None
    energy: tuple[Energy, ...] = ()
    device_ms: tuple[float, ...] = ()

    @property
    def rows_per_s(self) -> tuple[float, ...]:
        """Rows answered a second, block by block."""
        counts = [len(block) for block in self.latency.blocks_ms] if self.latency else []
        return tuple(1e3 * count * self.batch / wall for count, wall in zip(counts, self.wall_ms) if wall > 0)


@dataclass(frozen=True)
class BenchRecord:
    """Candidates measured in one interleaved run. sentinel_ms: a fixed kernel timed before and after."""

    device: DeviceInfo
    measurements: tuple[Measurement, ...]
    reference: str
    sentinel_ms: tuple[float, float]

    @property
    def sentinel_drift(self) -> float:
        """Relative change of the sentinel; infinite when it was not really timed, so that nobody takes it as steady."""
        before, after = self.sentinel_ms
        return abs(after - before) / before if before > 0 else float("inf")


@dataclass(frozen=True)
class Accuracy:
    """One metric of one target, and its drop against the original (positive: worse), both with intervals."""

    target: str
    metric: str
    estimate: Interval
    drop: Interval | None
    n: int
    extra: Mapping[str, float] = field(default_factory=dict)

    @property
    def untold(self) -> str:
        """Why the samples say nothing, where n is 0."""
        if self.n:
            return ""
        if self.extra.get("classes") == 1:
            return "all labels are of one class: a model that always says it would be right each time"
        return "the data has too few samples or pairs for it"


@dataclass(frozen=True)
class Agreement:
    """How well one output of one target agrees with the original's, over `n` samples, without labels.

    top1 is None unless the output is (N, more than 1). problem: why it cannot agree at all (shape, NaN), else "".
    rearranged: the order (of classes, channels, axes or outputs) in which it would agree and is not, else "".
    """

    target: str
    output: str
    n: int
    top1: Interval | None
    cosine: Interval
    cosine_p1: Interval
    cosine_min: Interval
    max_abs: Interval
    sqnr_db: Interval
    problem: str = ""
    rearranged: str = ""


@dataclass(frozen=True)
class Drift:
    """How far one layer (a module path) of one target is from the original.

    sqnr_db, cosine, max_abs: on the target's own inputs of the layer (propagated). local_*: fed the original's inputs;
    None where that was not measured. excess: local error over what the precision explains, as powers; above 1 it is
    more than was ever seen of a sound layer. members: what the target computes in one step with the layer.
    """

    layer: str
    op: str
    sqnr_db: float | None
    cosine: float | None
    max_abs: float | None
    local_sqnr_db: float | None = None
    local_cosine: float | None = None
    excess: float | None = None
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suspect:
    """A layer whose own error its precision does not explain. cause: in words, "" where it cannot be told."""

    layer: str
    excess: float
    cause: str
    evidence: str


@dataclass(frozen=True)
class TargetDrift:
    """Every layer of one target beside the original, and those that are under suspicion, the worst first.

    notes: what could not be measured, and whether looking changed the answer.
    """

    target: str
    engine: str
    layers: tuple[Drift, ...]
    suspects: tuple[Suspect, ...]
    samples: int
    notes: tuple[str, ...] = ()

    @property
    def first(self) -> str | None:
        """The first layer, in the order of the model, where it leaves the original; None where it does not."""
        under = {suspect.layer for suspect in self.suspects}
        return next((row.layer for row in self.layers if row.layer in under), None)


@dataclass(frozen=True)
class Verdict:
    """The answer to one question, never a bare truth value.

    more: how many samples more would decide an inconclusive one, if that can be told.
    """

    check: str
    target: str
    state: State
    asked: str
    found: str
    more: int | None = None

    def __bool__(self) -> bool:
        raise TypeError("a Verdict has four states; compare .state")
