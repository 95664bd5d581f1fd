"""Do our 95 % intervals cover the truth in 95 of 100 runs, with independent, autocorrelated and bursty samples?

    python benchmarks/coverage.py [--json FILE] [--quick]

Simulated runs (benchmarks/simulated_noise.py) of ten blocks of twenty, and of twenty blocks of twenty: p50, p90, the
ratio of two candidates that take blocks by turns, and the drop of an accuracy on paired answers. Beside p50 and p90 of
blocks stands the interval which takes all samples as independent. Claims are about the kinds of noise in NOISES; the
harder ones are rows only. Coverage comes with Wilson's interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import claims
import numpy as np
from simulated_noise import HARDER, NOISES, Noise

from edgesmith import intervals
from edgesmith.results import Interval

RUNS, QUICK_RUNS = 2000, 50
SHAPES = ((10, 20), (20, 20))
# Samples, share lost, share won.
DROPS = ((300, 0.03, 0.02), (1000, 0.02, 0.01), (3000, 0.005, 0.004), (500, 0.05, 0.0))
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="50 runs: no claims")
    options = parser.parse_args()
    runs = QUICK_RUNS if options.quick else RUNS
    rows = []
    for noise in (*NOISES, *HARDER):
        for blocks, size in SHAPES:
            for row in of_noise(noise, runs, blocks, size):
                rows.append(row)
                print(line(row), flush=True)
    rows += [of_drop(*drop, runs) for drop in DROPS]
    print("\n".join(line(row) for row in rows[-len(DROPS) :]))
    found = [] if options.quick else claims_of(rows)
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "coverage", rows, found, ("numpy",))


def of_noise(noise: Noise, runs: int, blocks: int, size: int) -> list[Row]:
    """Coverage of percentiles and of the ratio under one kind of noise."""
    drawn, rows = noise.interleaved(runs, 1, blocks, size), []
    about = {"noise": noise.name, "blocks": blocks, "block_size": size}
    for name, q in (("p50", 0.5), ("p90", 0.9)):
        truth = noise.quantile(q)
        of_blocks = [intervals.percentile_of_blocks(run[0], q) for run in drawn]
        independent = [intervals.percentile(run[0].ravel(), q) for run in drawn]
        rows.append({**about, "statistic": name, **coverage(of_blocks, truth)})
        rows.append({**about, "statistic": f"{name}, samples taken as independent", **coverage(independent, truth)})
    ratios = [intervals.ratio_of_medians(run[0], run[1], seed, draws=200) for seed, run in enumerate(drawn)]
    return [*rows, {**about, "statistic": "ratio", **coverage(ratios, 1.0)}]


def of_drop(n: int, lost: float, won: float, runs: int) -> Row:
    """Coverage of the drop of an accuracy: right and wrong answers of two models on the same samples."""
    rng, found = np.random.default_rng(3), []
    for seed in range(runs):
        dice = rng.random(n)
        reference, candidate = ~((dice >= lost) & (dice < lost + won)), dice >= lost
        found.append(intervals.paired_drop(reference, candidate, seed))
    about = {"noise": f"{n} pairs, {lost:.1%} lost, {won:.1%} won", "blocks": None, "block_size": None}
    return {**about, "statistic": "drop", **coverage(found, lost - won)}


def coverage(found: Sequence[Interval], truth: float) -> Row:
    """The share of intervals that hold the truth, in percent, and the share that is open at the top."""
    inside = sum((i.low is None or i.low <= truth) and (i.high is None or truth <= i.high) for i in found)
    share, n = intervals.wilson(inside, len(found)), len(found)
    ends = [100 * end for end in (share.low, share.high) if end is not None]
    return {"coverage": 100 * share.value, "interval": ends, "open": sum(i.high is None for i in found) / n, "n": n}


def claims_of(rows: Sequence[Row]) -> list[claims.Claim]:
    """The least and the largest coverage of each statistic over the kinds of noise that are claimed."""
    hard, found = {noise.name for noise in HARDER}, []
    for statistic in ("p50", "p90", "ratio", "drop"):
        own = [row for row in rows if row["statistic"] == statistic and row["noise"] not in hard]
        for word, pick in (("least", min), ("largest", max)):
            row = _extreme(own, pick)
            at = Interval(row["coverage"], *row["interval"])
            found.append(claims.make_claim("coverage", f"{word} coverage of {statistic}", at, row["n"]))
    return found


def _extreme(rows: Sequence[Row], pick: Callable[..., Row]) -> Row:
    return pick(rows, key=lambda row: row["coverage"])


def line(row: Row) -> str:
    shape = f"{row['blocks']} x {row['block_size']}" if row["blocks"] else ""
    low, high = row["interval"]
    shown = f"{row['coverage']:.1f} % ({low:.1f} to {high:.1f}), {row['open']:.0%} open"
    return f"{row['noise']:32} {shape:8} {row['statistic']:36} {shown}"


if __name__ == "__main__":
    main()
