"""The committed results say what their numbers say, against the limits of benchmarks/bars.yaml."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import claims
from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.results import Interval

KEYS = {"schema", "benchmark", "command", "machine", "versions", "rows", "claims"}


def faults(data: dict[str, Any], bars: dict[str, dict[str, claims.Bar]]) -> list[str]:
    """What is wrong with one result file."""
    found = [f"keys {sorted(set(data) ^ KEYS)}"] if set(data) != KEYS else []
    own = bars.get(data["benchmark"], {})
    for item in data["claims"]:
        claim = records.from_json(claims.Claim, item)
        bar = own.get(claim.claim)
        if bar != claims.Bar(claim.kind, claim.metric, claim.unit, claim.op, claim.limit):
            found.append(f"{claim.claim}: not the limit of bars.yaml ({bar})")
        if claim.holds != claims.holds(claim.op, claim.limit, claim.low, claim.high, claim.n):
            found.append(f"{claim.claim}: holds is {claim.holds}, its bound says otherwise")
    return found


def test_committed_results_hold_what_they_say():
    bars = claims.read_bars()
    found = {path.name: faults(records.read(path), bars) for path in sorted(claims.RESULTS.glob("*.json"))}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_bars_of_the_quickstart():
    bars = claims.read_bars()
    assert {(bar.kind, bar.metric, bar.op, bar.limit) for bar in bars["quickstart"].values()} == {
        ("bar", "wall_s", "<=", 240),
        ("bar", "wall_s", "<=", 10),
        ("bar", "wall_s", "<=", 720),
    }
    assert "faces_lfw" in bars


@pytest.mark.parametrize(
    ("op", "low", "high", "n", "expected"),
    [
        ("<=", 1.0, 2.0, 9, True),
        ("<=", 1.0, 2.1, 9, False),  # the estimate may hold; the bound does not
        (">=", 2.0, 9.0, 9, True),
        (">=", 1.9, 9.0, 9, False),
        ("<=", 1.0, None, 9, False),
        (">=", None, 9.0, 9, False),
        ("<=", 0.0, 0.0, 0, False),  # no sample holds nothing
        ("<=", math.nan, math.nan, 9, False),
    ],
)
def test_holds_looks_at_the_bound(op: str, low: float | None, high: float | None, n: int, expected: bool):
    assert claims.holds(op, 2.0, low, high, n) is expected


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    path = tmp_path / "bars.yaml"
    path.write_text('speed:\n  faster: {kind: aim, metric: ratio, unit: x, op: ">=", limit: 2}\nlater: {}\nempty:\n')
    return path


def test_a_result_file_passes_its_own_check_and_a_retouched_one_does_not(tmp_path: Path, bars: Path):
    claim = claims.make_claim("speed", "faster", Interval(2.5, 1.9, 3.0), 40, bars)
    assert claim.holds is False
    claims.write_json(tmp_path / "r.json", "speed", [{"target": "a", "ratio": 2.5}], [claim], ["numpy", "no-such-one"])
    data = json.loads((tmp_path / "r.json").read_text())
    limits = claims.read_bars(bars)
    assert faults(data, limits) == []
    assert list(data["versions"]) == ["numpy"] and data["machine"]["cores"] >= 1
    data["claims"][0]["holds"] = True
    assert "its bound says otherwise" in faults(data, limits)[0]
    data["claims"][0].update(holds=True, limit=1.5)
    assert "not the limit of bars.yaml" in faults(data, limits)[0]


def test_a_claim_without_a_limit_is_refused(bars: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="write the limit there first"):
        claims.make_claim("speed", "slower", Interval(1.0, 1.0, 1.0), 1, bars)
    with pytest.raises(MissingResource, match="make the folder first"):
        claims.write_json(tmp_path / "no" / "r.json", "speed", [], [])
    bars.write_text('speed:\n  faster: {kind: bar, metric: r, unit: x, op: "<", limit: 2}\n')
    with pytest.raises(DamagedArtifact, match="op <= or >="):
        claims.read_bars(bars)


def test_the_table_tells_a_missed_aim_from_a_broken_bar(bars: Path):
    aim = claims.make_claim("speed", "faster", Interval(2.5, 1.9, None), 40, bars)
    assert claims.table([aim]) == ["missed aim faster: 2.5 x (1.9 to unbounded), >= 2, n = 40"]
    one_run = claims.make_claim("quickstart", "wall time of the tests", Interval(93.0, 93.0, 93.0), 1)
    assert one_run.holds and claims.table([one_run])[0].startswith("holds  bar wall time of the tests: 93 s")
