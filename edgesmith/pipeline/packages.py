"""One input through a Core ML package made by anyone, where there is no Core ML: the interpreter runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesmith.data.images import decode, squish
from edgesmith.errors import MissingResource, UsageError
from edgesmith.pipeline.predict import read_inputs
from edgesmith.runtimes.mil.model import Model, load
from edgesmith.tensors import Arrays


def predict_package(
    package: Path, input_file: Path, top: int, mode: str
) -> tuple[Arrays, tuple[tuple[str, float], ...]]:
    """The outputs that are arrays, and the best classes of a classifier with their probabilities.

    Raises: UsageError for an input that does not fit, DamagedArtifact, EngineFailed naming an operation.
    """
    if not input_file.is_file():
        raise MissingResource(f"input {input_file}", "no such file", "check the path")
    model = load(package, mode)
    answer = model(**feed_of(model, input_file))
    arrays = {name: np.asarray(value) for name, value in answer.items() if isinstance(value, np.ndarray)}
    shares = next((value for value in answer.values() if isinstance(value, dict)), {})
    best = sorted(shares.items(), key=lambda pair: -pair[1])[:top]
    return arrays, tuple((str(label), float(share)) for label, share in best)


def feed_of(model: Model, file: Path) -> dict[str, Any]:
    """What a file holds for the inputs of a package: arrays, or a picture squeezed to the size of its image input."""
    if file.suffix in (".npz", ".npy"):
        return dict(read_inputs(file, list(model.inputs)))
    images = [feature for feature in model.inputs.values() if feature.kind == "image"]
    if len(images) != 1 or len(model.inputs) != 1:
        kinds = {name: feature.kind for name, feature in model.inputs.items()}
        raise UsageError(f"input {file}", f"the package takes {kinds}", "give a .npy, or a .npz of its inputs")
    height, width = images[0].shape
    picture = squish(decode(file), (height, width))
    return {images[0].name: grey(picture) if images[0].color == "gray" else picture}


def grey(picture: np.ndarray) -> np.ndarray:
    """The luminance of an RGB picture. Source: ITU-R BT.601."""
    return np.asarray((picture @ np.array([0.299, 0.587, 0.114])).round(), np.uint8)
