"""`edgesmith bench --fleet`: every file on every device of a fleet, each result kept as it arrives."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgesmith import records
from edgesmith.artifact import Exported, content_key, output_folder
from edgesmith.bench.run import measure
from edgesmith.devices.dispatch import FleetJob
from edgesmith.devices.entry import DeviceEntry, open_device
from edgesmith.devices.fleet import run_fleet
from edgesmith.errors import DamagedArtifact
from edgesmith.pipeline.fleet_file import Fleet
from edgesmith.pipeline.foreign import Say, Sweep, bench_table, prepared
from edgesmith.pipeline.sources import Inputs
from edgesmith.results import BenchRecord


@dataclass(frozen=True)
class Parcel:
    """All that a node needs for one file, its contents included; several devices share one.

    files: candidate -> what it is, and its files by their place below its root.
    """

    files: Mapping[str, tuple[Exported, Mapping[str, bytes]]]
    inputs: Inputs
    sweep: Sweep
    reference: str
    timeout_s: float


@dataclass(frozen=True)
class Kept:
    """One result on disk. key: of everything that decides it, so that the same job is not measured again."""

    device: str
    file: str
    key: str
    measured: tuple[BenchRecord, ...]


@dataclass(frozen=True)
class FleetTable:
    """Results, jobs without one and why ("device: file" -> reason), and the rows a person reads."""

    kept: tuple[Kept, ...]
    given_up: Mapping[str, str]
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    out: Path = field(default=Path(), metadata={"json": False})


def bench_fleet(
    files: Sequence[Path], inputs: str, sweep: Sweep, reference: str | None, fleet: Fleet, out: Path, say: Say
) -> FleetTable:
    """Measure every file on every device, one job a device at a time; write a file a result into `out`.

    A file is timed alone, or in interleaved blocks beside `reference` where one is named. What lies in `out` from
    before and is the same job is taken from there. Raises: UsageError, MissingPackage, MissingResource.
    """
    output_folder(out)
    with tempfile.TemporaryDirectory() as work:
        found, feed, _ = prepared(files, inputs, reference, Path(work))
        parcels = {name: _parcel(name, found, feed, sweep, reference, fleet.timeout_s) for name in found}
    keys = {name: _key(parcel) for name, parcel in parcels.items()}
    pairs = [(device, name) for device in fleet.devices for name in parcels]
    kept = {pair: one for pair in pairs if (one := _from_before(_place(out, *pair), keys[pair[1]])) is not None}
    for device, name in kept:
        say(f"{name} on {device}: already measured")
    open_ = {_words(*pair): pair for pair in pairs if pair not in kept}

    def keep(job: FleetJob, device: str, measured: list[BenchRecord]) -> None:
        _, name = open_[job.key]
        one = Kept(device, name, keys[name], tuple(measured))
        records.save(_place(out, device, name), one)
        kept[device, name] = one

    jobs = [FleetJob(key, (device,)) for key, (device, _) in open_.items()]
    payloads = {key: parcels[name] for key, (_, name) in open_.items()}
    given_up = run_fleet(jobs, fleet.devices, measured_there, payloads, keep, fleet.limits, fleet.cluster, say)
    ordered = tuple(kept[pair] for pair in pairs if pair in kept)
    return _table(FleetTable(ordered, {key: given_up[key] for key in open_ if key in given_up}, out=out))


def measured_there(entry: DeviceEntry, parcel: Parcel) -> list[BenchRecord]:
    """What a node does: unpack, and measure on its device while nobody else does."""
    with tempfile.TemporaryDirectory() as folder:
        candidates = {}
        for number, (name, (exported, contents)) in enumerate(parcel.files.items()):
            root = Path(folder) / str(number)
            for place, content in contents.items():
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                (root / place).write_bytes(content)
            candidates[name] = replace(exported, root=root)
        device, job = open_device(entry, alone=True), Path(folder) / "job"
        feed, images = parcel.inputs.arrays, parcel.inputs.images
        return [
            measure(
                device, job, candidates, feed, schedule, parcel.reference, threads, parcel.timeout_s, images=images,
                rebuild=parcel.sweep.rebuild,
            )
            for schedule, threads in parcel.sweep
        ]  # fmt: skip


def _parcel(
    name: str, found: Mapping[str, Exported], feed: Inputs, sweep: Sweep, reference: str | None, timeout_s: float
) -> Parcel:
    names = dict.fromkeys((reference, name) if reference else (name,))
    files = {one: (found[one], _contents(found[one].root)) for one in names}
    few = replace(feed, arrays={key: array[:32] for key, array in feed.arrays.items()})  # all that a bench rotates over
    return Parcel(files, few, sweep, reference or name, timeout_s)


def _contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _key(parcel: Parcel) -> str:
    from hashlib import sha256

    files = {
        name: {place: sha256(c).hexdigest() for place, c in own.items()} for name, (_, own) in parcel.files.items()
    }
    arrays = {name: sha256(array.tobytes()).hexdigest() for name, array in parcel.inputs.arrays.items()}
    return content_key(files, arrays, parcel.sweep, parcel.reference)


def _words(device: str, name: str) -> str:
    return f"{name} on {device}"


def _place(out: Path, device: str, name: str) -> Path:
    plain = re.sub(r"[^\w.-]+", "_", name)
    return out / f"{device}--{plain}-{content_key(name)[:6]}.json"


def _from_before(file: Path, key: str) -> Kept | None:
    """A result of the same job; what cannot be read is measured again."""
    if not file.exists():
        return None
    try:
        one = records.load(Kept, file)
    except DamagedArtifact:
        return None
    return one if one.key == key else None


def _table(found: FleetTable) -> FleetTable:
    header: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = []
    for one in found.kept:
        table = bench_table(one.measured)
        header = ("device", *table.header)
        rows += [(one.device, *row) for row in table.rows]
    header = header or ("device", "file", "", "", "reason")
    for job, reason in found.given_up.items():
        name, _, device = job.rpartition(" on ")
        rows.append((device, name, "", "", "not_measured", *[""] * (len(header) - 6), reason))
    return replace(found, header=header, rows=tuple(rows))
