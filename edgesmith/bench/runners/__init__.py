"""Native programs that time a model where no Python is: one JSON file each, with its argv and how to read its output.

argv: words with {program}, {model}, {threads}, {runs}, {warmup} and {shape} ([width,height,channels] of each input) in
them. hint: what to look at first when an output does not parse.
latency, load, first: a pattern whose group `value` is a time, and `ms` that one of its units has; a group `count`
says how many runs the time is of. statistic: what `latency` is of the runs of one invocation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesmith import records
from edgesmith.errors import DamagedArtifact, EngineFailed, UsageError

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Reading:
    """Where a time stands in an output."""

    pattern: str
    ms: float


@dataclass(frozen=True)
class Tool:
    """One native program."""

    engine: str
    argv: tuple[str, ...]
    statistic: str
    latency: Reading
    load: Reading | None = None
    first: Reading | None = None
    version: str = ""
    hint: str = ""

    def command(self, **words: str) -> list[str]:
        """Its argv for one invocation; each word stays one argument, whatever is in it."""
        return [_filled(word, words) for word in self.argv]

    def read(self, output: str) -> Mapping[str, float]:
        """latency_ms of one run, and load_ms and first_ms where it says them. Raises: EngineFailed."""
        latency = _time(self.latency, output)
        if latency is None:
            last = " | ".join(output.strip().splitlines()[-3:])[:300]
            todo = "see that program and runner belong together in the device file"
            todo += f"; {self.hint}" if self.hint else ""
            raise EngineFailed(f"read the output of {self.engine}", f"it does not parse: {last or 'nothing'}", todo)
        more = {"load_ms": self.load, "first_ms": self.first}
        times = {name: _time(reading, output) for name, reading in more.items() if reading is not None}
        return {"latency_ms": latency, **{name: value for name, value in times.items() if value is not None}}


class Runners:
    """The tools by name; a file is read when it is asked for."""

    kind = "runner"

    def names(self) -> Sequence[str]:
        """All names, sorted."""
        return tuple(sorted(path.stem for path in _HERE.glob("*.json")))

    def get(self, name: str) -> Tool:
        """One tool. Raises: UsageError, DamagedArtifact."""
        if name not in self.names():
            raise UsageError(f"runner {name!r}", "no such name", f"choose one of: {', '.join(self.names())}")
        return records.from_json(Tool, json.loads((_HERE / f"{name}.json").read_text()))


RUNNERS = Runners()


def _filled(word: str, words: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: words[match[1]], word)


def _time(reading: Reading, output: str) -> float | None:
    """Milliseconds of one run; of several places the last one, which is behind any warm-up."""
    found = list(re.finditer(reading.pattern, output, re.M))
    if not found:
        return None
    try:
        count = int(found[-1].groupdict().get("count") or 1)
        value = float(found[-1]["value"]) * reading.ms / count
    except (ValueError, ZeroDivisionError, IndexError) as error:
        raise DamagedArtifact(f"read {found[-1][0]!r}", f"{error}", "run it again") from error
    return value if value >= 0 else None
