"""Calibration beside ONNX Runtime's: wall time and memory of one pass that serves min-max, percentile, mse and entropy.

python benchmarks/calibration.py [--data DIR] [--limit-s SECONDS] [--images 300,3000] [--json FILE] [--quick]

Every measurement is a child process of its own on one thread: MobileFaceNet 112x112 (PReLU written as Max for ONNX
Runtime, which would otherwise take longer for the operator alone), the same pictures for all, at random or the first
of the image folder --data. Ours is `observe` on batches of 50; "forward" runs the same captured program over the same
batches and nothing else, "folded" the folded program in pieces of 8 samples as `observe` does. ONNX Runtime is its
Entropy calibrator fed one picture at a time, from collect_data to compute_data; it is stopped after --limit-s
seconds, or when it holds 92 % of the memory that was free, and its time and memory are then lower bounds. It keeps
every value of every picture, 64 MB each, so "slices" (Entropy fed 50 pictures, then the next 50) tells the time.
Memory is the largest resident set above what the process held before the first picture was read, looked at every 10
ms. Candidates take turns; intervals are Student's, of the logarithm of the ratio in each round. What PTQ takes in all
(calibrate, plan, export for OpenVINO) is compared with NNCF where it is installed. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import claims
import numpy as np
from scipy import stats

from edgesmith.results import Interval

ROOT = Path(__file__).parent.parent
SIDE, BATCH, PIECE = 112, 50, 8
EVERY_S = 0.01
OURS = ("ours", "forward", "folded")
THEIRS = ("Entropy", "slices")
SLICE = 50
MANY = 1000  # pictures of which two rounds are enough: a round takes a quarter of an hour


def pictures(count: int, data: Path | None) -> np.ndarray:
    """Shape: float32 (count, 3, 112, 112), about -1 to 1."""
    if data is None:
        coarse = np.random.default_rng(0).normal(size=(count, 3, 14, 14)).astype(np.float32)
        return np.ascontiguousarray(coarse.repeat(8, 2).repeat(8, 3).clip(-2, 2) / 2)
    from PIL import Image

    files = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:count]
    if len(files) < count:
        raise SystemExit(f"{data} has {len(files)} images, {count} are needed")
    images = [np.asarray(Image.open(path).convert("RGB").resize((SIDE, SIDE)), np.float32) for path in files]
    return (np.stack(images).transpose(0, 3, 1, 2) - 127.5) / 128


def memory(file: str, name: str) -> int:
    """Bytes that the system says of itself or of this process."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE)
    return int(found.group(1)) * 1024  # type: ignore[union-attr]


def resident() -> int:
    """Bytes of memory this process holds."""
    return memory("/proc/self/status", "VmRSS")


class Watch:
    """The largest memory above that at the start; ends the process at a limit, after saying how far it came."""

    def __init__(self, limit_s: float) -> None:
        self.before, self.peak, self.started = resident(), 0, time.perf_counter()
        self.limit_s, self.limit_bytes = limit_s, 0.92 * memory("/proc/meminfo", "MemAvailable")
        self.done = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self.done.wait(EVERY_S):
            now = resident()
            self.peak = max(self.peak, now - self.before)
            late = time.perf_counter() - self.started > self.limit_s
            if late or now > self.limit_bytes:
                row = json.dumps(self.row(stopped="time" if late else "memory"))
                print(row, file=sys.__stdout__, flush=True)
                os._exit(0)

    def row(self, stopped: str = "") -> dict[str, Any]:
        self.done.set()
        peak = max(self.peak, resident() - self.before)
        return {"wall_s": time.perf_counter() - self.started, "peak_bytes": peak, "stopped": stopped}


def model() -> Any:
    """MobileFaceNet with PReLU, seeded. Slopes are 0.25, so that every form is exact."""
    import torch

    from edgesmith.models import MODELS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return MODELS.get("mobilefacenet")()[0].eval()


def captured() -> Any:
    import torch

    from edgesmith.graph.capture import capture

    return capture(model(), {"x": torch.randn(1, 3, SIDE, SIDE)})


