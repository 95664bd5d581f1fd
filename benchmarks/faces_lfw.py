"""Pretrained MobileFaceNets through int8, export, timing and verification on real LFW faces.

    python benchmarks/faces_lfw.py --data DIR [--recipe recipes/faces-lfw-prelu.yaml] [--json FILE] [--quick]

DIR is laid out as the recipe's comments say. Accuracy: 5 folds of LFW pairs, embedding = f(x) + f(mirrored x). TAR at
FAR 1e-2 on the given pairs; at 1e-3 and 1e-4 with every cross-person pair as impostor. Cosine: to the original.
Intervals are 95 %, by bootstrap over people for accuracies and over interleaved blocks for ratios.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import claims

from edgesmith.pipeline.judge import Table
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import run_recipe
from edgesmith.results import Interval

ROOT = Path(__file__).parent.parent
PERCENT = ("accuracy", "tar@1e-2", "tar_all@1e-3", "tar_all@1e-4")
HEADER = (
    "target",
    "accuracy %",
    "TAR@1e-2",
    "TAR@1e-3 all",
    "TAR@1e-4 all",
    "cosine mean",
    "p1",
    "min",
    "p50 ms",
    "x eager",
)


def main() -> None:
    options = _options()
    overrides = [f"data.root={options.data}"]
    if options.quick:
        overrides += ["data.limit=2", "bench.blocks=4"]
    recipe = read_recipe(options.recipe, overrides)
    out = options.out or ROOT / "runs" / (recipe.name + ("-quick" if options.quick else ""))
    table = run_recipe(recipe, out, Trust(), print, command=f"benchmarks/faces_lfw.py --recipe {options.recipe}")
    rows = [row_of(name, table) for name in ("torch-fp32", *recipe.targets.required, *recipe.targets.built)]
    rows = list({row["target"]: row for row in rows}.values())
    print(markdown(rows))
    found = [] if options.quick else claims_of(recipe.name, table)
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "faces_lfw", rows, found)


def row_of(target: str, table: Table) -> dict[str, Any]:
    """Everything known about one target, from the report: fractions, milliseconds and intervals."""
    metrics = {a.metric: a for a in table.judgement.accuracies if a.target == target}
    timed = next((row for row in table.report["rows"] if row["target"] == target), {})
    row: dict[str, Any] = {"target": target, "state": timed.get("state"), "reason": timed.get("reason")}
    for name in PERCENT:
        if name in metrics:
            row[name] = _interval(metrics[name].estimate)
            row[f"{name} drop"] = _interval(metrics[name].drop)
    if "cosine" in metrics:
        row["cosine"] = {"value": metrics["cosine"].estimate.value, **metrics["cosine"].extra}
    return row | {key: timed.get(key) for key in ("p50", "p90", "p99", "speedup", "speedup_float", "size_bytes")}


def _interval(interval: Interval | None) -> dict[str, float | None] | None:
    return None if interval is None else {"value": interval.value, "low": interval.low, "high": interval.high}


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table README shows."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for row in rows:
        cells = [row["target"], *(_share(row.get(name)) for name in PERCENT), *_cosine(row.get("cosine"))]
        cells += [_number(row.get("p50"), 2), _number(row.get("speedup"), 1)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _share(cell: Mapping[str, float] | None) -> str:
    if not cell or cell["low"] is None:
        return "not measured"
    return f"{100 * cell['value']:.2f} [{100 * cell['low']:.2f}, {100 * cell['high']:.2f}]"


def _cosine(cell: Mapping[str, float] | None) -> tuple[str, str, str]:
    return tuple(f"{cell[key]:.4f}" for key in ("value", "p1", "min")) if cell else ("", "", "")  # type: ignore[return-value]


def _number(cell: Mapping[str, float] | None, digits: int) -> str:
    if not cell or "value" not in cell:
        return ""
    return f"{cell['value']:.{digits}f} [{cell['low']:.{digits}f}, {cell['high']:.{digits}f}]"


def claims_of(recipe: str, table: Table) -> list[claims.Claim]:
    """Hold every int8 target's drop of accuracy, in points, against its limit."""
    found = []
    for accuracy in table.judgement.accuracies:
        if accuracy.metric == "accuracy" and accuracy.target.endswith("int8") and accuracy.drop is not None:
            points = Interval(*(100 * end if end is not None else None for end in _ends(accuracy.drop)))  # type: ignore[arg-type]
            found.append(claims.make_claim("faces_lfw", f"{recipe} {accuracy.target} drop", points, accuracy.n))
    return found


def _ends(interval: Interval) -> tuple[float, float | None, float | None]:
    return interval.value, interval.low, interval.high


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lfw112/ and mobilefacenet/")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "faces-lfw.yaml")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--quick", action="store_true", help="two folds, few samples: no claims")
    return parser.parse_args()


if __name__ == "__main__":
    main()
