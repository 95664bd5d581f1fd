"""How well do profiled operators of some families of networks predict the latency of another family?

    python benchmarks/predict_latency.py [--work DIR] [--json FILE] [--quick]

Networks of edgesmith and timm with random weights, batch 1, one thread, float. Their p50 is measured one after
another, so what the machine does in these minutes is part of the error; their operators under the runtime's profiler.
Each family is then predicted from the others alone (edgesmith/bench/latency_model.py): one law for a kind of operator,
no knob. Operators and sizes of a network come from the runtime's own graph, its times are never used for itself. Beside
it stands a line through MACs alone, by the same protocol. Artefacts and times stay in --work, so that a run that was
cut goes on. Intervals of shares are Wilson's.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np

from edgesmith import intervals, records
from edgesmith.artifact import Exported, load_exported
from edgesmith.bench.job import Schedule
from edgesmith.bench.latency_model import Kernel, LeftOut, ProfiledNetwork, fit, leave_one_family_out, predict
from edgesmith.bench.operator_table import profiled_network
from edgesmith.bench.run import measure
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EdgesmithError
from edgesmith.pipeline.produce import build_targets, capture_source
from edgesmith.pipeline.sources import Trust, model_from_spec
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import random_feed

TARGETS = ("ort-fp32", "openvino-fp32")
CLOSE = 0.10
FAMILIES = {
    "mobilefacenet": [{"use": "mobilefacenet", "act": act} for act in ("prelu", "relu6")],
    "iresnet": [{"use": "iresnet", "depth": 18}],
    "mobilenetv2": ["mobilenetv2_050", "mobilenetv2_100", "mobilenetv2_140"],
    "mobilenetv3": ["mobilenetv3_small_100", "mobilenetv3_large_100"],
    "efficientnet": ["efficientnet_lite0", "efficientnet_b0"],
    "mnasnet": ["mnasnet_100", "semnasnet_100", "spnasnet_100", "fbnetc_100"],
    "lcnet": ["lcnet_050", "lcnet_100"],
    "tinynet": ["tinynet_a", "tinynet_c"],
    "resnet": ["resnet18", "resnet26", "resnet34", "resnet50"],
    "regnet": ["regnetx_002", "regnetx_004", "regnety_002"],
    "ghostnet": ["ghostnet_050", "ghostnet_100"],
    "densenet": ["densenet121"],
    "repvgg": ["repvgg_a0"],
    "vovnet": ["ese_vovnet19b_dw"],
    "dla": ["dla46_c", "dla34"],
    "convnext": ["convnext_atto", "convnext_femto"],
    "vit": ["vit_tiny_patch16_224", "deit_tiny_patch16_224"],
    "mobilevit": ["mobilevit_xxs"],
}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help="folder in which artefacts and times are kept")
    parser.add_argument("--quick", action="store_true", help="four small networks: no claims")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        built = build_all(work, networks()[3:9:2] if options.quick else networks())
        for target in TARGETS:
            rows += one_target(target, built, work, Schedule(2, 3, 2) if options.quick else Schedule(6, 15, 8))
    summary = summaries(rows)
    print("\n".join(f"{r['target']:14} {r['method']:10} {r['network']:24} {describe(r)}" for r in rows))
    print(
        "\n".join(
            f"{s['target']:14} {s['method']:10} {s['within']} of {s['networks']} within 10 %, median error "
            f"{s['median_error']:.1%}, worst {s['worst_error']:.1%}"
            for s in summary
        )
    )
    found = [] if options.quick else [claim_of(s) for s in summary if s["method"] == "operators"]
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "predict_latency", [*summary, *rows], found)


def networks() -> list[tuple[str, str, dict[str, Any]]]:
    """Name, family and the recipe's words for each network."""
    found = []
    for family, members in FAMILIES.items():
        for member in members:
            spec = {"use": "timm", "model": member} if isinstance(member, str) else member
            name = member if isinstance(member, str) else "-".join(str(v) for v in member.values())
            found.append((name, family, spec))
    return found


def build_all(work: Path, wanted: Sequence[tuple[str, str, dict[str, Any]]]) -> dict[str, tuple[str, Path]]:
    """Export each network once: name -> family and folder. What does not export is said and left out."""
    built = {}
    for name, family, spec in wanted:
        folder = work / name
        if not all((folder / target / "artifact.json").exists() for target in TARGETS):
            try:
                source = replace(model_from_spec(dict(spec), Trust()), preprocessing=None)
                bundle = build_targets(capture_source(source), source, TARGETS, {}, folder, lambda text: None)
            except EdgesmithError as error:
                print(f"{name}: {error}")
                continue
            if bundle.absent:
                print(f"{name}: {bundle.absent}")
                continue
        print(f"{name}: built", flush=True)
        built[name] = (family, folder)
    return built


