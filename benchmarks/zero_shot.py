"""Labels that a net never saw: semantic diversity learning on pairs of CIFAR-10 pictures, with word vectors.

    python benchmarks/zero_shot.py --cifar FOLDER --words FILE.npz [--json FILE] [--quick]

FOLDER holds CIFAR-10 as 50 x 50 mosaics of 32 x 32 (train_NN.webp, test_NN.webp) with *_labels.npy and classes.txt;
FILE.npz has `names` and `vectors`; the classes without a word (the frog, with NUS-WIDE's) are left out. Two pictures of
different classes stand side by side, 32 x 64, and both are labels. The nine classes are parted five times into seven
seen and two unseen ones, so that each is unseen once, the truck twice; a net is trained for each part, from pictures
of seen classes only.

ZSL ranks the two unseen labels on test pairs that have one (P, R, F1 at 1); GZSL ranks all nine (at 2). Beside mean
average precision stands that of scores without knowledge, the share of images that have the label. Intervals are 95 %
by Student's t over the five parts, of the gain over chance. This is a small proof, not a result on NUS-WIDE.
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
from PIL import Image
from scipy import stats

from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.sdl_task import sdl
from edgesmith.compress.task import Parts
from edgesmith.data.split import Split
from edgesmith.errors import MissingResource
from edgesmith.models.resnet import build
from edgesmith.models.semantic_head import SemanticHead, SemanticNet, read_words
from edgesmith.results import Interval
from edgesmith.tensors import Preprocessing
from edgesmith.zero_shot import Vocabulary, ZeroShot, gzsl, zsl

TILES, SIDE, EMBEDDING = 50, 32, 128
PREPROCESSING = Preprocessing((SIDE, 2 * SIDE), (0.5,) * 3, (0.25,) * 3)
CONFIG = FitConfig(
    epochs=10, batch=64, lr=0.003, optimizer="adamw", weight_decay=1e-2, warmup_epochs=1, augment="flip+shift",
    channels_last=True, threads=1,
)  # fmt: skip
UNSEEN = (("cat", "truck"), ("deer", "ship"), ("automobile", "bird"), ("airplane", "dog"), ("horse", "truck"))


def pictures(folder: Path, part: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `most` pictures and their class numbers, as many of each class as there are."""
    found: list[np.ndarray] = []
    for path in sorted(folder.glob(f"{part}_*.webp")):
        if sum(map(len, found)) >= most:
            break
        with Image.open(path) as mosaic:
            grid = np.asarray(mosaic.convert("RGB")).reshape(TILES, SIDE, TILES, SIDE, 3)
        found.append(grid.transpose(0, 2, 1, 3, 4).reshape(-1, SIDE, SIDE, 3))
    if not found:
        raise MissingResource(f"read CIFAR-10 in {folder}", f"no {part}_*.webp", "give its folder as --cifar")
    return np.concatenate(found)[:most], np.load(folder / f"{part}_labels.npy")[:most].astype(np.int64)