def ours(images: np.ndarray, watch: Callable[[], Watch], what: str) -> dict[str, Any]:
    import torch

    from edgesmith.compress.quantize.observe import observe
    from edgesmith.graph.rewrite import simplify

    program = captured()
    module = (simplify(program) if what == "folded" else program).module
    size = PIECE if what == "folded" else BATCH
    with torch.no_grad():
        module(torch.from_numpy(images[:PIECE]))  # what is prepared once
        watching = watch()
        if what == "ours":
            observe(program, ((torch.from_numpy(images[i : i + BATCH]),) for i in range(0, len(images), BATCH)))
        else:
            for start in range(0, len(images), size):
                module(torch.from_numpy(images[start : start + size]))
    return watching.row()


def theirs(images: np.ndarray, watch: Callable[[], Watch], method: str, file: Path) -> dict[str, Any]:
    from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self, pictures: np.ndarray) -> None:
            self.left: Iterator[np.ndarray] = iter(pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"x": image[None]}

    size = SLICE if method == "slices" else len(images)
    with redirect_stdout(sys.stderr):
        work = str(file.with_name(f"augmented-{os.getpid()}.onnx"))
        calibrator = create_calibrator(file, None, work, CalibrationMethod.Entropy)
    watching = watch()
    with redirect_stdout(sys.stderr):
        for start in range(0, len(images), size):
            calibrator.collect_data(Reader(images[start : start + size]))
        calibrator.compute_data()
    return watching.row()


def whole(images: np.ndarray, watch: Callable[[], Watch], what: str, file: Path) -> dict[str, Any]:
    """PTQ from a captured program to a saved OpenVINO model."""
    import torch

    if what == "ptq":
        from edgesmith.pipeline.produce import build_targets, calibrate, plan_targets
        from edgesmith.pipeline.sources import Inputs, Source

        program = captured()
        source = Source("mobilefacenet", program.module, program.inputs)
        watching = watch()
        ranges = calibrate(program, Inputs({"x": images}, False, ""), None, BATCH)
        plans = plan_targets(program, ranges, ("openvino-int8",))
        build_targets(program, source, ("openvino-int8",), plans, file.with_name(f"out-{os.getpid()}"), lambda _: None)
        return watching.row()
    import nncf
    import openvino

    converted = openvino.Core().read_model(file)
    watching = watch()
    data = nncf.Dataset([image[None] for image in images])
    made = nncf.quantize(converted, data, preset=nncf.QuantizationPreset.MIXED, subset_size=len(images))
    openvino.save_model(made, file.with_name(f"nncf-{os.getpid()}.xml"))
    torch.get_num_threads()
    return watching.row()


def child(what: str, count: int, data: Path | None, limit_s: float, folder: Path) -> dict[str, Any]:
    """One measurement, in this process; the clock runs from the first picture."""
    images, file = pictures(count, data), folder / "float" / "model.onnx"

    def watch() -> Watch:
        return Watch(limit_s)

    if what in OURS:
        return ours(images, watch, what)
    return whole(images, watch, what, file) if what in ("ptq", "nncf") else theirs(images, watch, what, file)


def measured(what: str, count: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, __file__, "--child", what, str(count), "--limit-s", str(options.limit_s)]
    words += ["--folder", str(folder), *(["--data", str(options.data)] if options.data else [])]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    last = done.stdout.strip().splitlines()[-1:] or [""]
    if done.returncode < 0:
        reason = f"the system ended it with signal {-done.returncode}"
        return {"what": what, "images": count, "state": "not_measured", "reason": reason}
    if done.returncode or not last[0].startswith("{"):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return {"what": what, "images": count, "state": "not_measured", "reason": reason}
    return {"what": what, "images": count, "state": "measured", **json.loads(last[0])}


def float_onnx(folder: Path) -> None:
    """What ONNX Runtime calibrates: the float net as we export it for it."""
    import torch  # noqa: F401 (before the exporter)

    from edgesmith.export.onnx import export
    from edgesmith.targets import target

    (folder / "float").mkdir()
    export(captured(), None, target("ort-fp32"), folder / "float")


