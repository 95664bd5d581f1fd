"""Wall time of the quickstart recipe from nothing, as `make demo` runs it, and of its second call; or of the tests.

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
from typing import Any

import claims

from edgesmith.results import Interval

ROOT = Path(__file__).parent.parent
CALL = ["-c", "from edgesmith.cli.app import main; main()"]
Row = dict[str, Any]
QUICK = ["--set", "train.0.fit.epochs=1", "--set", "train.1.fit.epochs=1", "--set", "limits={}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tests", action="store_true", help="time the whole test suite instead")
    parser.add_argument("--quick", action="store_true", help="one epoch a stage: no claims")
    options = parser.parse_args()
    rows, targets = test_suite() if options.tests else quickstart(QUICK if options.quick else [])
    for row in rows:
        print(f"{row['call']}: {row['wall_s']:.1f} s, exit code {row['exit_code']}")
    found = [] if options.quick else [claim(f"wall time of {row['call']}", row) for row in rows]
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "quickstart", [*rows, *targets], found)


def quickstart(overrides: list[str]) -> tuple[list[Row], list[Row]]:
    """The recipe twice in one new folder, and the rows of its report."""
    with tempfile.TemporaryDirectory() as out:
        words = [*CALL, "run", str(ROOT / "recipes" / "quickstart.yaml"), "--out", out, *overrides]
        rows = [timed("the quickstart", words), timed("its second call", words)]
        return rows, json.loads((Path(out) / "report.json").read_text())["rows"]


def test_suite() -> tuple[list[Row], list[Row]]:
    """All tests, as `.ci/run` calls them."""
    return [timed("the tests", ["-m", "pytest", "-q"])], []


def timed(call: str, words: list[str]) -> Row:
    """One call in a process of its own."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "STRICT": "1"}, check=False
    )
    return {"call": call, "wall_s": time.monotonic() - started, "exit_code": done.returncode}


def claim(name: str, row: Row) -> claims.Claim:
    """A statement about this one run; a run that failed took for ever."""
    seconds = float(row["wall_s"]) if row["exit_code"] == 0 else math.inf
    return claims.make_claim("quickstart", name, Interval(seconds, seconds, seconds), 1)


if __name__ == "__main__":
    main()
