"""How near int8 stays to the float net on real faces: ours beside other quantizers, image by image.

    python benchmarks/int8_accuracy.py --data DIR --work DIR [--nets relu6,prelu] [--json FILE] [--quick]

DIR is laid out as recipes/faces-lfw.yaml says. Calibration: 300 images of people in no pair (ONNX Runtime's Percentile
and Entropy get 100 of them: they keep every value of every sample); ours learns its rounding from the same images. Not
seen by any of this: the people in the pairs. All their images are judged: cosine of an image's embedding to the float
net's; and, of embeddings added to those of mirror images, accuracy over 5 folds, TAR at FAR 1e-2 of the pairs and at
1e-3 and 1e-4 against every cross-person pair, drawn over people. Cosines are compared
image by image. "rewritten": the other quantizer got our equalised, rewritten float net. Artefacts are made as
int8_speed.py makes them; embeddings lie in --work, so that a run that was cut goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import claims
import numpy as np
from int8_artifacts import INT8, Maker, make, nncf_quantizer, ort_quantizer, ours, rewritten
from int8_speed import FACES, ROOT

from edgesmith import intervals, metrics
from edgesmith.artifact import Exported, sha256
from edgesmith.data import faces
from edgesmith.data.split import Data
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EngineFailed
from edgesmith.pipeline.judge import run_outputs
from edgesmith.pipeline.recipe import read_recipe
from edgesmith.pipeline.sources import Trust, model_from_spec
from edgesmith.pipeline.training import calibration_inputs, evaluation_inputs, evaluation_of, resolved
from edgesmith.results import Accuracy, Interval
from edgesmith.verify import verification

FLOAT = "torch-fp32"
NETS = {"relu6": "mobilefacenet-relu6", "prelu": "mobilefacenet-prelu"}
TAR = {"tar_all@1e-3": "1e-3", "tar_all@1e-4": "1e-4"}
Row = dict[str, Any]


def main() -> None:
    options = _options()
    rows: list[Row] = []
    found: list[claims.Claim] = []
    for net in options.nets.split(","):
        own, held = one_net(net, options.data, options.work / net, options.quick)
        rows, found = rows + own, found + held
        print("\n".join(map(show, own)))
    found = [] if options.quick else found
    print("\n".join(claims.table(found)))
    if options.json:
        claims.write_json(options.json, "int8_accuracy", rows, found)


def one_net(net: str, root: Path, work: Path, quick: bool) -> tuple[list[Row], list[claims.Claim]]:
    recipe = read_recipe(ROOT / "recipes" / f"{FACES[NETS[net]]}.yaml", [f"data.root={root}"])
    source = model_from_spec(resolved(recipe.model, recipe.data), Trust())
    words = {key: value for key, value in recipe.data.items() if key != "use"}
    data = faces.load(source.preprocessing, **({**words, "limit": 2} if quick else words))
    maker = make(source, calibration_inputs(data, 20 if quick else 300), work, adaround=not quick)
    exported = ours(maker, (FLOAT, *INT8)) | peers(maker, net)
    outputs = {name: embeddings(data, name, made, work) for name, made in exported.items()}
    judged = verification.judge(evaluation_of(data).arrays, outputs, FLOAT)
    images = len(outputs[FLOAT]) // 2  # mirror images follow
    cosines = {n: metrics.cosine(outputs[FLOAT][:images], o[:images]) for n, o in outputs.items() if n != FLOAT}
    return rows_of(net, judged, cosines), claims_of(net, judged, cosines)


def peers(maker: Maker, net: str) -> dict[str, Exported]:
    """Other quantizers; ONNX Runtime's gets the PReLU net with Max, as it leaves PReLU in float."""
    onnx, xml = maker.folder / "ours" / "ort-fp32" / "model.onnx", maker.folder / "ours" / "openvino-fp32" / "model.xml"
    ours(maker, (FLOAT, "ort-fp32", "openvino-fp32", *INT8))
    plain = rewritten(maker, "openvino", "ort-fp32") if net == "prelu" else onnx
    made = {
        f"ort {method}": ort_quantizer(maker, plain, f"ort-{method}", method)
        for method in ("MinMax", "Percentile", "Entropy")
    }
    made["ort MinMax, rewritten"] = ort_quantizer(maker, rewritten(maker, "ort", "ort-fp32"), "ort-rewritten")
    made["nncf MIXED"] = nncf_quantizer(maker, xml, "nncf-mixed", "MIXED")
    again = rewritten(maker, "openvino", "openvino-fp32")
    made["nncf MIXED, rewritten"] = nncf_quantizer(maker, again, "nncf-rewritten", "MIXED")
    return made


