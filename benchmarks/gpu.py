"""One network on a GPU by every runtime there is: torch eager and compiled, ONNX Runtime, TensorRT and TensorRT-RTX.

    python benchmarks/gpu.py [--nets mobilefacenet,resnet18] [--batches 1,8,64] [--work DIR] [--json FILE] [--quick]

fp32, fp16 and int8 where a runtime has it; "graph" captures the work of a shape in a CUDA graph. Candidates run in
processes of their own, in interleaved blocks. p50 is a call with its copies to and from the GPU, "on the GPU" the work
alone between two events. Cosine is to the PyTorch original on the CPU, the least over the samples. TensorRT-RTX has no
SM90 in its list: there its default engine is also tried without its record, as a finding. Weights and inputs are
random, so nothing is claimed of accuracy. What is absent is a row with its reason; without a GPU all are, and it exits
with 3.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch

import edgesmith
from edgesmith import metrics
from edgesmith.artifact import Exported, load_exported, save_exported
from edgesmith.bench.job import Schedule
from edgesmith.bench.run import infer, measure
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EdgesmithError, MissingResource
from edgesmith.intervals import percentile_of_blocks
from edgesmith.models import MODELS
from edgesmith.results import Measurement
from edgesmith.runtimes.cuda import Cuda

NETS = {
    "mobilefacenet": ("mobilefacenet", {}, (3, 112, 112)),
    "resnet18": ("timm", {"model": "resnet18"}, (3, 224, 224)),
}
FLOAT = ("fp32", "fp16")
BUILT = [f"{family}-{p}" for family in ("torch-cuda", "ort-cuda") for p in FLOAT]
BUILT += [f"{family}-{p}" for family in ("tensorrt", "tensorrt-rtx") for p in (*FLOAT, "int8")]
GRAPHS = [f"{name} graph" for name in BUILT if not name.startswith("tensorrt-rtx")]
COMPILED = [f"torch-compile-{p}" for p in FLOAT]
UNRECORDED = "tensorrt-rtx-fp32, its record ignored"
CANDIDATES = (*BUILT, *GRAPHS, *COMPILED)
SAMPLES = 64
PACKAGES = ("numpy", "torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx")
Row = dict[str, Any]


def main() -> int:
    options = _options()
    batches = [int(word) for word in options.batches.split(",")]
    nets = options.nets.split(",")
    try:
        capability = Cuda().capability()
    except MissingResource as error:
        rows = [absent(net, name, batch, error.found) for net in nets for batch in batches for name in CANDIDATES]
    else:
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for net in nets:
                rows += one_net(net, batches, capability, options.work or Path(folder), options.quick)
    print("\n".join(map(line, rows)))
    if options.json:
        claims.write_json(options.json, "gpu", rows, [], PACKAGES)
    return 0 if any(row["state"] == "measured" for row in rows) else MissingResource.exit_code


def one_net(net: str, batches: Sequence[int], capability: str, work: Path, quick: bool) -> list[Row]:
    """Every candidate with every batch; those of a batch are measured in one interleaved run."""
    exported, missing = artefacts(net, capability, work / net)
    inputs = samples(net, SAMPLES, seed=1)
    cosines = agreement(exported, inputs, work / net / "outputs")
    schedule = Schedule(2, 5, 5) if quick else Schedule(20, 50, 50)
    candidates = {name: one for name, one in exported.items() if name != "torch-fp32"}
    rows = []
    for batch in batches:
        rows += [absent(net, name, batch, reason) for name, reason in missing.items()]
        if candidates:
            asked = (LocalDevice(), work / net / "job", candidates, inputs, replace(schedule, batch=batch))
            record = measure(*asked, next(iter(candidates)), step_timeout_s=1800, graphs=GRAPHS)
            gpu = record.device.accelerator or ""
            rows += [row_of(net, m, batch, cosines.get(m.target), gpu, capability) for m in record.measurements]
    return rows


def artefacts(net: str, capability: str, work: Path) -> tuple[dict[str, Exported], dict[str, str]]:
    """Candidate -> its artefact, or why there is none. torch-fp32 is the original."""
    kind, settings, _ = NETS[net]
    torch.manual_seed(0)
    module, _card = MODELS.get(kind)(**settings)
    example = {"input": torch.from_numpy(samples(net, 1, seed=0)["input"])}
    calibration = [(torch.from_numpy(samples(net, 8, seed)["input"]),) for seed in (2, 3)]
    bundle = edgesmith.convert(module.eval(), example, BUILT, calibration, work / "made", dynamic_batch=True)
    found = dict(bundle.exported)
    missing = {name: one.reason for name, one in bundle.absent.items()}
    for name in GRAPHS:
        plain = name.removesuffix(" graph")
        if plain in found:
            found[name] = found[plain]
        else:
            missing[name] = missing[plain]
    for name in COMPILED:
        source = found[name.replace("compile", "cuda")]
        found[name] = changed(source, work / "more" / name, runtime="torch-compile", target=name)
    rtx = found.get("tensorrt-rtx-fp32")
    if rtx is not None and rtx.engines and capability not in rtx.engines[0].capabilities:
        found[UNRECORDED] = changed(rtx, work / "more" / "unrecorded", engines=(), source="")
    return found, missing


def changed(exported: Exported, folder: Path, **changes: Any) -> Exported:
    """A copy of an artefact whose record says something else."""
    shutil.copytree(exported.root, folder, dirs_exist_ok=True)
    save_exported(folder, replace(exported, root=folder, **changes), None)
    return load_exported(folder)


def samples(net: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """Random inputs."""
    shape = (count, *NETS[net][2])
    return {"input": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def agreement(exported: Mapping[str, Exported], inputs: dict[str, np.ndarray], folder: Path) -> dict[str, float]:
    """The least cosine of each candidate to the original over the first samples."""
    few = {name: array[:8] for name, array in inputs.items()}
    found = infer(LocalDevice(), folder, exported, few, images=False, batch=8)
    arrays = {name: next(iter(one.values())) for name, one in found.items() if not isinstance(one, Measurement)}
    original = arrays.pop("torch-fp32", None)
    if original is None:
        return {}
    return {name: float(metrics.cosine(array, original).min()) for name, array in arrays.items()}


def row_of(net: str, m: Measurement, batch: int, cosine: float | None, gpu: str, capability: str) -> Row:
    """One line of the table."""
    row: Row = {"net": net, "candidate": m.target, "batch": batch, "state": m.state, "reason": m.reason}
    row |= {"gpu": gpu, "capability": capability, "engine": m.engine, "version": m.version, "cosine": cosine}
    if m.latency is not None:
        p50 = percentile_of_blocks(m.latency.blocks_ms, 0.5)
        row |= {"p50_ms": p50.value, "low": p50.low, "high": p50.high, "rows_per_s": float(np.median(m.rows_per_s))}
        row["joules"] = [{"by": e.source, "net": e.net_joules, "reason": e.reason} for e in m.energy]
    if m.device_ms:
        row["gpu_p50_ms"] = float(np.median(m.device_ms))
    return row


def absent(net: str, name: str, batch: int, reason: str) -> Row:
    """The line of a candidate that there is not."""
    return {"net": net, "candidate": name, "batch": batch, "state": "not_measured", "reason": reason}


def line(row: Row) -> str:
    """A row as people read it."""
    head = f"{row['net']:14} {row['candidate']:38} {row['batch']:4} "
    if row["state"] != "measured":
        return f"{head}{row['state']}: {row['reason']}"
    alone = f"{row['gpu_p50_ms']:8.3f} on the GPU" if "gpu_p50_ms" in row else "not_measured on the GPU"
    cosine = "not_measured" if row["cosine"] is None else f"{row['cosine']:.5f}"
    return f"{head}{row['p50_ms']:8.3f} ms, {alone}, {row['rows_per_s']:9.0f} rows/s, cosine {cosine}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default=",".join(NETS), help=f"some of {', '.join(NETS)}")
    parser.add_argument("--batches", default="1,2,4,8,16,32,64")
    parser.add_argument("--work", type=Path, help="folder to keep artefacts in")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a short run to try it, which claims nothing")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgesmithError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
