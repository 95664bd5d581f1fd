"""Whether a planted fault is named, in a layer or at the input, and nobody is accused where there is none.

python benchmarks/planted_faults.py [--seed N] [--cases N] [--controls N] [--part layers|inputs] [--json FILE]
    [--quick] [--work DIR] [--limit S] [--only MODEL]

A case is drawn by the seed: a network, a target (ONNX Runtime, OpenVINO, Core ML by our interpreter, float and int8), a
kind of fault (fault_kinds.py) and a layer. The fault is planted in the program that the exporter writes, and the file
is made by edgesmith's own exporter. The finder sees the original, the file with its record, and eight pictures; not
the kind, the layer or whether there is a fault. A hit is the layer's module path in the first place of the suspects.
Faults at the input (input_fault_kinds.py: colour order, mean and std, scale, layout) are a part of their own, scored
apart: a hit is the kind and the words for it, from the finder that `verify` asks; files with no fault, and files with
a fault in a layer, are put to it as well.
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
from input_fault_kinds import INPUT_KINDS, planted_at_input

from edgesmith import intervals, records
from edgesmith.artifact import Exported
from edgesmith.bench.feeds import run_all
from edgesmith.errors import EdgesmithError
from edgesmith.export import exporter
from edgesmith.graph.layers import Original
from edgesmith.graph.program import Program
from edgesmith.pipeline.produce import build_targets
from edgesmith.results import Interval
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import target
from edgesmith.verify.drift import atlas
from edgesmith.verify.preprocessing import InputFault, find_input_fault

TARGETS = ("ort-fp32", "ort-int8", "openvino-fp32", "openvino-int8", "coreml-fp16", "coreml-int8")
INT8 = tuple(name for name in TARGETS if name.endswith("int8"))
WRITERS = ("onnx", "openvino", "coreml")
PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "openvino", "coremltools", "timm")
CONTROL = "control"
PARTS = ("layers", "inputs")
INPUTS_FROM = 10_000  # numbers of the cases of the input part
INPUT_CASES, INPUT_OTHERS = 54, 18  # faults; controls, and as many faults in a layer


@dataclass(frozen=True)
class Case:
    """number: also the seed of what is drawn inside. kind: "control" for none. part: which finder is asked."""

    number: int
    model: str
    target: str
    kind: str
    part: str = "layers"


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


def drawn_inputs(seed: int) -> list[Case]:
    """The part of the input: every kind as often as every other, controls, and faults in a layer."""
    rng = np.random.default_rng([seed, 1])
    pairs = [(model, name) for model in MODELS for name in TARGETS]
    kinds = list(INPUT_KINDS)
    faults = [(*pairs[int(rng.integers(len(pairs)))], kinds[n % len(kinds)]) for n in range(INPUT_CASES)]
    others = [(*pairs[n % len(pairs)], CONTROL) for n in range(INPUT_OTHERS)]
    layer = [(case.model, case.target, case.kind) for case in drawn(seed, INPUT_OTHERS, 0)]
    return [Case(INPUTS_FROM + n, *drawn, part="inputs") for n, drawn in enumerate([*faults, *others, *layer])]


@contextmanager
def sabotaged(case: Case, rng: np.random.Generator, net: Prepared) -> Iterator[tuple[Program, dict[str, str]]]:
    """The exporters write a program with the fault; yields what to export, and what was planted once it is."""
    kind, said, program = KINDS.get(case.kind), dict[str, str](), net.program

    def spoil(found: Program) -> Program:
        assert kind is not None
        spoilt, said["layer"], said["done"] = planted(found, kind, int(rng.integers(len(kind.sites(found)))), rng)
        return spoilt

    def preparing(given: Program, plan: Any, row: Any) -> Program:
        lowered = exporter.prepared(given, plan, row)
        if case.kind in INPUT_KINDS:
            fault = INPUT_KINDS[case.kind](net.preprocessing, rng)
            said["input"], said["done"] = fault.kind, fault.words
            return planted_at_input(lowered, fault)
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
    with sabotaged(case, rng, net) as (program, said):
        made = build_targets(program, net.source, (case.target,), net.plans, folder, lambda text: None)
    row = {**asdict(case), **said}
    if case.target not in made.exported:
        return {**row, "state": "not exported", "why": made.absent[case.target].reason}
    started = time.perf_counter()
    found = (searched if case.part == "layers" else asked)(row, made.exported[case.target], net)
    return {**row, **found, "seconds": time.perf_counter() - started}


def searched(row: dict[str, Any], made: Exported, net: Prepared) -> dict[str, Any]:
    """What the atlas says of a file."""
    (found,) = atlas(net.program, {row["target"]: made}, net.feed)
    layers = [suspect.layer for suspect in found.suspects]
    return {
        "state": "accused" if layers else "clean",
        "suspects": [asdict(suspect) for suspect in found.suspects[:3]],
        "hit": bool(layers) and layers[0] == row.get("layer"),
        "largest": max((one.excess or 0.0 for one in found.layers), default=0.0),
        "rank": layers.index(row["layer"]) + 1 if row.get("layer") in layers else None,
    }


def asked(row: dict[str, Any], made: Exported, net: Prepared) -> dict[str, Any]:
    """What the finder of input faults says of a file."""
    reference = Original(net.program, net.feed).outputs()
    with RUNTIMES.get(made.runtime).open(made, RunOptions()) as session:
        fault = find_input_fault(
            lambda feed: run_all(session.run, made, feed, "tensors", 8),
            reference,
            net.pictures,
            net.preprocessing,
            made.inputs[0].name,
        )
    return {"state": "accused" if fault else "clean", "fault": fault and asdict(fault), "hit": _named(row, fault)}


def _named(row: dict[str, Any], fault: InputFault | None) -> bool:
    """Whether the kind and the words are right; what the samples cannot tell apart is joined by "or"."""
    return fault is not None and fault.kind == row.get("input") and row["done"] in fault.expects.split(" or ")


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
    head = f"{row['number']:5} {row['model']:18} {row['target']:14} {row['kind']:22}"
    if "seconds" not in row:
        return f"{head} {row['state']}: {row.get('why', '')[:160]}"
    if row["part"] == "inputs":
        named = f"{row['fault']['kind']}: {row['fault']['expects']}" if row["fault"] else "nothing"
        innocent = row["kind"] not in INPUT_KINDS
    else:
        first = row["suspects"][0] if row["suspects"] else None
        named = f"{first['layer']} ({first['excess']:.3g}, {first['cause'] or 'cause not told'})" if first else "nobody"
        named, innocent = f"{named}; largest {row['largest']:.2g}", row["kind"] == CONTROL
    word = ("ok" if row["state"] == "clean" else "FALSE") if innocent else ("hit" if row["hit"] else "MISS")
    truth = f" planted in {row.get('layer', 'the input')}: {row['done']}" if "done" in row else ""
    return f"{head} {word:5} {named}; {row['seconds']:.1f} s{truth}"


def judged(rows: list[dict[str, Any]], part: str) -> list[claims.Claim]:
    """The claims of one part: hits, false accusations, time."""
    measured = [row for row in rows if "seconds" in row and row["part"] == part]
    controls = [row for row in measured if row["kind"] == CONTROL]
    cases = [row for row in measured if row["kind"] in (KINDS if part == "layers" else INPUT_KINDS)]
    hits = sum(bool(row["hit"]) for row in cases)
    slowest = max(float(row["seconds"]) for row in measured)
    share = (Interval(hits / len(cases), hits / len(cases), None), len(cases))
    time_s = (Interval(slowest, slowest, slowest), len(measured))
    if part == "layers":
        found = {
            "layer faults in first place": share,
            "accusations in controls": _accused(controls),
            "slowest case": time_s,
        }
    else:
        layers = [row for row in measured if row["kind"] in KINDS]
        found = {
            "input faults named": share,
            "inputs accused in controls": _accused(controls),
            "inputs accused for a layer": _accused(layers),
            "slowest input case": time_s,
        }
    print(f"{part}: 95 % interval of the share of hits: {intervals.wilson(hits, len(cases))}")
    return [claims.make_claim("planted_faults", name, interval, n) for name, (interval, n) in found.items()]


def _accused(rows: list[dict[str, Any]]) -> tuple[Interval, int]:
    count = sum(row["state"] == "accused" for row in rows)
    return Interval(count, None, count), len(rows)


def chosen(part: str, options: argparse.Namespace) -> list[Case]:
    """The cases of a part; of a quick call a few of one network."""
    layers = part == "layers"
    cases = drawn(options.seed, options.cases, options.controls) if layers else drawn_inputs(options.seed)
    if not options.quick:
        return cases
    of_one = [case for case in cases if case.model == MODELS[0]]
    controls, others = ([c for c in of_one if (c.kind == CONTROL) is wanted] for wanted in (True, False))
    return [*controls[:2], *others[:3]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=110)
    parser.add_argument("--controls", type=int, default=36)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="three cases and two controls a part; claims nothing")
    parser.add_argument("--work", type=Path, help="where finished cases are kept")
    parser.add_argument("--part", choices=PARTS, help="one part alone; both without it")
    parser.add_argument("--only", choices=MODELS, help="one network in this call")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which this call ends")
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = [part for part in PARTS if options.part in (None, part)]
    cases = [case for part in parts for case in chosen(part, options)]
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        now = [case for case in cases if options.only in (None, case.model)]
        rows = run(now, options.seed, work, options.limit)
    print(f"{len(rows)} of {len(cases)} cases are there")
    if len(rows) == len(cases) and not options.quick:
        made = [claim for part in parts for claim in judged(rows, part)]
        print(*claims.table(made), sep="\n")
        if options.json:
            claims.write_json(options.json, "planted_faults", rows, made, PACKAGES)


if __name__ == "__main__":
    main()
