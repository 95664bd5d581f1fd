"""Does attention over an album beat an average over its photos, and does a small album net learn from a large one?

    python benchmarks/albums.py --data cifar10.npz [--albums albums.tar] [--seeds 3] [--json FILE] [--quick]

Albums of 6 to 16 CIFAR-10 pictures; an event is a pair of classes (a class may be in two), half of an album's photos
are of the pair, and these are its important ones. Per seed: an encoder learns the ten classes of 9,000 pictures; each
pooling goes on from it on 1,200 albums of these pictures, with the same epochs, batches and learning rate (nothing was
tuned per pooling), and 400 albums of 3,000 other pictures judge. A wide teacher with two layers teaches a narrow
student with one ("edge"), which is also trained alone.
Differences are paired, album by album of the same seed. An interval is the wider, at each end, of that over albums of
all seeds and that over seeds (Student's t), so it covers other albums and other trainings.
--albums FILE.tar takes real albums (<event>/<album>/<photo>) through every runtime with the distilled student: what it
thinks of the events means nothing, as it has seen ten classes of thumbnails; whether runtimes agree does.
--data is an .npz of x_train and y_train (uint8 pictures and class numbers).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from scipy import stats
from torch import nn

from edgesmith import intervals, metrics
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.peta import peta
from edgesmith.compress.task import Parts, plain
from edgesmith.data import albums as real_albums
from edgesmith.data import arrays, theme_albums
from edgesmith.data.digits import load as digits
from edgesmith.data.split import Data
from edgesmith.devices.local import LocalDevice
from edgesmith.models import album, resnet
from edgesmith.models.album_pooling import TransformerPooling
from edgesmith.models.count import count_macs, count_parameters
from edgesmith.models.weights import save_weights
from edgesmith.pipeline.judge import run_outputs
from edgesmith.pipeline.produce import build_targets, calibrate, capture_source, plan_targets
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.results import Interval
from edgesmith.tensors import Preprocessing
from edgesmith.verify.albums import album_values, rank_correlation

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PAIRS = ("ship truck", "airplane truck", "horse dog", "deer dog", "frog bird", "frog cat")
SIZE, PLACES, SHARE = 32, 8, 0.5
HALF = Preprocessing((SIZE, SIZE), (0.5,) * 3, (0.5,) * 3)
WIDE, NARROW = {"width": 32, "embedding": 128}, {"width": 12, "embedding": 48}
TARGETS = ("torch-fp32", "ort-fp32", "ort-int8", "openvino-fp32", "openvino-bf16", "openvino-int8")
Answers = dict[str, np.ndarray]  # of one net on one seed's albums: right (A,), importance AP (A,)


def main() -> None:
    options = _options()
    started = time.monotonic()
    found: dict[str, list[Answers]] = {}
    pictures = _pictures(options)
    for seed in range(1 if options.quick else options.seeds):
        nets, data = one_seed(pictures, seed, options.quick)
        for name, net in nets.items():
            found.setdefault(name, []).append(answers(net, data))
            last = found[name][-1]
            print(f"seed {seed} {name}: top-1 {last['right'].mean():.3f}, importance {last['importance'].mean():.3f}")
    rows = [*rows_of(found), *aggregators(options.quick)]
    if options.albums:
        rows += real(nets["edge, distilled"], options.albums)
    for row in rows:
        print(row)
    held = [] if options.quick else claims_of(found, rows)
    print(*claims.table(held), f"{time.monotonic() - started:.0f} s", sep="\n")
    if options.json:
        packages = ("numpy", "torch", "lightning-fabric", "scipy", "onnxruntime", "openvino")
        claims.write_json(options.json, "albums", rows, held, packages)


def one_seed(pictures: Mapping[str, np.ndarray], seed: int, quick: bool) -> tuple[dict[str, nn.Module], Data]:
    """Every net of one seed, and the albums that judge them."""
    names = [str(kind) for kind in range(10)]
    themes = {pair: [names[CLASSES.index(kind)] for kind in pair.split()] for pair in PAIRS}
    source = {"use": "arrays", "source": pictures, "holdout": 0.25, "seed": seed}
    count = (40, 20) if quick else (1200, 400)
    data = theme_albums.load(
        source=source, themes=themes, albums=count[0], evaluation=count[1], photos=PLACES, smallest=6, largest=16,
        share=SHARE, size=SIZE, seed=seed,
    )  # fmt: skip
    whole = arrays.load(HALF, pictures, holdout=0.25, seed=seed)
    epochs = (1, 1) if quick else (10, 8)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        wide, narrow = (encoder(options, whole, seed, epochs[0], folder) for options in (WIDE, NARROW))
        nets: dict[str, nn.Module] = {}
        for pooling in ("transformer", "embeddings", "scores"):
            net = album_net(WIDE, wide, seed, pooling=pooling)
            nets[pooling] = trained(net, None, data, seed, epochs[1], folder / pooling)
        deep = album_net(WIDE, wide, seed, layers=2)
        teacher = nets["teacher, two layers"] = trained(deep, None, data, seed, epochs[1], folder / "teacher")
        for name, chosen, terms in (
            ("edge, alone", None, {}), ("edge, distilled", teacher, {"kd": 1.0}),
            ("edge, distilled with importance", teacher, {"kd": 1.0, "importance": 1.0}),
        ):  # fmt: skip
            net = album_net(NARROW, narrow, seed, dim=64, ffn=128)
            nets[name] = trained(net, chosen, data, seed, epochs[1], folder / name, terms)
    return nets, data


def encoder(options: Mapping[str, int], data: Data, seed: int, epochs: int, folder: Path) -> str:
    """Weights of an encoder that has learned the ten classes."""
    net = resnet.build(options["width"], embedding=options["embedding"], size=SIZE, classes=10, seed=seed)[0]
    config = FitConfig(epochs=epochs, batch=64, lr=0.05, augment="flip+shift", channels_last=True, threads=1, seed=seed)
    assert data.train is not None
    fit(plain(Parts(net, None, 10)), data.train, HALF, config, folder / f"encoder{options['width']}")
    net.head = None
    save_weights(folder / f"encoder{options['width']}.safetensors", net)
    return str(folder / f"encoder{options['width']}.safetensors")


def album_net(options: Mapping[str, int], weights: str, seed: int, **more: Any) -> nn.Module:
    sizes = {"dim": 128, "layers": 1, "heads": 4, "ffn": 256, "classes": len(PAIRS), **more}
    return album.build("resnet", dict(options), weights, photos=PLACES, size=SIZE, seed=seed, **sizes)[0]


def trained(
    net: nn.Module, teacher: nn.Module | None, data: Data, seed: int, epochs: int, folder: Path, terms: Any = None
) -> nn.Module:
    """The net after its training."""
    task = peta(Parts(net, teacher, len(PAIRS)), mirror=True, **(terms or {}))
    config = FitConfig(epochs=epochs, batch=16, lr=1e-3, optimizer="adamw", weight_decay=0.01, warmup_epochs=1,
                       threads=1, seed=seed)  # fmt: skip
    assert data.train is not None
    fit(task, data.train, None, config, folder)
    return task.deployable()


def answers(net: nn.Module, data: Data) -> Answers:
    """What a net gets right, album by album."""
    assert data.evaluation is not None
    split, known = data.evaluation.split, data.evaluation.arrays
    with torch.inference_mode():
        parts = zip(*(torch.from_numpy(split.inputs[name]).split(50) for name in ("photos", "mask")))
        logits, importance = (torch.cat(piece).numpy() for piece in zip(*(net(*part) for part in parts)))
    values = album_values(known["importance"], importance, known["mask"] > 0, 0.2)
    return {"right": metrics.correct(logits, known["labels"]), "importance": values}


def rows_of(found: Mapping[str, Sequence[Answers]]) -> list[dict[str, Any]]:
    """A row a net: means over seeds and albums, and the difference from the average of scores."""
    rows = []
    for name, seeds in found.items():
        row: dict[str, Any] = {"net": name, "seeds": len(seeds)}
        for key in ("right", "importance"):
            row[key] = [float(one[key].mean()) for one in seeds]
            if name != "scores":
                row[f"{key} over scores"] = cell(gain(found, name, "scores", key))
        rows.append(row)
    return rows


def gain(found: Mapping[str, Sequence[Answers]], name: str, other: str, key: str) -> Interval:
    """Paired difference of two nets in percentage points, over albums and over seeds: the wider end of both."""
    pairs = [100 * (np.float64(a[key]) - np.float64(b[key])) for a, b in zip(found[name], found[other])]
    over_albums = intervals.mean(np.concatenate(pairs))
    means = np.array([pair.mean() for pair in pairs])
    if len(means) < 2:
        return over_albums
    half = float(stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    return intervals.hull(over_albums, Interval(over_albums.value, means.mean() - half, means.mean() + half))


def aggregators(quick: bool) -> list[dict[str, Any]]:
    """Size and time, in PyTorch on one thread, of the edge aggregator and of the paper's; runs interleaved."""
    torch.set_num_threads(1)
    sizes = {"edge": album.EDGE, "paper": {**album.EDGE, "photos": 32} if quick else album.PAPER}
    rows: list[dict[str, Any]] = []
    runs: dict[str, tuple[nn.Module, tuple[torch.Tensor, torch.Tensor], list[float]]] = {}
    for name, own in sizes.items():
        places = own["photos"] if own.get("positions") else 0
        net = TransformerPooling(own["dim"], own["layers"], own["heads"], own["ffn"], "post", places, 0.0).eval()
        feed = torch.randn(1, own["photos"], own["dim"]), torch.ones(1, own["photos"], dtype=torch.bool)
        runs[name] = (net, feed, [])
        rows.append({"aggregator": name, "photos": own["photos"], "parameters": count_parameters(net),
                     "macs": count_macs(net, *feed)})  # fmt: skip
    with torch.inference_mode():
        for turn in range(3 if quick else 30):
            for pooling, given, times in runs.values():
                started = time.perf_counter()
                pooling(*given)
                times += [1e3 * (time.perf_counter() - started)] if turn else []
    for row in rows:
        row["ms"] = cell(intervals.percentile(runs[row["aggregator"]][2], 0.5))
    return rows


