"""What an app has to know about its model, as data: kit.json, the golden arrays beside it, and labels.

Every kit carries the same record, so that four languages do the same to a picture and compare with the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import edgesmith
from edgesmith import records
from edgesmith.artifact import RECORD, Exported, sha256
from edgesmith.errors import EdgesmithError, UsageError
from edgesmith.plugins import missing_package
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import Arrays, TensorSpec

FACTS = "kit.json"
GOLDEN = "golden"
TYPES = ("float32", "float64", "int32", "int64", "uint8")
# Largest difference to the original that is let pass, as a share of the largest reference value: what the precision
# itself costs on a net of a hundred layers. Twice the difference seen on this machine is let pass where that is more.
ALLOWED_SHARE = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 5e-2, "int8": 5e-2}
PICTURE_ALLOWED = 1e-5
"""Preprocessing is integer arithmetic and one table: what is left is the last bit of a float32."""


@dataclass(frozen=True)
class Resize:
    """Stretched to `size` (height, width), bilinear with the window widened when shrinking, in 8-bit integers."""

    size: tuple[int, int]
    fit: str = "stretch"
    filter: str = "bilinear, antialiased, rounded to 8 bits after each axis, rows first"


@dataclass(frozen=True)
class Pictures:
    """From an upright RGB picture to the input, in this order: resize, crop, colour, (x / 255 - mean) / std, NCHW."""

    resize: Resize
    color: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: tuple[int, int] | None = None
    layout: str = "NCHW"


@dataclass(frozen=True)
class Golden:
    """One array: little-endian values in C order in `file`. allowed: the largest difference that passes the test."""

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    allowed: float = 0.0


@dataclass(frozen=True)
class Facts:
    """kit.json. reference: what the original PyTorch model answered to `feed`.

    picture: uint8 RGB (H, W, 3), made of seeded noise; prepared: the input that comes out of it.
    seen_here: the largest difference to the reference on the machine that made the kit, by output, {} if it could not
    run the artefact. artifact: sha256 of the artefact's record, which holds the checksums of its files.
    """

    name: str
    edgesmith: str
    target: str
    runtime: str
    precision: str
    model: str
    artifact: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...]
    preprocessing: Pictures | None
    feed: tuple[Golden, ...]
    reference: tuple[Golden, ...]
    picture: Golden | None
    prepared: Golden | None
    seen_here: Mapping[str, float]
    ran_here: str = ""


def write_facts(exported: Exported, name: str, model: str, folder: Path) -> Facts:
    """Write kit.json and golden/ into `folder`. Raises: UsageError without golden data or for other number types."""
    golden = exported.golden()
    if golden is None:
        todo = "export it with edgesmith, which saves them"
        raise UsageError(f"make an app of {exported.root}", "it has no golden inputs and outputs", todo)
    feed, reference = golden
    _check_types(exported, {**feed, **reference})
    (folder / GOLDEN).mkdir(parents=True)
    seen, ran_here = _seen_here(exported, feed, reference)
    picture, prepared = _picture(exported, folder)
    facts = Facts(
        name=name,
        edgesmith=edgesmith.__version__,
        target=exported.target,
        runtime=exported.runtime,
        precision=exported.precision,
        model=model,
        artifact=sha256(exported.root / RECORD),
        inputs=exported.inputs,
        outputs=exported.outputs,
        labels=exported.labels,
        preprocessing=_pictures(exported),
        feed=tuple(_write(folder, f"in{n}", key, feed[key]) for n, key in enumerate(feed)),
        reference=tuple(
            _write(folder, f"out{n}", key, value, allowed(exported.precision, value, seen.get(key, 0.0)))
            for n, (key, value) in enumerate(reference.items())
        ),
        picture=picture,
        prepared=prepared,
        seen_here=seen,
        ran_here=ran_here,
    )
    records.save(folder / FACTS, facts)
    return facts


def allowed(precision: str, reference: np.ndarray, seen: float) -> float:
    """The largest difference that a self-test lets pass."""
    scale = float(np.abs(reference).max(initial=0.0))
    return max(ALLOWED_SHARE.get(precision, 1e-4) * scale, 2 * seen)


def noise_picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A picture that has to be shrunk in width and stretched in height. Shape: uint8 RGB (H, W, 3).

    Not the other way round: Pillow 13 does the columns first where they shrink much more than the rows, older ones
    never do, and the two differ by one level of 255 in some pixels.
    """
    height, width = max(3, round(size[0] * 0.7)), max(3, round(size[1] * 1.6))
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _check_types(exported: Exported, arrays: Arrays) -> None:
    odd = {name: str(array.dtype) for name, array in arrays.items() if str(array.dtype) not in TYPES}
    if odd:
        raise UsageError(f"make an app of {exported.root}", f"numbers of type {odd}", f"export as {', '.join(TYPES)}")


def _seen_here(exported: Exported, feed: Arrays, reference: Arrays) -> tuple[dict[str, float], str]:
    """The differences to the original on this machine; none where it lacks the runtime."""
    try:
        runtime: Any = RUNTIMES.get(exported.runtime)
        with runtime.open(exported, RunOptions()) as session:
            found = session.run(feed)
            ran = f"{session.engine}, {runtime.version()}"
    except (EdgesmithError, ImportError, OSError):
        return {}, ""
    wide = {name: np.abs(found[name].astype(np.float64) - reference[name]) for name in reference}
    return {name: float(values.max(initial=0.0)) for name, values in wide.items()}, ran


def _pictures(exported: Exported) -> Pictures | None:
    given = exported.preprocessing
    return None if given is None else Pictures(Resize(given.size), given.color, given.mean, given.std)


def _picture(exported: Exported, folder: Path) -> tuple[Golden | None, Golden | None]:
    given = exported.preprocessing
    if given is None:
        return None, None
    try:
        from edgesmith.data.images import squish
    except ModuleNotFoundError as error:
        raise missing_package(error, "prepare the picture of the self-test") from error
    picture = noise_picture(given.size)
    prepared = given.apply(squish(picture, given.size)[None])
    return (
        _write(folder, "picture", "picture", picture),
        _write(folder, "prepared", "prepared", prepared, PICTURE_ALLOWED),
    )


def _write(folder: Path, stem: str, name: str, array: np.ndarray, let_pass: float = 0.0) -> Golden:
    file = f"{GOLDEN}/{stem}.bin"
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    (folder / file).write_bytes(little.tobytes())
    return Golden(name, file, str(array.dtype), tuple(array.shape), let_pass)
