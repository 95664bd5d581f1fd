"""What the interpreter of Core ML programs costs: MobileFaceNet fp32 through it and through PyTorch eager.

python benchmarks/mil_speed.py [--json FILE] [--quick]

The two take turns, a block of runs each, with one thread and the same picture; the ratio is that of the medians of
neighbouring blocks, with a 95 % bootstrap interval over the pairs. The package has the batch normalisations in the
weights of the convolutions, as coremltools leaves them; PyTorch runs the module as it is, and beside it, without a
limit, the module folded in the same way. Load time (read, decode, plan) and the memory that it adds are printed.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from mil_networks import converted, folded, mobilefacenet

from edgesmith.bench.child import peak_bytes
from edgesmith.results import Interval
from edgesmith.runtimes import mil


def blocks(runs: dict[str, Callable[[], Any]], count: int, size: int) -> dict[str, np.ndarray]:
    """Milliseconds of a run, a block a row, by turns. Shape: (count, size)."""
    found: dict[str, list[list[float]]] = {name: [] for name in runs}
    for _ in range(count):
        for name, run in runs.items():
            run()
            samples = []
            for _ in range(size):
                started = time.perf_counter()
                run()
                samples.append(1e3 * (time.perf_counter() - started))
            found[name].append(samples)
    return {name: np.array(rows) for name, rows in found.items()}


def ratio(ours: np.ndarray, theirs: np.ndarray) -> Interval:
    """Of the medians of neighbouring blocks: their median, and a bootstrap interval."""
    ratios = np.median(ours, 1) / np.median(theirs, 1)
    drawn = np.random.default_rng(0).integers(0, len(ratios), (2000, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], 1), (0.025, 0.975))
    return Interval(float(np.median(ratios)), float(low), float(high))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="three short blocks")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    network, x = mobilefacenet(), mobilefacenet().sample(0)
    fused = folded(network).module
    with tempfile.TemporaryDirectory() as folder:
        converted(network, Path(folder))
        before, started = peak_bytes(), time.perf_counter()
        model = mil.load(Path(folder) / "model.mlpackage")
        load_ms, added = 1e3 * (time.perf_counter() - started), peak_bytes() - before
    fed = {"x": x.numpy()}

    def eager(module: torch.nn.Module) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode():
                return module(x)

        return run

    runs = {"interpreter": lambda: model(**fed), "PyTorch eager": eager(network.module), "folded": eager(fused)}
    times = blocks(runs, *((3, 5) if options.quick else (20, 20)))
    rows: list[dict[str, Any]] = [{"what": n, "p50_ms": float(np.median(t)), "n": t.size} for n, t in times.items()]
    rows += [{"what": "load", "ms": load_ms}, {"what": "memory that loading adds", "bytes": added}]
    found = ratio(times["interpreter"], times["PyTorch eager"])
    rows.append({"what": "over folded", "ratio": ratio(times["interpreter"], times["folded"]).value})
    print(*rows, f"over PyTorch eager {found.value:.3f} ({found.low:.3f} to {found.high:.3f})", sep="\n")
    if options.json and not options.quick:
        name = "MobileFaceNet fp32 over PyTorch eager"
        claim = claims.make_claim("mil_speed", name, found, len(times["interpreter"]))
        print(*claims.table([claim]), sep="\n")
        claims.write_json(options.json, "mil_speed", rows, [claim], ("numpy", "torch", "coremltools"))


if __name__ == "__main__":
    main()
