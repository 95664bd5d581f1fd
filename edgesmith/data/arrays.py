"""Arrays from an .npz file or from memory, by the model's input names."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgesmith.data.images import need_preprocessing
from edgesmith.data.multilabel import multilabel_data
from edgesmith.data.split import Data, Split, labelled_data, unlabelled_data
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError
from edgesmith.multilabel_metrics import check_labels
from edgesmith.tensors import Arrays, Preprocessing

LABELS = "labels"


def load(
    preprocessing: Preprocessing | None,
    source: str | Path | Mapping[str, np.ndarray] = "",
    calibration: int = 300,
    holdout: float = 1.0,
    seed: int = 0,
) -> Data:
    """Read arrays with samples along the first axis; the key "labels" is optional.

    uint8 {"image": (N, H, W, 3)} are pictures and need a preprocessing; anything else is fed as it is.
    Labels (N,) are class numbers; labels (N, C) say of every class 1 there, 0 not there, -1 not annotated.
    With labels, `holdout` of every class is for evaluation (all, unless told) and the rest for training.
    Raises: UsageError, MissingResource, UntrustedFile (an array of Python objects), DamagedArtifact.
    """
    arrays = dict(source) if isinstance(source, Mapping) else read_arrays(Path(source))
    name = "arrays" if isinstance(source, Mapping) else f"arrays {Path(source).name}"
    labels = arrays.pop(LABELS, None)
    _check_lengths(name, arrays, labels)
    used = _preprocessing(name, arrays, preprocessing)
    if labels is None:
        return unlabelled_data(name, Split(arrays), used, calibration, seed)
    if np.ndim(labels) == 2:
        if labels.dtype.kind not in "iub":
            raise UsageError(f"load {name}", f"labels of type {labels.dtype}", "give integers: 1, 0 and -1")
        check_labels(labels)
        names = tuple(str(number) for number in range(labels.shape[1]))
        whole = Split(arrays, labels.astype(np.int8))
        return multilabel_data(name, whole, None, used, names, holdout=holdout, calibration=calibration, seed=seed)
    numbers = _class_numbers(name, np.asarray(labels))
    whole = Split(arrays, numbers)
    classes = tuple(str(label) for label in range(int(numbers.max()) + 1))
    return labelled_data(name, whole, used, classes, holdout, calibration, seed)


def read_arrays(path: Path) -> Arrays:
    """Every array of an .npz. Raises: MissingResource, UntrustedFile (Python objects in it), DamagedArtifact."""
    with _reading(path, ".npz"), np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def read_array(path: Path) -> np.ndarray:
    """The array of an .npy. Raises: MissingResource, UntrustedFile (Python objects in it), DamagedArtifact."""
    with _reading(path, ".npy"):
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise TypeError("an archive of several arrays")
        return found


@contextmanager
def _reading(path: Path, suffix: str) -> Iterator[None]:
    if not path.is_file():
        raise MissingResource(f"load arrays {path}", "no such file", f"give source=FILE{suffix}")
    try:
        yield
    except ValueError as error:
        if "pickle" in str(error):
            raise UntrustedFile(f"load arrays {path}", str(error), "save plain number arrays with np.savez") from error
        raise DamagedArtifact(f"load arrays {path}", str(error), "make the file again") from error
    except (OSError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise DamagedArtifact(f"load arrays {path}", f"not an {suffix} ({error})", "make the file again") from error


def _check_lengths(name: str, arrays: Arrays, labels: np.ndarray | None) -> None:
    everything = arrays if labels is None else {**arrays, LABELS: labels}
    lengths = {key: np.shape(array)[0] if np.ndim(array) else 0 for key, array in everything.items()}
    if labels is not None and np.ndim(labels) not in (1, 2):
        todo = "give one class number a sample, or one row of 0 and 1"
        raise UsageError(f"load {name}", f"labels of shape {np.shape(labels)}", todo)
    if not arrays or len(set(lengths.values())) != 1 or 0 in lengths.values():
        found = ", ".join(f"{key}: {length}" for key, length in lengths.items()) or "no arrays"
        raise UsageError(f"load {name}", f"samples along the first axis: {found}", "give every array as many, above 0")


def _class_numbers(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind not in "iu" or labels.min() < 0:
        found = f"labels of type {labels.dtype}" if labels.dtype.kind not in "iu" else f"a label {labels.min()}"
        raise UsageError(f"load {name}", found, "give class numbers: integers from 0")
    return labels.astype(np.int64)


def _preprocessing(name: str, arrays: Arrays, given: Preprocessing | None) -> Preprocessing | None:
    image = arrays.get("image")
    if image is None or image.dtype != np.uint8:
        return None
    used = need_preprocessing(given, name)
    if len(arrays) > 1 or image.shape[1:] != (*used.size, 3):
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        height, width = used.size
        todo = f"give one uint8 RGB array 'image' (N, {height}, {width}, 3), or the model the size of the pictures"
        raise UsageError(f"load {name} as pictures of {used.size}", shapes, todo)
    return used
