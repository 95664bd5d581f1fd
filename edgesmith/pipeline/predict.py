"""One input through one artefact."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesmith import records
from edgesmith.artifact import Exported, load_exported
from edgesmith.bench.adopt import adopt
from edgesmith.errors import MissingResource, UsageError
from edgesmith.pipeline.doctor import is_artifact
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


def predict(artifact: Path, input_file: Path, threads: int, top: int) -> Answer:
    """Run one picture (through the artefact's own preprocessing) or one .npz of inputs.

    Raises: UsageError when the input does not fit, MissingResource when a file or the runtime is absent.
    """
    with tempfile.TemporaryDirectory() as folder:
        exported = open_any(artifact, Path(folder))
        feed = _read(input_file, exported)
        with RUNTIMES.get(exported.runtime).open(exported, RunOptions(threads=threads)) as session:
            outputs = session.run(feed)
    return Answer(outputs, _best(outputs, exported.labels, top))


def open_any(path: Path, folder: Path) -> Exported:
    """An artefact of ours, checked, or a file made by anyone, adopted into `folder`."""
    return load_exported(path) if is_artifact(path) else adopt(path, folder)


def _read(file: Path, exported: Exported) -> Arrays:
    if not file.is_file():
        raise MissingResource(f"input {file}", "no such file", "check the path")
    if file.suffix == ".npz":
        from edgesmith.data.arrays import read_arrays

        return read_arrays(file)
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
