"""Our int8 artefacts against PyTorch, float runtimes and other quantizers, interleaved in one run a net.

    python benchmarks/int8_speed.py [--data DIR] [--nets mobilefacenet,...] [--json FILE] [--quick]

Nets: MobileFaceNet with PReLU (112x96) and ReLU6 (112x112; DIR of recipes/faces-lfw.yaml has their trained weights,
without it they are random), mobilenetv3_small, resnet18 and efficientnet_lite0 of timm (224x224, random weights). Batch
1, one thread, blocks in turn, ten times in fresh processes. "rewritten": the other quantizer got the float net with all
our rewrites; where the graphs are the same a tie is the honest result. Share of the compute floor: multiply-accumulates
at 64 a cycle (VNNI on 256-bit units) and 3.6 GHz, against p50.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
from int8_artifacts import INT8, Maker, make, nncf_quantizer, ort_quantizer, ours, rewritten

from edgesmith.artifact import Exported
from edgesmith.bench.job import Schedule
from edgesmith.bench.run import measure
from edgesmith.data import faces
from edgesmith.devices.local import LocalDevice
from edgesmith.graph.macs import layer_macs
from edgesmith.graph.rewrite import fold_batchnorm
from edgesmith.intervals import percentile_of_blocks, ratio_of_medians
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.sources import Inputs, Source, Trust, model_from_spec
from edgesmith.pipeline.training import calibration_inputs, resolved
from edgesmith.results import BenchRecord, Interval

ROOT = Path(__file__).parent.parent
FACES = {"mobilefacenet-relu6": "faces-lfw", "mobilefacenet-prelu": "faces-lfw-prelu"}
TIMM = {"mobilenetv3": "mobilenetv3_small_100", "resnet18": "resnet18", "efficientnet": "efficientnet_lite0"}
NETS = (*FACES, *TIMM)
PEAK_MACS = 64 * 3.6e9
# Where a session's memory lies is drawn when it loads and is worth some percent: it is drawn anew this often.
STARTS = 10
RUNTIME = {"ort-int8": "ort", "openvino-int8": "openvino"}
Row = dict[str, Any]


def main() -> None:
    options = _options()
    rows: list[Row] = []
    found: list[claims.Claim] = []
    with tempfile.TemporaryDirectory() as folder:
        for net in options.nets.split(","):
            own, held = one_net(net, options.data, options.work or Path(folder), options.quick)
            rows, found = rows + own, found + held
            print("\n".join(f"{row['net']:20} {row['artifact']:38} {row['p50_ms']:8.3f} ms" for row in own))
    found = [] if options.quick else found
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "int8_speed", rows, found)


def one_net(net: str, data: Path | None, work: Path, quick: bool) -> tuple[list[Row], list[claims.Claim]]:
    source, calibration = net_of(net, data, 8 if quick else 300)
    maker = make(source, calibration, work / net, adaround=net in FACES and data is not None)
    exported = ours(maker) | peers(maker, net)
    schedule = Schedule(2, 3, 2) if quick else Schedule(20 // STARTS, 20, 20)
    feed = {maker.input_name: np.concatenate(maker.batches(8))}
    times: dict[str, list[list[float]]] = {name: [] for name in exported}
    for _ in range(1 if quick else STARTS):
        record = measure(LocalDevice(), work / net / "job", exported, feed, schedule, "torch-fp32", timeout_s=1800)
        for name, own in times.items():
            own += blocks(record, name)
    macs = sum(layer_macs(fold_batchnorm(maker.program)).values())
    rows = [row_of(net, name, own, macs) for name, own in times.items() if own]
    return rows, [claim for claim in claims_of(net, times, macs) if claim is not None]


def net_of(net: str, data: Path | None, samples: int) -> tuple[Source, Inputs]:
    """A net and its calibration samples: faces of people in no pair where there are any, else made-up inputs."""
    if net in FACES:
        recipe = read_recipe(ROOT / "recipes" / f"{FACES[net]}.yaml", [f"data.root={data or '.'}"])
        spec = dict(recipe.model) if data else {k: v for k, v in recipe.model.items() if k != "weights"}
        source = model_from_spec(resolved(spec, recipe.data), Trust())
        if data:
            root = {k: v for k, v in recipe.data.items() if k != "use"}
            split = faces.load(source.preprocessing, **{**root, "limit": 2})
            return source, calibration_inputs(split, samples)
    else:
        source = model_from_spec({"use": "timm", "model": TIMM[net]}, Trust())
    spec_ = source.inputs[0]
    shape = (min(samples, 32), *spec_.shape[1:])
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return replace(source, preprocessing=None), Inputs({spec_.name: values}, False, "random")


def peers(maker: Maker, net: str) -> dict[str, Exported]:
    """What other quantizers make of the same net, bare and with our rewrites."""
    onnx, xml = (maker.folder / "ours" / name / f"model{end}" for name, end in _FLOAT_FILES)
    made = {
        "ort quantizer": ort_quantizer(maker, onnx, "ort-own"),
        "ort quantizer, rewritten": ort_quantizer(maker, rewritten(maker, "ort", "ort-fp32"), "ort-rewritten"),
        "nncf MIXED (openvino)": nncf_quantizer(maker, xml, "nncf-mixed", "MIXED"),
        "nncf PERFORMANCE (openvino)": nncf_quantizer(maker, xml, "nncf-performance", "PERFORMANCE"),
        "nncf MIXED (ort)": nncf_quantizer(maker, onnx, "nncf-mixed-onnx", "MIXED"),
    }
    again = rewritten(maker, "openvino", "openvino-fp32")
    made["nncf MIXED, rewritten (openvino)"] = nncf_quantizer(maker, again, "nncf-rewritten", "MIXED")
    made["nncf PERFORMANCE, rewritten (openvino)"] = nncf_quantizer(maker, again, "nncf-rewritten-p", "PERFORMANCE")
    if net == "mobilefacenet-prelu":
        made["ort quantizer, Max form"] = ort_quantizer(maker, rewritten(maker, "openvino", "ort-fp32"), "ort-max")
    return made


_FLOAT_FILES = (("ort-fp32", ".onnx"), ("openvino-fp32", ".xml"))


def blocks(record: BenchRecord, name: str) -> list[list[float]]:
    row = next(m for m in record.measurements if m.target == name)
    if row.latency is None:
        print(f"{name}: {row.state}: {row.reason}")
        return []
    return [list(block) for block in row.latency.blocks_ms]


def row_of(net: str, name: str, times: list[list[float]], macs: int) -> Row:
    p50 = percentile_of_blocks(times, 0.5)
    share = macs / PEAK_MACS * 1000 / p50.value if name in INT8 else None
    ends = {"low": p50.low, "high": p50.high}
    return {"net": net, "artifact": name, "p50_ms": p50.value, **ends, "macs": macs, "share_of_floor": share}


def claims_of(net: str, times: dict[str, list[list[float]]], macs: int) -> list[claims.Claim | None]:
    """The limits of this net: the best other quantizer with our rewrites, and what is said of single ones."""
    found = []
    for name, runtime in RUNTIME.items():
        others = [other for other in times if "rewritten" in other and _on(other) == runtime and times[other]]
        if others and times[name]:
            best = min(others, key=lambda other: float(np.median(np.concatenate(times[other]))))
            found.append(_claim(f"{net} {name} over the best other, rewritten", times[name], times[best]))
    single = {
        "mobilefacenet-prelu": {"ort-int8": "ort quantizer, Max form", "openvino-int8": "nncf MIXED (openvino)"},
        "mobilefacenet-relu6": {"openvino-int8": "nncf MIXED (openvino)"},
    }
    for name, other in single.get(net, {}).items():
        if times[name] and times.get(other):
            found.append(_claim(f"{net} {name} over {other}", times[name], times[other]))
    for name in INT8 if net in FACES else ():
        if times[name]:
            p50 = percentile_of_blocks(times[name], 0.5)
            ends = [None if end is None else macs / PEAK_MACS * 1000 / end for end in (p50.high, p50.low)]
            share = Interval(macs / PEAK_MACS * 1000 / p50.value, *ends)
            found.append(
                claims.make_claim("int8_speed", f"{net} {name} share of the floor", share, p50_count(times, name))
            )
    return found


def p50_count(times: dict[str, list[list[float]]], name: str) -> int:
    return sum(map(len, times[name]))


def _on(other: str) -> str:
    return "openvino" if "(openvino)" in other else "ort"


def _claim(text: str, top: list[list[float]], bottom: list[list[float]]) -> claims.Claim:
    return claims.make_claim("int8_speed", text, ratio_of_medians(top, bottom), sum(map(len, top)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with lfw112/ and mobilefacenet/")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--work", type=Path, help="folder in which artefacts are kept")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="few runs: no claims")
    return parser.parse_args()


if __name__ == "__main__":
    main()
