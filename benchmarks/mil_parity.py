"""Whether the interpreter of Core ML programs computes what PyTorch does: twelve and more networks, converted here.

python benchmarks/mil_parity.py [--json FILE] [--quick] [--only NAME,...]

Every network has random weights and small inputs, is converted to an fp32 ML Program by coremltools, and run by
edgesmith.runtimes.mil in the mode fp32. Both are compared with the same network in float64: the ratio of the root mean
square errors says how much further from the truth the interpreter is than PyTorch's own float32, with a 95 % bootstrap
interval over the inputs. Every compressed form of MobileFaceNet is held in the same way against the network with the
weights that coremltools itself makes of that form.
"""

from __future__ import annotations

import argparse
import copy
import logging
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from mil_networks import COMPRESSED, NETWORKS, Form, Network, converted, mobilefacenet, with_weights_of

from edgesmith.results import Interval
from edgesmith.runtimes import mil

PACKAGES = ("numpy", "torch", "coremltools", "timm")


def errors(network: Network, folder: Path, inputs: int) -> np.ndarray:
    """The root mean square error of PyTorch and of the interpreter, an input a row. Shape: (inputs, 2)."""
    float64 = copy.deepcopy(network.module).double()
    model, found = mil.load(folder / "model.mlpackage"), []
    for seed in range(inputs):
        x = network.sample(seed)
        with torch.inference_mode():
            truth = float64(x.double() if x.is_floating_point() else x).numpy()
            torch_answer = network.module(x).numpy()
        fed = x.numpy() if x.is_floating_point() else x.numpy().astype(np.int32)
        (ours,) = model(x=fed).values()
        found.append([rms(answer - truth) for answer in (torch_answer, ours.reshape(truth.shape))])
    return np.array(found)


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.square(difference.astype(np.float64)).mean()))


def row(name: str, found: np.ndarray, seconds: float) -> dict[str, Any]:
    pooled = np.sqrt(np.square(found).mean(0))
    drawn = np.random.default_rng(0).integers(0, len(found), (1000, len(found)))
    means = np.square(found)[drawn].mean(1)
    low, high = np.quantile(np.sqrt(means[:, 1] / means[:, 0]), (0.025, 0.975))
    ends = {"ratio": float(pooled[1] / pooled[0]), "low": float(low), "high": float(high)}
    return {"network": name, "torch_rms": float(pooled[0]), "mil_rms": float(pooled[1]), **ends, "seconds": seconds}


def networks(names: list[str], inputs: int) -> list[dict[str, Any]]:
    rows = []
    for name in names:
        network, started = NETWORKS[name](), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            converted(network, Path(folder))
            found = errors(network, Path(folder), inputs)
        rows.append(row(name, found, time.perf_counter() - started))
        print(show(rows[-1]), flush=True)
    return rows


def compressed(forms: Mapping[str, tuple[Form, bool]], inputs: int) -> list[dict[str, Any]]:
    network, rows = mobilefacenet(), []
    with tempfile.TemporaryDirectory() as folder:
        packages = {ios18: converted(network, Path(folder), ios18) for ios18 in {one for _, one in forms.values()}}
    for name, (form, ios18) in forms.items():
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            package = form(packages[ios18])
            package.save(str(Path(folder) / "model.mlpackage"))
            found = errors(with_weights_of(network, package), Path(folder), inputs)
        rows.append(row(f"MobileFaceNet {name}", found, time.perf_counter() - started))
        print(show(rows[-1]), flush=True)
    return rows


def show(one: Mapping[str, Any]) -> str:
    ends = f"{one['ratio']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
    return f"{one['network']:32} torch {one['torch_rms']:.3e}  interpreter {one['mil_rms']:.3e}  ratio {ends}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="two networks, one compressed form, two inputs")
    parser.add_argument("--only", help="networks, or forms of compression, by name")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    only = options.only.split(",") if options.only else None
    names = [name for name in NETWORKS if only is None or name in only]
    forms = {name: form for name, form in COMPRESSED.items() if only is None or name in only}
    if options.quick and only is None:
        names, forms = names[:2], dict(list(forms.items())[:1])
    inputs = 2 if options.quick else 24
    rows = networks(names, inputs) + compressed(forms, inputs)
    worst = max(rows, key=lambda one: float(one["high"]))
    print(f"worst: {worst['network']} {worst['high']:.2f}")
    if options.json and not options.quick and only is None:
        found = [("a network", rows[: len(names)]), ("a compressed form", rows[len(names) :])]
        made = []
        for what, own in found:
            last = max(own, key=lambda one: float(one["high"]))
            interval = Interval(last["ratio"], last["low"], last["high"])
            made.append(claims.make_claim("mil_parity", f"error over PyTorch, the worst of {what}", interval, inputs))
        print(*claims.table(made), sep="\n")
        claims.write_json(options.json, "mil_parity", rows, made, PACKAGES)


if __name__ == "__main__":
    main()
