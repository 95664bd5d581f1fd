"""One input through one artefact."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesmith import records
from edgesmith.artifact import Exported, load_exported
from edgesmith.bench.adopt import adopt
from edgesmith.errors import MissingResource, UsageError
from edgesmith.pipeline.doctor import is_artifact
from edgesmith.plugins import missing_package
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import Arrays


@dataclass(frozen=True)
class Answer:
    """Outputs by name, and the best classes when the artefact knows its labels."""

    outputs: Arrays
    classes: tuple[tuple[str, float], ...] = ()

    def summary(self) -> list[tuple[str, str, str]]:
        """One row an output: name, shape, first values."""
        return [(n, str(a.shape), np.array2string(a.ravel()[:6], precision=4)) for n, a in self.outputs.items()]

    def save(self, file: Path) -> None:
        """Write the outputs as .npz, under just this name. Raises: MissingResource."""
        content = io.BytesIO()
        np.savez(content, **self.outputs)  # type: ignore[arg-type]
        records.write_bytes(file, content.getvalue())


def predict(artifact: Path, input_file: Path, threads: int, top: int, mode: str = "fp16") -> Answer:
    """Run one picture (through the artefact's own preprocessing), one .npz of inputs, or the one input in a .npy.

    mode: how the interpreter rounds that runs Core ML packages elsewhere than on a Mac.
    Raises: UsageError when the input does not fit, MissingResource when a file or the runtime is absent.
    """
    if is_foreign_package(artifact):
        return Answer(*_interpreted(artifact, input_file, top, mode))
    with tempfile.TemporaryDirectory() as folder:
        exported = open_any(artifact, Path(folder))
        feed = _read(input_file, exported)
        with RUNTIMES.get(exported.runtime).open(exported, RunOptions(threads=threads)) as session:
            outputs = session.run(feed)
    return Answer(outputs, _best(outputs, exported.labels, top))


def _interpreted(package: Path, file: Path, top: int, mode: str) -> tuple[Arrays, tuple[tuple[str, float], ...]]:
    try:
        from edgesmith.pipeline.packages import predict_package
    except ModuleNotFoundError as error:
        raise missing_package(error, f"run {package.name} without macOS") from error
    return predict_package(package, file, top, mode)


def open_any(path: Path, folder: Path) -> Exported:
    """An artefact of ours, checked, or a file made by anyone, adopted into `folder`."""
    return load_exported(path) if is_artifact(path) else adopt(path, folder)


def is_foreign_package(path: Path) -> bool:
    """Whether this is a Core ML package made by anyone, and there is no Core ML here to run it."""
    return path.suffix == ".mlpackage" and not is_artifact(path) and sys.platform != "darwin"


def read_inputs(file: Path, names: Sequence[str]) -> Arrays:
    """The arrays of a .npz by their names, or the one array of a .npy for a model of one input. Raises: UsageError."""
    from edgesmith.data.arrays import read_array, read_arrays

    if file.suffix == ".npz":
        return read_arrays(file)
    if len(names) != 1:
        raise UsageError(f"input {file}", f"the model has the inputs {list(names)}", "give a .npz with all of them")
    return {names[0]: read_array(file)}


def _read(file: Path, exported: Exported) -> Arrays:
    if not file.is_file():
        raise MissingResource(f"input {file}", "no such file", "check the path")
    if file.suffix in (".npz", ".npy"):
        return read_inputs(file, [spec.name for spec in exported.inputs])
    if exported.preprocessing is None:
        raise UsageError(f"input {file}", "the artefact has no preprocessing for pictures", "give a .npz of its inputs")
    from edgesmith.data.images import decode, squish

    image = squish(decode(file), exported.preprocessing.size)
    return {exported.inputs[0].name: exported.preprocessing.apply(image[None])}


def _best(outputs: Arrays, labels: tuple[str, ...], top: int) -> tuple[tuple[str, float], ...]:
    scores = next(iter(outputs.values()))
    if not labels or scores.shape[-1] != len(labels):
        return ()
    logits = scores.reshape(-1, len(labels))[0].astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-shares)[:top]
    return tuple((labels[index], float(shares[index])) for index in order)