def embeddings(data: Data, name: str, made: Exported, work: Path) -> np.ndarray:
    """Embeddings of all evaluation images and their mirror images, kept by what made them."""
    key = sha256(made.file)[:12] if made.file.is_file() else "net"
    file = work / "embeddings" / f"{name.replace(' ', '-').replace(',', '')}-{key}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        ran = run_outputs({name: made}, evaluation_inputs(data), work / "job", LocalDevice(), print)
        if name not in ran.arrays:
            raise EngineFailed(f"run {name}", ran.unrun[name].reason, "look at the artefact")
        np.save(file, next(iter(ran.arrays[name].values())))
    found: np.ndarray = np.load(file)
    print(f"{name}: {len(found)} embeddings", flush=True)
    return found


def rows_of(net: str, judged: tuple[Accuracy, ...], cosines: Mapping[str, np.ndarray]) -> list[Row]:
    rows: dict[str, Row] = {}
    for one in judged:
        row = rows.setdefault(one.target, {"net": net, "artifact": one.target})
        if one.metric == "cosine":  # that of the pair with its mirror image, in which errors cancel
            continue
        row[one.metric] = _ends(one.estimate) | dict(one.extra)
        if one.drop is not None:
            row[f"{one.metric} drop"] = _ends(one.drop)
    for name, values in cosines.items():
        stats = metrics.cosine_stats(values)
        rows[name]["cosine"] = _ends(intervals.mean(values)) | {"p1": stats.p1, "min": stats.min}
    return list(rows.values())


def _ends(interval: Interval) -> dict[str, float | None]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def show(row: Row) -> str:
    cosine = row.get("cosine")
    near = f"cosine {cosine['value']:.5f} (p1 {cosine['p1']:.4f}, min {cosine['min']:.4f})" if cosine else " " * 38
    shares = "  ".join(
        f"{name} {100 * row[name]['value']:.2f}" for name in ("accuracy", "tar@1e-2", *TAR) if name in row
    )
    return f"{row['net']:6} {row['artifact']:24} {near}  {shares}"


def claims_of(net: str, judged: tuple[Accuracy, ...], cosines: Mapping[str, np.ndarray]) -> list[claims.Claim]:
    """The limits of a net's artefacts on both runtimes."""
    found = []
    for name, maker in (("ort-int8", "ort"), ("openvino-int8", "nncf")):
        own = cosines[name]
        mean = intervals.mean(own)
        found += [_claim(f"{net} {name} mean cosine{aim}", mean, len(own)) for aim in ("", ", aim")]
        for words, given in (("the best other", False), ("the best other, rewritten", True)):
            others = [o for o in cosines if o.startswith(maker) and o != name and ("rewritten" in o) == given]
            best = max(others, key=lambda other: float(cosines[other].mean()))
            found.append(_claim(f"{net} {name} cosine over {words}", intervals.mean(own - cosines[best]), len(own)))
        for one in judged:
            if one.target == name and one.metric in TAR and one.drop is not None:
                drop = one.drop
                ends = [None if end is None else -100 * end for end in (drop.high, drop.low)]
                change = Interval(-100 * drop.value, *ends)
                found.append(_claim(f"{net} {name} TAR change at {TAR[one.metric]}", change, one.n))
    return found


def _claim(text: str, found: Interval, n: int) -> claims.Claim:
    return claims.make_claim("int8_accuracy", text, found, n)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lfw112/ and mobilefacenet/")
    parser.add_argument("--work", type=Path, required=True, help="folder for artefacts and embeddings")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="two folds, few samples: no claims")
    return parser.parse_args()


if __name__ == "__main__":
    main()
