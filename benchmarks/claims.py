"""What a benchmark claims: a limit from bars.yaml, an estimate with its interval, and whether the bound holds it.

A benchmark file builds its rows, makes a claim for each limit, prints a table and, with --json FILE, calls write_json.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.results import Interval

BARS = Path(__file__).with_name("bars.yaml")
RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Bar:
    """One limit of bars.yaml."""

    kind: Literal["bar", "aim"]
    metric: str
    unit: str
    op: Literal["<=", ">="]
    limit: float


@dataclass(frozen=True)
class Claim:
    """A limit and what was found; `holds` is computed from the bound, never given."""

    claim: str
    kind: Literal["bar", "aim"]
    metric: str
    unit: str
    op: Literal["<=", ">="]
    limit: float
    estimate: float
    low: float | None
    high: float | None
    n: int
    holds: bool


def read_bars(path: Path = BARS) -> dict[str, dict[str, Bar]]:
    """All limits: benchmark -> claim -> bar. Raises: DamagedArtifact for an entry that is not one."""
    data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    bars = {name: {c: records.from_json(Bar, bar) for c, bar in (own or {}).items()} for name, own in data.items()}
    for name, own in bars.items():
        for claim, bar in own.items():
            if bar.kind not in ("bar", "aim") or bar.op not in ("<=", ">="):
                raise DamagedArtifact(f"read {path}", f"{name}: {claim}: {bar}", "use kind bar or aim, op <= or >=")
    return bars


def holds(op: str, limit: float, low: float | None, high: float | None, n: int) -> bool:
    """Whether the bound of the interval is on the right side; an open bound or no sample holds nothing."""
    bound = high if op == "<=" else low
    if bound is None or n < 1:
        return False
    return bound <= limit if op == "<=" else bound >= limit


def make_claim(benchmark: str, claim: str, found: Interval, n: int, bars: Path = BARS) -> Claim:
    """Hold what was found against its limit in bars.yaml.

    A statement about one run alone ("this run took 93 s") has that value as both bounds and n = 1.
    Raises: UsageError when bars.yaml has no such claim.
    """
    bar = read_bars(bars).get(benchmark, {}).get(claim)
    if bar is None:
        raise UsageError(
            f"claim {claim!r} of {benchmark}", f"no such limit in {bars.name}", "write the limit there first"
        )
    true = holds(bar.op, bar.limit, found.low, found.high, n)
    return Claim(claim, bar.kind, bar.metric, bar.unit, bar.op, bar.limit, found.value, found.low, found.high, n, true)


def machine() -> dict[str, Any]:
    """The hardware and the system the numbers belong to, and the day they were taken."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        names = [line.split(":", 1)[1].strip() for line in listing.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions of packages; those that are absent are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_json(
    path: Path,
    benchmark: str,
    rows: Sequence[Mapping[str, Any]],
    claims: Sequence[Claim],
    packages: Sequence[str] = ("numpy", "torch", "onnxruntime", "openvino"),
    command: str = "",
) -> None:
    """Write the result file of a benchmark. Raises: MissingResource when the folder cannot be written."""
    record = {
        "benchmark": benchmark,
        "command": command or " ".join([Path(sys.executable).name, *(_anywhere(word) for word in sys.argv)]),
        "machine": machine(),
        "versions": versions(packages),
        "rows": rows,
        "claims": claims,
    }
    if not path.parent.is_dir():
        raise MissingResource(f"write {path}", "no such folder", "make the folder first")
    records.save(path, record)


def _anywhere(word: str) -> str:
    """A word of the command line as another machine would type it: an absolute path is only its name."""
    return Path(word).name if Path(word).is_absolute() else word


def table(claims: Sequence[Claim]) -> list[str]:
    """One line a claim, as people read it."""
    lines = []
    for c in claims:
        ends = " to ".join("unbounded" if end is None else f"{end:.4g}" for end in (c.low, c.high))
        word = "holds" if c.holds else "missed" if c.kind == "aim" else "FAILS"
        lines.append(f"{word:6} {c.kind} {c.claim}: {c.estimate:.4g} {c.unit} ({ends}), {c.op} {c.limit:g}, n = {c.n}")
    return lines
