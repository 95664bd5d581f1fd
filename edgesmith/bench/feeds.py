"""From the rows of a job's inputs to what one model takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from edgesmith.artifact import Exported
from edgesmith.errors import EngineFailed, UsageError
from edgesmith.tensors import Arrays, TensorSpec

# Inputs prepared ahead of a latency run: enough to rotate over, few enough not to weigh on the memory peak.
MOST_FEEDS = 32
# Kernels that add up in another order each time stay far below it; a dropout of one in a hundred does not.
REPEATS = 1e-4  # of the sum of squares


def batch_of(exported: Exported, asked: int) -> int:
    """Rows a run: as asked where the first axis is dynamic, else what the model was made for."""
    first = exported.inputs[0].shape[:1]
    return first[0] if first and isinstance(first[0], int) else asked


def feed_of(exported: Exported, inputs: Arrays, kind: Literal["images", "tensors"], rows: np.ndarray) -> Arrays:
    """The feed made of these rows; images go through the model's own preprocessing.

    Raises: UsageError when the inputs are not what the model takes.
    """
    if kind == "images":
        return _from_images(exported, inputs, rows)
    names = [spec.name for spec in exported.inputs]
    if len(names) == 1 == len(inputs):  # one array for one input needs no name
        inputs = {names[0]: next(iter(inputs.values()))}
    if set(names) != set(inputs):
        raise UsageError(f"inputs {sorted(names)}", f"the data has {sorted(inputs)}", "give every input by its name")
    return {spec.name: as_taken(spec, inputs[spec.name][rows]) for spec in exported.inputs}


def latency_feeds(exported: Exported, inputs: Arrays, kind: Literal["images", "tensors"], asked: int) -> list[Arrays]:
    """Feeds to rotate over, made of real samples."""
    count, size = len(next(iter(inputs.values()))), batch_of(exported, asked)
    starts = range(0, min(count, MOST_FEEDS))
    return [feed_of(exported, inputs, kind, (start * size + np.arange(size)) % count) for start in starts]


def run_all(
    run: Callable[[Arrays], Arrays],
    exported: Exported,
    inputs: Arrays,
    kind: Literal["images", "tensors"],
    asked: int,
) -> Arrays:
    """Outputs for every row, in order; the first rows are run twice.

    Raises: UsageError, EngineFailed, also where they are answered differently the second time.
    """
    count, size = len(next(iter(inputs.values()))), batch_of(exported, asked)
    fixed = not isinstance(exported.inputs[0].shape[0], str)
    pieces: dict[str, list[np.ndarray]] = {spec.name: [] for spec in exported.outputs}
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        # A model made for a fixed batch gets the last row again to fill its last batch.
        padded = np.pad(rows, (0, size - len(rows)), mode="edge") if fixed else rows
        answer = run(feed_of(exported, inputs, kind, padded))
        for name, parts in pieces.items():
            if answer[name].shape[:1] != (len(padded),):
                found = f"shape {answer[name].shape} for {len(padded)} rows"
                raise EngineFailed(f"output {name!r} with one row an input", found, "its first axis must be the batch")
            parts.append(answer[name][: len(rows)])
        if start == 0:
            _check_repeats(answer, run(feed_of(exported, inputs, kind, padded)))
    return {name: np.concatenate(parts) for name, parts in pieces.items()}


def _check_repeats(first: Arrays, second: Arrays) -> None:
    for name, array in first.items():
        wanted, given = np.asarray(array, np.float64), np.asarray(second[name], np.float64)
        if not (np.isfinite(wanted).all() and np.isfinite(given).all()):
            continue  # said by whoever looks at the values
        changed = float(((wanted - given) ** 2).sum())
        if changed > REPEATS * float((wanted**2).sum()):
            found = f"output {name!r} of the same rows is another one the second time"
            raise EngineFailed("answer the same twice", found, "switch off what is random in it: dropout, noise")


def _from_images(exported: Exported, inputs: Arrays, rows: np.ndarray) -> Arrays:
    if len(exported.inputs) != 1 or len(inputs) != 1:
        found = f"{len(exported.inputs)} inputs for {sorted(inputs)}"
        raise UsageError("feed images to a model of one input", found, "give tensors by input name")
    if exported.preprocessing is None:
        raise UsageError(
            "feed images", "the model's preprocessing is not known", "say size, mean, std and colour order"
        )
    images = next(iter(inputs.values()))[rows]
    spec = exported.inputs[0]
    return {spec.name: as_taken(spec, exported.preprocessing.apply(images))}


def as_taken(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """A float array in the model's own float type, whole numbers in a wider type of whole numbers.

    Other types are left for the session to refuse.
    """
    taken, given = spec.numpy_type, array.dtype
    whole = taken.kind in "iu" and given.kind in "iu" and np.can_cast(given, taken)
    return np.ascontiguousarray(array.astype(taken) if whole or taken.kind == "f" == given.kind else array)