def named(
    images: np.ndarray, kinds: np.ndarray, classes: Sequence[str], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures whose class has a word, numbered by `names`."""
    place = np.array([names.index(name) if name in names else -1 for name in classes])[kinds]
    return images[place >= 0], place[place >= 0]


def paired(images: np.ndarray, kinds: np.ndarray, count: int, allowed: Sequence[int], seed: int) -> Split:
    """Pairs of pictures of two allowed classes side by side; labels int8 (count, classes)."""
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(np.isin(kinds, allowed))
    left, right = rng.choice(rows, 2 * count), rng.choice(rows, 2 * count)
    apart = np.flatnonzero(kinds[left] != kinds[right])[:count]
    left, right = left[apart], right[apart]
    labels = np.zeros((len(left), int(kinds.max()) + 1), np.int8)
    labels[np.arange(len(left)), kinds[left]] = 1
    labels[np.arange(len(left)), kinds[right]] = 1
    return Split({"image": np.concatenate([images[left], images[right]], 2)}, labels)


def one_part(
    number: int, data: Mapping[str, Any], vectors: np.ndarray, names: Sequence[str], config: FitConfig, count: int
) -> tuple[ZeroShot, ZeroShot]:
    """Train on the seen classes, judge on all: ZSL and GZSL."""
    unseen = tuple(names.index(name) for name in UNSEEN[number])
    seen = tuple(column for column in range(len(names)) if column not in unseen)
    train = paired(*data["train"], count, seen, number)
    assert train.labels is not None
    train = Split(train.inputs, train.labels[:, seen])
    body = build(width=24, blocks=(1, 1, 1), size=(SIDE, 2 * SIDE), embedding=EMBEDDING, seed=number)[0]
    torch.manual_seed(number)
    net = SemanticNet(body, SemanticHead(EMBEDDING, torch.from_numpy(vectors[list(seen)]), rows=2))
    task = sdl(Parts(net, None, 0), spread_weight=0.01)
    with tempfile.TemporaryDirectory() as folder:
        fit(task, train, PREPROCESSING, config, Path(folder) / "stage")
    made: Any = task.deployable()
    made.head.use(torch.from_numpy(vectors))
    asked = paired(*data["test"], max(200, count // 4), range(len(names)), 1000 + number)
    assert asked.labels is not None
    scores = scored(made, asked)
    words = Vocabulary(seen, unseen)
    return zsl(scores, asked.labels, words, 1), gzsl(scores, asked.labels, words, 2)


def scored(net: torch.nn.Module, split: Split) -> np.ndarray:
    with torch.inference_mode():
        parts = [
            net(torch.from_numpy(PREPROCESSING.apply(split.inputs["image"][start : start + 256]))).numpy()
            for start in range(0, len(split), 256)
        ]
    return np.concatenate(parts)


def gain(found: Sequence[ZeroShot]) -> Interval:
    """mAP over chance in points, its mean over the parts with Student's t."""
    values = 100 * np.array([one.mean_ap - one.chance_ap for one in found])
    if len(values) < 2:
        return Interval(float(values[0]), None, None)
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half)


def row_of(number: int, question: str, found: ZeroShot) -> dict[str, Any]:
    numbers = {"mAP": found.mean_ap, "chance_mAP": found.chance_ap, "precision": found.at.precision}
    numbers |= {"recall": found.at.recall, "f1": found.at.f1, "chance_f1": found.chance_f1}
    return {"unseen": list(UNSEEN[number]), "question": question, "images": found.images, **numbers}


def show(row: Mapping[str, Any]) -> str:
    cells = [f"{100 * row[key]:5.1f}" for key in ("mAP", "chance_mAP", "precision", "recall", "f1", "chance_f1")]
    return f"| {', '.join(row['unseen'])} | {row['question']} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("--words", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--quick", action="store_true", help="one part, few pictures: says nothing")
    options = parser.parse_args()
    config, count = CONFIG, 4000
    if options.quick:
        config, count = FitConfig(epochs=1, batch=64, lr=0.003, optimizer="adamw", threads=1), 300
    started = time.monotonic()
    classes = (options.cifar / "classes.txt").read_text().split()
    known, vectors = read_words(options.words)
    names = [name for name in classes if name in known]
    vectors = vectors[[known.index(name) for name in names]]
    most = 2500 if options.quick else 15_000
    data = {part: named(*pictures(options.cifar, part, most), classes, names) for part in ("train", "test")}
    found: dict[str, list[ZeroShot]] = {"ZSL": [], "GZSL": []}
    rows = []
    print("| unseen | question | mAP | by chance | P | R | F1 | by chance |\n|---|---|---|---|---|---|---|---|")
    for number in range(1 if options.quick else len(UNSEEN)):
        for question, one in zip(found, one_part(number, data, vectors, names, config, count)):
            found[question].append(one)
            rows.append(row_of(number, question, one))
            print(show(rows[-1]), flush=True)
    words = {"ZSL": "unseen labels alone over chance", "GZSL": "all labels over chance"}
    made = [claims.make_claim("zero_shot", words[name], gain(each), len(each)) for name, each in found.items()]
    print("\n".join(claims.table(made)))
    print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        claims.write_json(options.json, "zero_shot", rows, made, ("numpy", "torch", "lightning-fabric", "scipy"))


if __name__ == "__main__":
    main()
