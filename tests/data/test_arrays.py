import pickle

import numpy as np
import pytest

from edgesmith.data.arrays import load
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError
from edgesmith.tensors import Preprocessing

PREPROCESSING = Preprocessing((4, 4), (0.5,) * 3, (0.5,) * 3)


def test_a_file_and_memory_give_the_same(tmp_path) -> None:
    arrays = {"a": np.ones((6, 2), np.float32), "b": np.zeros((6, 3), np.float32)}
    np.savez(tmp_path / "x.npz", **arrays)
    first, second = load(None, tmp_path / "x.npz"), load(None, arrays)
    assert first.digest == second.digest and first.evaluation.protocol == "agreement" and first.preprocessing is None


def test_labels_ask_for_top1() -> None:
    arrays = {"a": np.zeros((10, 2), np.float32), "labels": np.arange(10) % 2}
    data = load(None, arrays)
    assert data.evaluation.protocol == "top1" and data.train is None and "labels" not in data.calibration.inputs
    assert len(load(None, arrays, holdout=0.4).train) == 6 and "labels" in arrays


def test_rows_of_labels_ask_for_map() -> None:
    labels = np.array([[1, 0, -1]] * 4 + [[0, 1, 1]] * 4)
    data = load(None, {"a": np.zeros((8, 2), np.float32), "labels": labels})
    assert data.evaluation.protocol == "multilabel" and data.classes == ("0", "1", "2") and data.train is None
    assert np.array_equal(data.evaluation.arrays["labels"], labels)
    assert len(load(None, {"a": np.zeros((8, 2)), "labels": labels}, holdout=0.25).train) == 6
    with pytest.raises(UsageError, match=r"values \[2\]"):
        load(None, {"a": np.zeros((8, 2)), "labels": labels + 1})


def test_uint8_pictures_need_a_preprocessing_of_their_size() -> None:
    images = {"image": np.zeros((3, 4, 4, 3), np.uint8)}
    assert load(PREPROCESSING, images).preprocessing == PREPROCESSING
    with pytest.raises(UsageError, match="--preprocess"):
        load(None, images)
    with pytest.raises(UsageError, match=r"\(N, 4, 4, 3\)"):
        load(PREPROCESSING, {"image": np.zeros((3, 5, 4, 3), np.uint8)})


def test_floats_are_fed_as_they_are() -> None:
    data = load(PREPROCESSING, {"image": np.zeros((3, 3, 4, 4), np.float32)})
    assert data.preprocessing is None and data.calibration.inputs["image"].dtype == np.float32


@pytest.mark.parametrize(
    "arrays",
    [{}, {"a": np.zeros((0, 2))}, {"a": np.zeros(3), "b": np.zeros(4)}, {"a": np.zeros(2), "labels": np.eye(2)}],
)
def test_arrays_that_do_not_fit_together_are_refused(arrays) -> None:
    with pytest.raises(UsageError):
        load(None, arrays)


class Bomb:
    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_an_array_of_objects_is_refused_and_not_run(tmp_path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([Bomb(tmp_path / "boom")], dtype=object))
    with pytest.raises(UntrustedFile):
        load(None, tmp_path / "x.npz")
    (tmp_path / "y.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(UntrustedFile):
        load(None, tmp_path / "y.npz")
    assert not (tmp_path / "boom").exists()


def test_damaged_and_missing_files(tmp_path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(100))
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:200])
    np.save(tmp_path / "z.npy", np.ones(3))
    for name in ("x.npz", "z.npy"):
        with pytest.raises(DamagedArtifact):
            load(None, tmp_path / name)
    with pytest.raises(MissingResource):
        load(None, tmp_path / "absent.npz")