def ratio(rows: list[dict[str, Any]], images: int, top: str, bottom: str, key: str) -> tuple[Interval, int]:
    """Of one quantity, paired by round: the geometric mean, with Student's interval of the logarithms."""
    by = {(row["round"], row["what"]): row for row in rows if row["images"] == images and row["state"] == "measured"}
    rounds = sorted({number for number, _ in by})
    pairs = [(by[n, top][key], by[n, bottom][key]) for n in rounds if (n, top) in by and (n, bottom) in by]
    if not pairs:
        return Interval(float("nan"), None, None), 0
    logs = np.log([max(a, 1e-9) / max(b, 1e-9) for a, b in pairs])
    value = float(np.exp(logs.mean()))
    if len(logs) < 2:
        return Interval(value, None, None), len(logs)
    half = float(stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs)))
    return Interval(value, value * float(np.exp(-half)), value * float(np.exp(half))), len(logs)


def found(rows: list[dict[str, Any]], sizes: tuple[int, ...]) -> list[claims.Claim]:
    questions = []
    for n in sizes:
        cut = any(row.get("stopped") for row in rows if (row["images"], row["what"]) == (n, "Entropy"))
        timed = "slices" if cut else "Entropy"
        questions.append((f"{n} images: ONNX Runtime Entropy over ours, time", n, timed, "ours", "wall_s"))
        questions.append((f"{n} images: ours over ONNX Runtime Entropy, memory", n, "ours", "Entropy", "peak_bytes"))
        questions.append((f"{n} images: four methods over the forward passes", n, "ours", "forward", "wall_s"))
    questions.append((f"{sizes[0]} images: PTQ in all over NNCF", sizes[0], "ptq", "nncf", "wall_s"))
    made = []
    for name, n, top, bottom, key in questions:
        interval, count = ratio(rows, n, top, bottom, key)
        if count:
            made.append(claims.make_claim("calibration", name, interval, count))
        else:
            print(f"not measured: {name}")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of images; without it pictures are random")
    parser.add_argument("--limit-s", type=float, default=1500.0, help="for each measurement")
    parser.add_argument("--images", default="300,3000", help="how many pictures, the fewest first")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="16 and 32 images, two rounds")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, count = options.child
        print(json.dumps(child(what, int(count), options.data, options.limit_s, options.folder)), flush=True)
        return
    sizes = (16, 32) if options.quick else tuple(int(count) for count in options.images.split(","))
    rounds = tuple(2 if options.quick or count > MANY else 4 for count in sizes)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as top:
        float_onnx(Path(top))
        peers = ("ptq", *(("nncf",) if find_spec("nncf") else ()))
        for images, repeats in zip(sizes, rounds):
            for number in range(repeats):
                for what in (*OURS, *THEIRS, *(peers if images == sizes[0] else ())):
                    rows.append({"round": number, **measured(what, images, options, Path(top))})
                    print(show(rows[-1]), flush=True)
    if options.quick:
        for name, key in (("time", "wall_s"), ("memory", "peak_bytes")):
            print(f"ours over forward, {name}: {ratio(rows, sizes[-1], 'ours', 'forward', key)[0].value:.3f}")
            print(f"ours over Entropy, {name}: {ratio(rows, sizes[-1], 'ours', 'Entropy', key)[0].value:.3f}")
        made: list[claims.Claim] = []
    else:
        made = found(rows, sizes)
        print("\n".join(claims.table(made)))
    if options.json:
        claims.write_json(
            options.json, "calibration", rows, made, ("numpy", "torch", "onnxruntime", "openvino", "nncf")
        )


def show(row: dict[str, Any]) -> str:
    head = f"{row['images']:>5} images {row['what']:>10}: "
    if row["state"] != "measured":
        return head + f"not measured: {row['reason']}"
    end = f", stopped by its limit of {row['stopped']}: a lower bound" if row["stopped"] else ""
    return head + f"{row['wall_s']:8.2f} s, {row['peak_bytes'] / 2**20:8.0f} MiB{end}"


if __name__ == "__main__":
    main()
