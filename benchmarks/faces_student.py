"""A student of half the teacher's int8 latency, trained four ways, judged on real LFW faces.

    python benchmarks/faces_student.py --data DIR [--work DIR] [--json FILE] [--quick]

DIR is laid out as recipes/faces-student.yaml says. The teacher is a published MobileFaceNet; the student is the same
net with blocks and channels left out. L2E: distance to the teacher's embedding. TH: ArcFace on the teacher's frozen
class centres too. SH: three stages, a teacher fine-tuned under a first student's centres. Same student, same schedule
of 12 epochs; SH has two more trainings. One seed: differences are descriptive. "features", L2E with the teacher's last
feature map for 20 epochs, is an attempt at the aim and no part of that comparison.

Training people: CelebA, and LFW's people who stand in no pair. The teacher's embeddings decide who is left out:
pictures far from their person's centre, people whose centre is near a picture that is judged, and second entries of
one person. Trained weights stay in the work folder, by recipe and list of pictures, and are not trained again when
code has changed: delete the folder for that. Accuracy: 5 folds of LFW pairs; TAR at FAR 1e-3 against all cross-person
pairs; 95 % intervals by bootstrap over people, for latency over interleaved blocks.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch

from edgesmith import intervals, records
from edgesmith.artifact import Exported, content_key, sha256
from edgesmith.compress.batches import normalised
from edgesmith.data.archive import picture_names, pictures
from edgesmith.data.faces import Person, training_pictures
from edgesmith.data.identities import identity_centres, nearest, strangers
from edgesmith.data.images import decode
from edgesmith.data.pair_lists import read_pairs
from edgesmith.data.split import Evaluation
from edgesmith.devices import DEVICES
from edgesmith.metrics import unit
from edgesmith.models import mobilefacenet
from edgesmith.models.count import count_macs, count_parameters
from edgesmith.pipeline import training
from edgesmith.pipeline.judge import load_outputs, time_targets
from edgesmith.pipeline.recipe import Bench, Recipe, read_recipe
from edgesmith.pipeline.run import execute
from edgesmith.pipeline.sources import Trust
from edgesmith.pipeline.steps import Run, train_recipe
from edgesmith.results import Accuracy, BenchRecord, Interval
from edgesmith.verify import accuracy

ROOT = Path(__file__).parent.parent
RECIPES = {
    "l2e": "faces-student.yaml",
    "th": "faces-student-th.yaml",
    "sh": "faces-student-sh.yaml",
    "features": "faces-student-features.yaml",
}
WEIGHTS = "mobilefacenet/foamliu/mobilefacenet.safetensors"
TEACHER, FLOAT, INT8 = "teacher", "torch-fp32", ("ort-int8", "openvino-int8")
FOLDERS = ("celeba112", "lfw112")
OWN = 0.45  # a picture further from its person's centre shows somebody else
SAME = 0.5  # of two different people in CelebA none are nearer
METRICS = ("accuracy", "tar_all@1e-3")
QUICK = 200  # pictures of each set


@dataclass(frozen=True)
class Judged:
    """One net with its artefacts and their outputs on the evaluation pictures, by target; size: parameters and MACs."""

    size: Mapping[str, int]
    exported: Mapping[str, Exported]
    outputs: Mapping[str, np.ndarray]
    evaluation: Evaluation
    inputs: Any


def main() -> None:
    options = _options()
    work = (options.work or ROOT / "runs" / "faces-student").resolve() / ("quick" if options.quick else "")
    work.mkdir(parents=True, exist_ok=True)
    listed = training_list(options.data.resolve(), work, QUICK if options.quick else None)
    print(json.dumps(listed))
    overrides = [f"data.root={options.data.resolve()}", f"data.train_list={work / 'train.txt'}"]
    overrides += ["data.limit=2", "data.calibration=50"] if options.quick else []
    nets = {TEACHER: judged(teacher_recipe(overrides), work / TEACHER)}
    for name, file in RECIPES.items():
        found = [*overrides, f"train.0.model.classes={listed['people']}"] if name == "sh" else overrides
        recipe = read_recipe(ROOT / "recipes" / file, found)
        recipe = shortened(recipe) if options.quick else recipe
        nets[name] = judged(judging(recipe, trained(recipe, work)), work / name)
    timed = benched(nets, work, 4 if options.quick else 40)
    rows = rows_of(nets, timed)
    print(markdown(rows))
    claimed = [] if options.quick else claims_of(rows)
    print("\n".join(claims.table(claimed)))
    if options.json:
        claims.write_json(options.json, "faces_student", [{"training": listed}, *rows], claimed)


def training_list(root: Path, work: Path, limit: int | None) -> dict[str, Any]:
    """Write the pictures to train on to work/train.txt, once; answers how many, and what was left out and why."""
    key = content_key([sha256(root / place / "images.tar") for place in FOLDERS], sha256(root / WEIGHTS), limit)
    facts, listed = work / "train.json", work / "train.txt"
    if facts.exists() and listed.exists() and (known := records.read(facts))["key"] == key:
        return dict(known["facts"])
    pairs, who = read_pairs(root / FOLDERS[1] / "pairs.txt"), Person(1)
    chosen = training_pictures(root, FOLDERS, FOLDERS[1], pairs, who)
    chosen = {place: names[:limit] for place, names in chosen.items()}
    people = {who(name) for pair in pairs for name in (pair.first, pair.second)}
    tested = [name for name in picture_names(root / FOLDERS[1] / "images.tar") if who(name) in people][:limit]
    print("embed the faces with the teacher ...")
    z = np.concatenate([embedded(root, place, names) for place, names in chosen.items()])
    shown = [f"{place}/{name}" for place, names in chosen.items() for name in names]
    keep, found = cleaned(shown, z, embedded(root, FOLDERS[1], tested))
    trained_on = {who(name) for name, kept in zip(shown, keep) if kept and name.startswith(f"{FOLDERS[1]}/")}
    found["people_trained_on_and_judged_by_name"] = len(trained_on & people)
    listed.write_text("\n".join(np.array(shown)[keep]) + "\n")
    records.save(facts, {"key": key, "facts": found})
    return found


def cleaned(names: Sequence[str], z: np.ndarray, tested: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Which pictures stay, and what was left out. Shape: z (N, d), tested (M, d) -> (N,) bool."""
    people, person = np.unique([name.rpartition("/")[0] for name in names], return_inverse=True)
    wrong = strangers(z, person, OWN)
    centres, counts = identity_centres(z, person, ~wrong), np.bincount(person, weights=~wrong)
    near = nearest(centres, tested)
    kept: list[int] = []
    twice = 0
    for row in np.argsort(-counts, kind="stable"):
        if near[row] > SAME:
            continue
        if kept and (centres[kept] @ centres[row]).max() > SAME:
            twice += 1
        else:
            kept.append(int(row))
    keep = ~wrong & np.isin(person, kept)
    found = {
        "pictures": int(keep.sum()),
        "people": len(np.unique(person[keep])),
        "pictures_seen": len(names),
        "people_seen": len(people),
        "pictures_of_somebody_else": int(wrong.sum()),
        "people_near_a_judged_picture": int((near > SAME).sum()),
        "people_twice": twice,
        "highest_cosine_before": float(near.max()),
        "highest_cosine_left": float(near[kept].max()),
    }
    return keep, found


