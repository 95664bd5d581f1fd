"""Wall time of the quickstart recipe from nothing, as `make demo` runs it, of its second call, and of the tests.

python benchmarks/quickstart.py [--tests] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import claims

from edgesmith.results import Interval

ROOT = Path(__file__).parent.parent
CALL = ["-c", "from edgesmith.cli.app import main; main()"]
QUICK = ["--set", "train.0.fit.epochs=1", "--set", "train.1.fit.epochs=1", "--set", "limits={}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tests", action="store_true", help="time the whole test suite too")
    parser.add_argument("--quick", action="store_true", help="one epoch a stage: no claims")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        words = ["run", str(ROOT / "recipes" / "quickstart.yaml"), "--out", out, *(QUICK if options.quick else [])]
        rows = [timed("first call", [*CALL, *words]), timed("second call", [*CALL, *words])]
        report = json.loads((Path(out) / "report.json").read_text())
    for row in rows:
        print(f"{row['call']}: {row['wall_s']:.1f} s, exit code {row['exit_code']}")
    if options.tests:
        rows.append(timed("tests", ["-m", "pytest", "-q"]))
        print(f"tests: {rows[-1]['wall_s']:.1f} s, exit code {rows[-1]['exit_code']}")
    names = ("wall time of the quickstart", "wall time of its second call", "wall time of the tests")
    found = [] if options.quick else [claim(name, row) for name, row in zip(names, rows)]
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "quickstart", [*rows, *report["rows"]], found)


def timed(call: str, words: list[str]) -> dict[str, str | float | int]:
    """One call in a process of its own."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "STRICT": "1"}, check=False
    )
    return {"call": call, "wall_s": time.monotonic() - started, "exit_code": done.returncode}


def claim(name: str, row: dict[str, str | float | int]) -> claims.Claim:
    """A statement about this one run; a run that failed took for ever."""
    seconds = float(row["wall_s"]) if row["exit_code"] == 0 else math.inf
    return claims.make_claim("quickstart", name, Interval(seconds, seconds, seconds), 1)


if __name__ == "__main__":
    main()
