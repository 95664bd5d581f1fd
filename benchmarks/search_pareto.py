"""Accuracy against measured latency: the network that recipes/search-edge.yaml finds beside a hand-made one.

    python benchmarks/search_pareto.py --data cifar10.npz [--work DIR] [--json FILE] [--quick]

Reduced to 5,000 training pictures of CIFAR-10 and 4,000 others to judge by. The search has a latency budget that is
measured on this machine; the hand-made net is MobileFaceNet at 32x32 in three widths, with the same activation. All
are trained alike (cross-entropy, 15 epochs, one seed), quantized for the target of the search and timed in one
interleaved job on one thread. One seed and one budget: descriptive, no claim about searches in general. Steps are
those of a recipe run in --work, so that a run that was cut goes on.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import claims
import numpy as np
import yaml

from edgesmith import intervals
from edgesmith.bench.job import Schedule
from edgesmith.bench.run import measure
from edgesmith.devices.local import LocalDevice
from edgesmith.metrics import top1
from edgesmith.models.count import count_parameters
from edgesmith.pipeline import training
from edgesmith.pipeline.judge import run_outputs
from edgesmith.pipeline.produce import build_targets, calibrate, capture_source, plan_targets
from edgesmith.pipeline.recipe import Recipe, read_recipe
from edgesmith.pipeline.sources import Source, Trust
from edgesmith.pipeline.steps import Run, train_recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "search-edge.yaml"
WIDTHS = (0.25, 0.5, 1.0)
TRAIN, JUDGE, EPOCHS, TRIES = 5000, 4000, 15, 2
FOUND = "found"
QUICK = [
    "search.latency.networks=5",
    "search.latency.target=ort-fp32",
    "search.latency.budget_ms=10",
    "search.fit.epochs=2",
]
Row = dict[str, Any]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        recipe = reduced(options.data, work, options.quick)
        train_recipe(recipe, work, Trust(), print)
        rows = judged(recipe, work)
    for row in rows:
        low, high = row["accuracy_interval"]
        told = f"{100 * row['accuracy']:5.2f} % ({100 * low:.2f} to {100 * high:.2f})"
        print(f"{row['net']:20} {told} at {row['p50_ms']:.4f} ms, {row['parameters']:,} parameters, {row['place']}")
    if options.json:
        claims.write_json(options.json, "search_pareto", rows, [])


def reduced(data: Path | None, work: Path, quick: bool) -> Recipe:
    """The recipe with the same plain training for the network found and for the hand-made ones."""
    raw = yaml.safe_load(RECIPE.read_text())
    epochs = 1 if quick else EPOCHS
    fit = {"epochs": epochs, "batch": 64, "lr": 0.1, "augment": "flip+shift", "channels_last": True, "threads": 1}
    hand = {"use": "mobilefacenet", "size": 32, "act": "relu", "classes": 10, "embedding": 128}
    stages = [{"name": f"hand-{w:g}", "model": {**hand, "width": w}} for w in WIDTHS] + [{"name": FOUND}]
    raw["train"] = [{**stage, "method": {"use": "plain"}, "fit": fit} for stage in stages]
    raw["search"]["latency"]["tries"] = TRIES
    raw["data"] = {"use": "digits"} if quick else _data(data, work)
    (work / "recipe.yaml").write_text(yaml.safe_dump(raw))
    return read_recipe(work / "recipe.yaml", QUICK if quick else [])


def _data(file: Path | None, work: Path) -> dict[str, Any]:
    if file is None:
        raise SystemExit("give --data FILE.npz with x_train, y_train, x_test and y_test")
    with np.load(file, allow_pickle=False) as arrays:
        image = np.concatenate([arrays["x_train"][:TRAIN], arrays["x_test"][:JUDGE]])
        labels = np.concatenate([arrays["y_train"][:TRAIN], arrays["y_test"][:JUDGE]]).astype(np.int64)
    np.savez(work / "pictures.npz", image=image, labels=labels)
    return {"use": "arrays", "source": str(work / "pictures.npz"), "holdout": JUDGE / (TRAIN + JUDGE)}


def judged(recipe: Recipe, work: Path) -> list[Row]:
    """Each net as an artefact of the search's target: its accuracy, and its latency beside the others'."""
    run = Run(recipe, work, Trust(), print)
    goal = recipe.search.latency  # type: ignore[union-attr]
    target, exported, parameters = goal.target, {}, {}  # type: ignore[union-attr]
    for stage in run.found.train:
        module = training.deployable(run.found, stage, run.folders(), Trust())
        source = Source(stage.name, module, run.source.inputs, run.source.preprocessing, outputs=run.source.outputs)
        program = capture_source(source)
        ranges = calibrate(program, training.calibration_inputs(run.data, 300), source.preprocessing, 50)
        plans = plan_targets(program, ranges, (target,))
        bundle = build_targets(program, source, (target,), plans, work / "judged" / stage.name, print)
        exported[stage.name], parameters[stage.name] = bundle.exported[target], count_parameters(module)
    inputs, device = training.evaluation_inputs(run.data), LocalDevice()
    outputs = run_outputs(exported, inputs, work / "judged" / "outputs", device, print)
    schedule = Schedule(blocks=30, block_size=20)
    record = measure(device, work / "judged" / "job", exported, inputs.arrays, schedule, FOUND, images=inputs.images)
    rows = []
    for timed in record.measurements:
        assert timed.latency is not None and inputs.labels is not None, timed.reason
        p50 = intervals.percentile_of_blocks(timed.latency.blocks_ms, 0.5)
        hits = top1(next(iter(outputs.arrays[timed.target].values())), inputs.labels)
        share = intervals.wilson(round(hits * inputs.count), inputs.count)
        row = {"net": timed.target, "target": target, "accuracy": hits, "accuracy_interval": (share.low, share.high)}
        row |= {"p50_ms": p50.value, "p50_interval": (p50.low, p50.high), "parameters": parameters[timed.target]}
        rows.append({**row, "budget_ms": goal.budget_ms, "sentinel_drift": record.sentinel_drift})  # type: ignore[union-attr]
    return [{**row, "place": place_of(row, rows)} for row in rows]


def place_of(row: Row, rows: list[Row]) -> str:
    """Whether another net is at least as accurate and as fast (by the estimates)."""
    better = [
        other["net"]
        for other in rows
        if other is not row and other["accuracy"] >= row["accuracy"] and other["p50_ms"] <= row["p50_ms"]
    ]
    return f"dominated by {', '.join(better)}" if better else "on the front"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="npz with x_train (N, 32, 32, 3) uint8, y_train, x_test, y_test")
    parser.add_argument("--work", type=Path, help="folder that keeps the steps")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="digits, one epoch: to try it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
