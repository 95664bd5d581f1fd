"""Whether the drift atlas names the layer in which a fault was planted, and accuses nobody where there is none.

python benchmarks/planted_faults.py [--seed N] [--cases N] [--controls N] [--json FILE] [--quick]
    [--work DIR] [--limit S] [--only MODEL]

A case is drawn by the seed: a network, a target (ONNX Runtime, OpenVINO, Core ML by our interpreter, float and int8), a
kind of fault (fault_kinds.py) and a layer. The fault is planted in the program that the exporter writes, and the file
is made by edgesmith's own exporter. The finder sees the original, the file with its record, and eight pictures; not
the kind, the layer or whether there is a fault. A hit is the layer's module path in the first place of the suspects.
Batch norms are folded, so that a convolution and its batch norm are one operator of the file: its path is the batch
norm's, in the record and here. With --work DIR finished cases are kept and a second call goes on; --limit S ends the
call after that many seconds.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from fault_kinds import KINDS, planted
from fault_nets import MODELS, Prepared, prepared

from edgesmith import intervals, records
from edgesmith.errors import EdgesmithError
from edgesmith.export import exporter
from edgesmith.graph.program import Program
from edgesmith.pipeline.produce import build_targets
from edgesmith.results import Interval
from edgesmith.targets import target
from edgesmith.verify.drift import atlas

TARGETS = ("ort-fp32", "ort-int8", "openvino-fp32", "openvino-int8", "coreml-fp16", "coreml-int8")
INT8 = tuple(name for name in TARGETS if name.endswith("int8"))
WRITERS = ("onnx", "openvino", "coreml")
PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "openvino", "coremltools", "timm")
CONTROL = "control"


@dataclass(frozen=True)
class Case:
    """number: also the seed of what is drawn inside. kind: "control" for none."""

    number: int
    model: str
    target: str
    kind: str


def drawn(seed: int, count: int, controls: int) -> list[Case]:
    """Controls over every network and target in turn, then cases by the seed."""
    rng = np.random.default_rng(seed)
    pairs = [(model, name) for model in MODELS for name in TARGETS]
    found = [Case(n, *pairs[n % len(pairs)], CONTROL) for n in range(controls)]
    while len(found) < controls + count:
        model, name, kind = str(rng.choice(MODELS)), str(rng.choice(TARGETS)), str(rng.choice(list(KINDS)))
        suits = target(name).precision in KINDS[kind].precisions
        has = (kind == "wrong PReLU slope") <= (model == "mobilefacenet")
        has = has and (kind == "wrong pooling") <= (model == "resnet18")
        if suits and has:
            found.append(Case(len(found), model, name, kind))
    return found


@contextmanager
def sabotaged(case: Case, rng: np.random.Generator, program: Program) -> Iterator[tuple[Program, dict[str, str]]]:
    """The exporters write a program with the fault; yields what to export, and what was planted once it is."""
    kind, said = KINDS.get(case.kind), dict[str, str]()

    def spoil(found: Program) -> Program:
        assert kind is not None
        spoilt, said["layer"], said["done"] = planted(found, kind, int(rng.integers(len(kind.sites(found)))), rng)
        return spoilt

    def preparing(given: Program, plan: Any, row: Any) -> Program:
        lowered = exporter.prepared(given, plan, row)
        return lowered if kind is None or kind.before else spoil(lowered)

    modules = [importlib.import_module(f"edgesmith.export.{name}") for name in WRITERS]
    for module in modules:
        module.prepared = preparing  # type: ignore[attr-defined]
    try:
        yield (spoil(program) if kind is not None and kind.before else program), said
    finally:
        for module in modules:
            module.prepared = exporter.prepared  # type: ignore[attr-defined]


def tried(case: Case, net: Prepared, folder: Path) -> dict[str, Any]:
    """Plant, export and find; the row of the result."""
    rng = np.random.default_rng(1000 + case.number)
    with sabotaged(case, rng, net.program) as (program, said):
        made = build_targets(program, net.source, (case.target,), net.plans, folder, lambda text: None)
    if case.target not in made.exported:
        return {**asdict(case), **said, "state": "not exported", "why": made.absent[case.target].reason}
    started = time.perf_counter()
    (found,) = atlas(net.program, dict(made.exported), net.feed)
    seconds = time.perf_counter() - started
    layers = [suspect.layer for suspect in found.suspects]
    return {
        **asdict(case),
        **said,
        "state": "accused" if layers else "clean",
        "suspects": [asdict(suspect) for suspect in found.suspects[:3]],
        "hit": bool(layers) and layers[0] == said.get("layer"),
        "largest": max((row.excess or 0.0 for row in found.layers), default=0.0),
        "rank": layers.index(said["layer"]) + 1 if said.get("layer") in layers else None,
        "seconds": seconds,
    }


def run(cases: list[Case], seed: int, work: Path, limit_s: float) -> list[dict[str, Any]]:
    """Every case that is not in `work` yet, network by network, until the time is over."""
    started, rows = time.perf_counter(), []
    for model in MODELS:
        own = [case for case in cases if case.model == model]
        left = [case for case in own if not _file(work, case).exists()]
        net = prepared(model, seed, INT8) if left and time.perf_counter() - started < limit_s else None
        for case in left:
            if net is None or time.perf_counter() - started > limit_s:
                break
            with tempfile.TemporaryDirectory() as folder:
                try:
                    row = tried(case, net, Path(folder))
                except EdgesmithError as error:
                    row = {**asdict(case), "state": "not measured", "why": str(error)}
            records.save(_file(work, case), row)
            print(show(row), flush=True)
        rows += [records.read(_file(work, case)) for case in own if _file(work, case).exists()]
    return sorted(rows, key=lambda row: int(row["number"]))


def _file(work: Path, case: Case) -> Path:
    return work / f"case-{case.number:03d}.json"


def show(row: dict[str, Any]) -> str:
    """One case on a line."""
    head = f"{row['number']:3} {row['model']:18} {row['target']:14} {row['kind']:22}"
    if "suspects" not in row:
        return f"{head} {row['state']}: {row.get('why', '')[:160]}"
    first = row["suspects"][0] if row["suspects"] else None
    named = f"{first['layer']} ({first['excess']:.3g}, {first['cause'] or 'cause not told'})" if first else "nobody"
    word = ("ok" if not first else "FALSE") if row["kind"] == CONTROL else ("hit" if row["hit"] else "MISS")
    truth = f" planted in {row['layer']}: {row['done']}" if "layer" in row else ""
    return f"{head} {word:5} {named}; largest {row['largest']:.2g}; {row['seconds']:.1f} s{truth}"


def judged(rows: list[dict[str, Any]]) -> list[claims.Claim]:
    """The claims: hits, false accusations, time."""
    measured = [row for row in rows if "suspects" in row]
    cases = [row for row in measured if row["kind"] != CONTROL]
    controls = [row for row in measured if row["kind"] == CONTROL]
    hits = sum(bool(row["hit"]) for row in cases)
    accused = sum(bool(row["suspects"]) for row in controls)
    slowest = max(float(row["seconds"]) for row in measured)
    found = [
        ("layer faults in first place", Interval(hits / len(cases), hits / len(cases), None), len(cases)),
        ("accusations in controls", Interval(accused, None, accused), len(controls)),
        ("slowest case", Interval(slowest, slowest, slowest), len(measured)),
    ]
    print(f"95 % interval of the share of hits: {intervals.wilson(hits, len(cases))}")
    return [claims.make_claim("planted_faults", name, interval, n) for name, interval, n in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=110)
    parser.add_argument("--controls", type=int, default=36)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="three cases and two controls; claims nothing")
    parser.add_argument("--work", type=Path, help="where finished cases are kept")
    parser.add_argument("--only", choices=MODELS, help="one network in this call")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which this call ends")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = drawn(options.seed, options.cases, options.controls)
    if options.quick:
        cases = [*cases[:2], *[case for case in cases[options.controls :] if case.model == cases[0].model][:3]]
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        now = [case for case in cases if options.only in (None, case.model)]
        rows = run(now, options.seed, work, options.limit)
    print(f"{len(rows)} of {len(cases)} cases are there")
    if len(rows) == len(cases) and not options.quick:
        made = judged(rows)
        print(*claims.table(made), sep="\n")
        if options.json:
            claims.write_json(options.json, "planted_faults", rows, made, PACKAGES)


if __name__ == "__main__":
    main()