def real(net: nn.Module, archive: Path) -> list[dict[str, Any]]:
    """Real albums through every runtime: agreement with PyTorch, and the photos that matter most."""
    places = 16
    data = real_albums.load(root=archive, classes="cufed", photos=places, pool=places, size=SIZE, holdout=1.0)
    assert data.evaluation is not None
    card = album.card("album", (SIZE, SIZE), places, 64, len(PAIRS), (), ())
    source = Source("album", net, card.inputs, None, PAIRS, (), tuple(spec.name for spec in card.outputs))
    inputs = Inputs(dict(data.evaluation.split.inputs), False, data.digest)
    program = capture_source(source)
    plans = plan_targets(program, calibrate(program, inputs, None, 4), TARGETS)
    with tempfile.TemporaryDirectory() as folder:
        bundle = build_targets(program, source, TARGETS, plans, Path(folder) / "build", print)
        outputs = run_outputs(bundle.exported, inputs, Path(folder) / "job", LocalDevice(), lambda line: None)
    original, kept = outputs.arrays["torch-fp32"], inputs.arrays["mask"] > 0
    rows: list[dict[str, Any]] = []
    for name, found in outputs.arrays.items():
        ranks = [rank_correlation(a[k], b[k]) for a, b, k in zip(original["importance"], found["importance"], kept)]
        off = {f"{key} max abs": float(np.abs(found[key] - original[key]).max()) for key in found}
        rows.append({"real albums": name, "albums": len(kept), "importance rank": ranks, **off})
    for row, title in enumerate(data.evaluation.split.names):
        order = np.argsort(-original["importance"][row])[:3]
        shown = {f"place {place}": float(original["importance"][row, place]) for place in order}
        rows.append({"album": title, "photos": int(kept[row].sum()), "most important": shown})
    return rows