def one_target(target: str, built: dict[str, tuple[str, Path]], work: Path, schedule: Schedule) -> list[Row]:
    """Measure, profile, and predict each family from the others; in two ways."""
    exported = {name: load_exported(folder / target) for name, (_, folder) in built.items()}
    times = p50s(target, exported, work, schedule)
    table = [
        profiled_network(exported[name], name, built[name][0], times[name], RunOptions(threads=1)) for name in times
    ]
    records.save(work / f"table-{target}.json", {"networks": table})
    ends = bounds(table)
    return [row(target, "operators", one, ends.get(one.name)) for one in leave_one_family_out(table)] + [
        row(target, "MACs alone", one, None) for one in leave_one_family_out([as_one_kernel(one) for one in table])
    ]


def p50s(target: str, exported: dict[str, Exported], work: Path, schedule: Schedule) -> dict[str, float]:
    """The p50 of each network in ms, each in a job of its own: they take pictures of several sizes."""
    found = {}
    for name, made in exported.items():
        kept = work / f"time-{target}-{name}.json"
        if not kept.exists():
            record = measure(LocalDevice(), work / "job", {name: made}, random_feed(made.inputs), schedule, name)
            (timed,) = record.measurements
            if timed.latency is None:
                print(f"{name} on {target}: {timed.state}: {timed.reason}")
                continue
            p50 = float(np.median(timed.latency.samples_ms))
            records.save(kept, {"p50_ms": p50, "sentinel_drift": record.sentinel_drift})
        found[name] = float(records.read(kept)["p50_ms"])
    return found


def as_one_kernel(network: ProfiledNetwork) -> ProfiledNetwork:
    """The same network as one operator that has all its MACs: what a count of MACs would say."""
    whole = Kernel("network", sum(kernel.macs for kernel in network.kernels), 0.0)
    return replace(network, kernels=(whole,), profiled_ms=(network.p50_ms,))


def bounds(table: Sequence[ProfiledNetwork]) -> dict[str, tuple[float | None, float | None]]:
    """The 90 % interval of each network from the other families, as a user would get it."""
    found = {}
    for network in table:
        others = [one for one in table if one.family != network.family]
        predicted = predict(fit(others), network.kernels).p50_ms
        found[network.name] = (predicted.low, predicted.high)
    return found


def row(target: str, method: str, one: LeftOut, ends: tuple[float | None, float | None] | None) -> Row:
    low, high = ends or (None, None)
    return {
        "target": target,
        "method": method,
        "network": one.name,
        "family": one.family,
        "p50_ms": one.p50_ms,
        "predicted_ms": one.predicted.p50_ms.value,
        "error": one.error,
        "low_ms": low,
        "high_ms": high,
        "unseen": list(one.predicted.unseen),
    }


def describe(one: Row) -> str:
    ends = "" if one["low_ms"] is None else f" ({one['low_ms']:.2f} to {one['high_ms'] or float('inf'):.2f})"
    unseen = f"; unseen: {', '.join(one['unseen'])}" if one["unseen"] else ""
    return f"{one['p50_ms']:8.2f} ms, predicted {one['predicted_ms']:8.2f}{ends}, {one['error']:+.1%}{unseen}"


def summaries(rows: Sequence[Row]) -> list[Row]:
    """A line for a target and a method."""
    found = []
    for target, method in dict.fromkeys((r["target"], r["method"]) for r in rows):
        own = [r for r in rows if (r["target"], r["method"]) == (target, method)]
        errors = np.abs([r["error"] for r in own])
        held = [r for r in own if r["low_ms"] is not None]
        inside = sum(r["low_ms"] <= r["p50_ms"] <= (r["high_ms"] or float("inf")) for r in held)
        found.append(
            {
                "target": target,
                "method": method,
                "networks": len(own),
                "families": len({r["family"] for r in own}),
                "within": int((errors <= CLOSE).sum()),
                "median_error": float(np.median(errors)),
                "worst_error": float(errors.max()),
                "interval_holds": f"{inside} of {len(held)}" if held else "",
            }
        )
    return found


def claim_of(one: Row) -> claims.Claim:
    """The share within 10 % with Wilson's interval."""
    share = intervals.wilson(one["within"], one["networks"])
    name = f"{one['target']} networks of new families within 10 %"
    return claims.make_claim("predict_latency", name, share, one["networks"])


if __name__ == "__main__":
    main()