def embedded(root: Path, place: str, names: Sequence[str]) -> np.ndarray:
    """The teacher's f(x) + f(mirrored x), unit length. Shape: (len(names), d)."""
    net, card = mobilefacenet.build(layout="foamliu", weights=str(root / WEIGHTS))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    row = {name: index for index, name in enumerate(names)}
    images = np.empty((len(names), 112, 112, 3), np.uint8)
    for name, content in pictures(root / place / "images.tar", set(names)):
        images[row[name]] = decode(content, name)
    found = []
    for rows in torch.from_numpy(images).split(64):
        x = normalised(rows, card.preprocessing)  # type: ignore[arg-type]
        with torch.inference_mode():
            found.append(net.embed(x) + net.embed(x.flip(3)))
    return unit(torch.cat(found).numpy())


def trained(recipe: Recipe, work: Path) -> Path:
    """The student's weights by this recipe and list of pictures; trained where they are not there yet."""
    stages = [{"name": s.name, "method": s.method, "model": s.model, "fit": s.fit} for s in recipe.train]
    plan = json.loads(json.dumps([recipe.model, stages]))
    key = content_key(plan, sha256(work / "train.txt"))
    file = work / "weights" / f"{recipe.name}-{key[:8]}.safetensors"
    if file.exists():
        print(f"{recipe.name}: trained before, {file.name}")
        return file
    done = train_recipe(recipe, work / "training", Trust(), print)
    file.parent.mkdir(exist_ok=True)
    records.write_bytes(file, Path(done[-1]["weights"]).read_bytes())
    return file


def shortened(recipe: Recipe) -> Recipe:
    """One epoch a stage."""
    return replace(recipe, train=tuple(replace(stage, fit={**stage.fit, "epochs": 1}) for stage in recipe.train))


def teacher_recipe(overrides: Sequence[str]) -> Recipe:
    """The teacher as it is, taken to the targets of the students."""
    recipe = read_recipe(ROOT / "recipes" / RECIPES["l2e"], overrides)
    return _untrained(recipe, {"use": "mobilefacenet", "layout": "foamliu", "weights": f"data:{WEIGHTS}"})


def judging(recipe: Recipe, weights: Path) -> Recipe:
    """The recipe with its student already trained."""
    model = {key: value for key, value in recipe.model.items() if key != "slim_from"}
    return _untrained(recipe, {**model, "weights": str(weights)})


def _untrained(recipe: Recipe, model: dict[str, Any]) -> Recipe:
    data = {key: value for key, value in recipe.data.items() if not key.startswith("train")}
    return replace(recipe, model=model, data=data, train=(), bench=None)


