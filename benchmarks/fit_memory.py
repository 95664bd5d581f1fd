"""Memory of a training epoch over data that grow tenfold: tar shards decoded once into a memory-mapped file.

python benchmarks/fit_memory.py [--json FILE] [--quick]

A child process for each size reads the shards (`data: {use: shards, cache: FILE.npy}`) and trains a linear net for an
epoch, so that it is reading that takes memory. Measured is its largest RssAnon, looked at every 5 ms from the reading
of the shards to the end of the epoch: all memory of its own (the interpreter and torch too), without pages of mapped
files, which the system takes back when it needs them. VmHWM, which counts those too, and the same without `cache`
stand beside it. Linux only. Sizes take turns; the interval is a bootstrap over the rounds.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import Any

import claims
import numpy as np
from PIL import Image

from edgesmith import intervals

ROOT = Path(__file__).parent.parent
MIB = 2**20
SIDE, SHARD = 112, 500
EVERY_S = 0.005
# What torch frees goes back to the system at once: the peak is what is alive, not what glibc keeps for later.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def write_shards(folder: Path, count: int) -> None:
    """train-*.tar with so many JPEG pictures of 10 classes, and a small judged-*.tar."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name, rows in (("train", range(count)), ("judged", range(20))):
        for start in range(0, len(rows), SHARD):
            with tarfile.open(folder / f"{name}-{start // SHARD:04d}.tar", "w") as tar:
                for row in rows[start : start + SHARD]:
                    picture = io.BytesIO()
                    small = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                    Image.fromarray(small).resize((SIDE, SIDE)).save(picture, "JPEG")
                    _add(tar, f"{row:08d}.jpg", picture.getvalue())
                    _add(tar, f"{row:08d}.cls", str(row % 10).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def status(name: str) -> int:
    """Bytes of one line of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE).group(1)) * 1024  # type: ignore[union-attr]


class Peak:
    """The largest RssAnon since this was made."""

    def __init__(self) -> None:
        self.bytes, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.done.wait(EVERY_S):
            self.bytes = max(self.bytes, status("RssAnon"))

    def end(self) -> int:
        self.done.set()
        self.thread.join()
        return max(self.bytes, status("RssAnon"))


def child(folder: Path, mapped: bool) -> dict[str, int]:
    """Read the data and train an epoch, in this process."""
    import torch

    from edgesmith.compress.fit import FitConfig, fit
    from edgesmith.compress.task import Plain
    from edgesmith.data.shards import load
    from edgesmith.data.split import Split
    from edgesmith.tensors import Preprocessing

    torch.set_num_threads(1)
    preprocessing = Preprocessing((SIDE, SIDE), (0.5,) * 3, (0.5,) * 3)
    config = FitConfig(epochs=1, batch=32, threads=1, accelerator="cpu")

    def epoch(split: Split) -> None:
        net = torch.nn.Sequential(torch.nn.AvgPool2d(14), torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
        with tempfile.TemporaryDirectory() as stage:
            fit(Plain(net), split, preprocessing, config, Path(stage))

    epoch(Split({"image": np.zeros((64, SIDE, SIDE, 3), np.uint8)}, np.zeros(64, np.int64)))  # what is imported late
    gc.collect()
    before, peak = status("RssAnon"), Peak()
    cache = str(folder / "pixels.npy") if mapped else ""
    data = load(preprocessing, folder, "train-*.tar", "judged-*.tar", calibration=100, cache=cache)
    epoch(data.train)  # type: ignore[arg-type]
    return {"samples": len(data.train), "before": before, "anon": peak.end(), "all": status("VmHWM")}  # type: ignore[arg-type]


def measured(folder: Path, mapped: bool) -> dict[str, Any]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **ALLOCATOR}
    words = [sys.executable, __file__, "--child", str(folder), "mapped" if mapped else "loaded"]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return {"mapped": mapped, **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="200 and 2,000 pictures, twice")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(Path(options.child[0]), options.child[1] == "mapped")))
        return
    once, rounds = (200, 2) if options.quick else (1000, 8)
    rows = []
    with tempfile.TemporaryDirectory() as top:
        folders = [Path(top) / "once", Path(top) / "tenfold"]
        for folder, count in zip(folders, (once, 10 * once)):
            write_shards(folder, count)
        for number in range(rounds + 2):  # in the first the file is made, in the last there is none
            for folder in folders:
                rows.append({"round": number, **measured(folder, number <= rounds)})
                print(show(rows[-1]), flush=True)
    counted = [row for row in rows if row["mapped"] and row["round"]]
    small, large = ([row["anon"] for row in counted if row["samples"] == size] for size in (once, 10 * once))
    growth = intervals.mean(100 * (np.array(large) / np.array(small) - 1))
    found = [claims.make_claim("fit_memory", "growth of the peak from 1x to 10x the data", growth, len(small))]
    print(f"growth {growth.value:.2f} %" if options.quick else "\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "fit_memory", rows, [] if options.quick else found, ("torch", "numpy"))


def show(row: dict[str, Any]) -> str:
    how = "mapped" if row["mapped"] else "loaded"
    own, whole = row["anon"] / MIB, row["all"] / MIB
    return f"{how} {row['samples']:>6} pictures: {own:7.1f} MiB of its own, {whole:7.1f} with mapped files"


if __name__ == "__main__":
    main()