def claims_of(found: Mapping[str, Sequence[Answers]], rows: Sequence[Mapping[str, Any]]) -> list[claims.Claim]:
    albums = sum(len(one["right"]) for one in found["scores"])
    compared = {
        "attention over mean scores, events": ("transformer", "scores", "right"),
        "attention over mean scores, importance": ("transformer", "scores", "importance"),
        "attention over mean embedding, events": ("transformer", "embeddings", "right"),
        "distilled edge net over the same alone, events": ("edge, distilled", "edge, alone", "right"),
    }
    held = [claims.make_claim("albums", name, gain(found, *own), albums) for name, own in compared.items()]
    size = {row["aggregator"]: row["parameters"] for row in rows if "aggregator" in row}
    ratio = 100 * size["edge"] / size["paper"]
    return [*held, claims.make_claim("albums", "parameters of the edge aggregator", Interval(ratio, ratio, ratio), 1)]


def cell(interval: Interval) -> dict[str, float | None]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _pictures(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Pictures and class numbers: 12,000 of CIFAR-10, or digits with --quick and no --data."""
    if options.data is None:
        small = digits(HALF, holdout=0.6)
        assert small.train is not None and small.train.labels is not None
        return {"image": small.train.inputs["image"], "labels": small.train.labels}
    with np.load(options.data, allow_pickle=False) as file:
        count = 800 if options.quick else 12000
        return {"image": file["x_train"][:count], "labels": file["y_train"][:count].astype(np.int64)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="cifar10.npz")
    parser.add_argument("--albums", type=Path, help="a .tar or folder of real albums")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="a short run to try it; with digits where --data is absent"
    )
    options = parser.parse_args()
    if options.data is None and not options.quick:
        parser.error("give --data cifar10.npz")
    return options


if __name__ == "__main__":
    main()