def judged(recipe: Recipe, out: Path) -> Judged:
    """Quantize, export and run one net."""
    run = Run(recipe, out, Trust(), print)
    execute(run.steps, out, print)
    found = load_outputs(run.folder("outputs")).arrays
    outputs = {target: next(iter(arrays.values())) for target, arrays in found.items()}
    net = run.source.module
    macs = count_macs(net, torch.zeros(*run.source.inputs[0].shape))  # type: ignore[arg-type]
    size = {"parameters": count_parameters(net), "macs": macs}
    evaluation, inputs = training.evaluation_of(run.data), training.evaluation_inputs(run.data)
    return Judged(size, run.bundle.exported, outputs, evaluation, inputs)


def benched(nets: Mapping[str, Judged], work: Path, blocks: int) -> BenchRecord:
    """All int8 artefacts interleaved in one run, the teacher's first."""
    exported = {f"{name} {t}": net.exported[t] for name, net in nets.items() for t in INT8 if t in net.exported}
    reference = f"{TEACHER} {INT8[0]}"
    device, inputs = DEVICES.get("local")(), nets[TEACHER].inputs
    return time_targets(exported, inputs, work / "bench", device, Bench(blocks=blocks), print, reference)


def rows_of(nets: Mapping[str, Judged], timed: BenchRecord) -> list[dict[str, Any]]:
    """A row a net and target: metrics with drops to the teacher in float and in the same target, latency, ratio."""
    outputs = {f"{name} {target}": out for name, net in nets.items() for target, out in net.outputs.items()}
    arrays = nets[TEACHER].evaluation.arrays
    blocks = {m.target: m.latency.blocks_ms for m in timed.measurements if m.latency is not None}
    found = accuracies(arrays, outputs, f"{TEACHER} {FLOAT}")
    same: dict[tuple[str, str], Accuracy] = {}
    for target in nets[TEACHER].outputs:
        alike = {label: out for label, out in outputs.items() if label.endswith(f" {target}")}
        same |= accuracies(arrays, alike, f"{TEACHER} {target}")
    rows = []
    for label in outputs:
        name, _, target = label.partition(" ")
        row: dict[str, Any] = {"net": name, "target": target, **nets[name].size}
        for metric in METRICS:
            row[metric] = _interval(found[label, metric].estimate)
            row[f"{metric} drop"] = _interval(found[label, metric].drop)
            row[f"{metric} drop to same target"] = _interval(same[label, metric].drop)
            row[f"{metric} n"] = found[label, metric].n
        if label in blocks:
            row["p50_ms"] = float(np.median(np.ravel(blocks[label])))
            ratio = intervals.ratio_of_medians(blocks[label], blocks[f"{TEACHER} {target}"])
            row |= {"latency_ratio": _interval(ratio), "blocks": len(blocks[label])}
        rows.append(row)
    return rows


def accuracies(arrays: Any, outputs: Mapping[str, np.ndarray], reference: str) -> dict[tuple[str, str], Accuracy]:
    return {(a.target, a.metric): a for a in accuracy.judge("verification", arrays, outputs, reference)}


def claims_of(rows: Sequence[Mapping[str, Any]]) -> list[claims.Claim]:
    """Each student's drop to the float teacher in points, and the latency of the first: all are one net."""
    found = []
    for row in rows:
        if row["net"] == TEACHER or row["target"] not in INT8:
            continue
        drop = row["accuracy drop"]
        points = Interval(*(None if end is None else 100 * end for end in drop.values()))  # type: ignore[arg-type]
        label = f"{row['net']} {row['target']}"
        found.append(claims.make_claim("faces_student", f"{label} drop", points, row["accuracy n"]))
        if row["net"] == next(iter(RECIPES)) and "latency_ratio" in row:
            ratio = Interval(**row["latency_ratio"])
            found.append(claims.make_claim("faces_student", f"{label} latency", ratio, row["blocks"]))
    return found


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table people read: percent and points."""
    lines = [
        "| net | target | accuracy % | drop, points | TAR@1e-3 all | drop | ms | of the teacher's |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        shares = [_cell(row[key], 100) for metric in METRICS for key in (metric, f"{metric} drop")]
        ms = f"{row['p50_ms']:.2f}" if "p50_ms" in row else ""
        cells = [row["net"], row["target"], *shares, ms, _cell(row.get("latency_ratio"), 1)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(cell: Mapping[str, float | None] | None, factor: float) -> str:
    if not cell or cell["low"] is None or cell["high"] is None:
        return ""
    value, low, high = (factor * float(end or 0) for end in cell.values())
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _interval(interval: Interval | None) -> dict[str, float | None] | None:
    return None if interval is None else {"value": interval.value, "low": interval.low, "high": interval.high}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lfw112/, celeba112/ and mobilefacenet/")
    parser.add_argument("--work", type=Path, help="where embeddings, trained weights and artefacts stay")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--quick", action="store_true", help="few pictures, one epoch: says nothing about accuracy")
    return parser.parse_args()


if __name__ == "__main__":
    main()
