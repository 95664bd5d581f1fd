"""What int8 costs a residual net and a vision transformer on CIFAR-10: ours beside other quantizers, paired.

    python benchmarks/int8_cifar.py --data cifar10.npz --work DIR [--nets resnet,vit] [--json FILE] [--quick]

DIR/cifar10.npz: x_train, y_train, x_test, y_test (uint8, NHWC). Both nets are trained here for about five minutes each
on one thread, from 20,000 pictures: resnet20, and a vision transformer of timm's class (patches of 4 pixels, four
blocks, 96 channels, three heads). Calibration: 300 training pictures (ONNX Runtime's Percentile and Entropy get 100 of
them). Judged on all 10,000 test pictures, which chose nothing, by the runtimes themselves: accuracy, its change to the
float net, and the cosine of the logits to the float net's, each with a 95 % interval paired over pictures. "ours" is
what `edgesmith quantize` does by default; "adaround" has learned rounding too. NNCF is told that the transformer is
one, as its documentation asks for, and once is not. Weights and logits lie in --work: a run that was cut goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import numpy as np
import torch
from int8_artifacts import INT8, Maker, make, nncf_quantizer, ort_quantizer, ours, rewritten
from qat_cifar import CALIBRATION, CLASSES, PREPROCESSING, SIDE, parts, trained
from safetensors.torch import load_file, save_file
from torch import nn

from edgesmith import intervals, metrics
from edgesmith.artifact import Exported, sha256
from edgesmith.compress.fit import FitConfig
from edgesmith.compress.task import Parts, plain
from edgesmith.data.split import Split, digest
from edgesmith.models import cifar_resnet
from edgesmith.models.timm import import_timm
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.results import Interval
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import TensorSpec

FLOATS = ("torch-fp32", "ort-fp32", "openvino-fp32")
TRAIN = 20_000
COMMON = FitConfig(epochs=8, batch=64, augment="flip+shift", channels_last=True, threads=1, seed=0)
TRAINING = {
    "resnet": replace(COMMON, lr=0.1),
    "vit": replace(COMMON, lr=1e-3, optimizer="adamw", weight_decay=0.05, warmup_epochs=1, channels_last=False),
}
PEERS = {"ort-int8": "ort ", "openvino-int8": "nncf "}
Row = dict[str, Any]


def main() -> None:
    options = _options()
    train, test = pictures(options.data, options.quick)
    rows: list[Row] = []
    found: list[claims.Claim] = []
    for name in options.nets.split(","):
        own, held = one_net(name, train, test, options.work / name, options.quick)
        rows, found = rows + own, found + held
        print("\n".join(map(show, own)))
    found = [] if options.quick else found
    print("\n".join(claims.table(found)))
    if options.json:
        packages = ("numpy", "torch", "torchao", "onnx", "onnxruntime", "openvino", "nncf", "timm")
        claims.write_json(options.json, "int8_cifar", rows, found, packages)


def one_net(name: str, train: Split, test: Split, work: Path, quick: bool) -> tuple[list[Row], list[claims.Claim]]:
    net = net_of(name, train, work / "weights.safetensors", quick)
    source = Source(name, net, (TensorSpec("image", (1, 3, SIDE, SIDE)),), PREPROCESSING, outputs=("logits",))
    arrays = {"image": train.inputs["image"][: 20 if quick else CALIBRATION]}
    maker = make(source, Inputs(arrays, True, digest(arrays)), work / "made", adaround=False)
    exported = ours(maker, (*FLOATS, *INT8)) | peers(maker, name == "vit")
    learned = make(source, maker.calibration, work / "adaround", adaround=not quick)
    exported |= {f"{row} adaround": made for row, made in ours(learned, INT8).items()}
    logits = {row: logits_of(row, made, test, work / "logits") for row, made in exported.items()}
    return rows_of(name, logits, test), claims_of(name, logits, test)


def peers(maker: Maker, transformer: bool) -> dict[str, Exported]:
    """Other quantizers on the float net, and on the one that our plan has rewritten."""
    folder = maker.folder / "ours"
    onnx, xml = folder / "ort-fp32" / "model.onnx", folder / "openvino-fp32" / "model.xml"
    again = {family: rewritten(maker, family, f"{family}-fp32") for family in ("ort", "openvino")}
    methods = ("MinMax", "Percentile", "Entropy")
    made = {f"ort {method}": ort_quantizer(maker, onnx, f"ort-{method}", method) for method in methods}
    made["ort MinMax, rewritten"] = ort_quantizer(maker, again["ort"], "ort-rewritten")
    made["nncf MIXED"] = nncf_quantizer(maker, xml, "nncf-mixed", "MIXED", transformer)
    made["nncf MIXED, rewritten"] = nncf_quantizer(maker, again["openvino"], "nncf-rewritten", "MIXED", transformer)
    if transformer:
        made["nncf MIXED, not told"] = nncf_quantizer(maker, xml, "nncf-not-told", "MIXED")
    return made


def net_of(name: str, train: Split, file: Path, quick: bool) -> nn.Module:
    """The trained net, from its file if it is there."""
    net = NETS[name]()
    if not file.exists():
        config = TRAINING[name]
        net = trained(plain(Parts(net, None, CLASSES)), train, replace(config, epochs=1) if quick else config)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in net.state_dict().items()}, str(file))
    net.load_state_dict(load_file(str(file)))
    return net.eval()


def resnet20() -> nn.Module:
    return cifar_resnet.build("resnet20", classes=CLASSES)[0]


def small_vit() -> nn.Module:
    kind = import_timm().models.vision_transformer.VisionTransformer
    torch.manual_seed(0)
    net: nn.Module = kind(SIDE, patch_size=4, embed_dim=96, depth=4, num_heads=3, num_classes=CLASSES)
    return net


NETS: Mapping[str, Callable[[], nn.Module]] = {"resnet": resnet20, "vit": small_vit}


def logits_of(name: str, made: Exported, test: Split, folder: Path) -> np.ndarray:
    """Logits of the test pictures, one at a time as the artefact takes them, kept by what made them. Shape: (N, 10)."""
    key = sha256(made.file)[:12] if made.file.is_file() else "net"
    file = folder / f"{name.replace(' ', '-').replace(',', '')}-{key}-{len(test)}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with RUNTIMES.get(made.runtime).open(made, RunOptions(threads=1)) as session:
            feed = session.inputs[0].name
            ran = [
                next(iter(session.run({feed: one[None]}).values()))
                for part in parts(test)
                for one in PREPROCESSING.apply(part)
            ]
        np.save(file, np.concatenate(ran))
    found: np.ndarray = np.load(file)
    print(f"{name}: {len(found)} pictures", flush=True)
    return found


def right(logits: np.ndarray, test: Split) -> np.ndarray:
    """Which pictures are named rightly. Shape: bool (N,)."""
    return np.asarray(logits.argmax(1) == test.labels)


def rows_of(net: str, logits: Mapping[str, np.ndarray], test: Split) -> list[Row]:
    rows = []
    reference = logits["torch-fp32"]
    for name, own in logits.items():
        hits, cosines = right(own, test), metrics.cosine(reference, own)
        stats = metrics.cosine_stats(cosines)
        row: Row = {"net": net, "artifact": name, "accuracy": _ends(intervals.wilson(int(hits.sum()), len(hits)), 100)}
        row["change"] = _ends(gain(right(reference, test), hits), 1)
        row["cosine"] = _ends(intervals.mean(cosines), 1) | {"p1": stats.p1, "min": stats.min}
        row["sqnr_db"] = metrics.sqnr_db(float(np.square(reference).sum()), float(np.square(own - reference).sum()))
        rows.append(row)
    return rows


def gain(reference: np.ndarray, candidate: np.ndarray) -> Interval:
    """Change of accuracy in points, paired: above 0 where the candidate is better. Shape: bool (N,) twice."""
    drop = intervals.paired_drop(reference, candidate)
    ends = [None if end is None else -100 * end for end in (drop.high, drop.low)]
    return Interval(-100 * drop.value, *ends)


def _ends(interval: Interval, factor: float) -> dict[str, float | None]:
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: None if end is None else factor * end for name, end in ends.items()}


def show(row: Row) -> str:
    change, cosine = row["change"], row["cosine"]
    ends = f"({change['low']:+.2f} to {change['high']:+.2f})"
    near = f"cosine {cosine['value']:.5f} (p1 {cosine['p1']:.4f}, min {cosine['min']:.4f}), {row['sqnr_db']:.1f} dB"
    found = f"{row['accuracy']['value']:.2f} %  {change['value']:+.2f} {ends}"
    return f"{row['net']:6} {row['artifact']:24} {found}  {near}"


def claims_of(net: str, logits: Mapping[str, np.ndarray], test: Split) -> list[claims.Claim]:
    """Each of our artefacts against the float net, and against the best other quantizer of its runtime."""
    reference = logits["torch-fp32"]
    cosines = {name: metrics.cosine(reference, own) for name, own in logits.items()}
    found = []
    for name, maker in PEERS.items():
        change = gain(right(reference, test), right(logits[name], test))
        found.append(_claim(f"{net} {name} over float", change, len(test)))
        others = [other for other in logits if other.startswith(maker)]
        best = max(others, key=lambda other: float(right(logits[other], test).mean()))
        won = gain(right(logits[best], test), right(logits[name], test))
        found.append(_claim(f"{net} {name} over the best other", won, len(test)))
        best = max(others, key=lambda other: float(cosines[other].mean()))
        nearer = intervals.mean(cosines[name] - cosines[best])
        found.append(_claim(f"{net} {name} cosine over the best other", nearer, len(test)))
    return found


def _claim(text: str, found: Interval, n: int) -> claims.Claim:
    return claims.make_claim("int8_cifar", text, found, n)


def pictures(file: Path, quick: bool) -> tuple[Split, Split]:
    """Training pictures, spread over the file, and all test pictures."""
    with np.load(file, allow_pickle=False) as found:
        arrays = {name: found[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    rows = np.random.default_rng(0).permutation(len(arrays["x_train"]))[: 400 if quick else TRAIN]
    last = 200 if quick else len(arrays["x_test"])
    train = Split({"image": arrays["x_train"][rows]}, arrays["y_train"][rows].astype(np.int64))
    return train, Split({"image": arrays["x_test"][:last]}, arrays["y_test"][:last].astype(np.int64))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="cifar10.npz")
    parser.add_argument("--work", type=Path, required=True, help="folder for weights, artefacts and logits")
    parser.add_argument("--nets", default=",".join(NETS))
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--quick", action="store_true", help="one epoch, few samples: says nothing about accuracy")
    return parser.parse_args()


if __name__ == "__main__":
    main()
