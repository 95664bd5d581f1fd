import io
import pickle

import numpy as np
import pytest
from PIL import Image

from edgesmith.data.face_records import load
from edgesmith.data.recordio import write_records
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile, UsageError
from edgesmith.tensors import Preprocessing
from edgesmith.verify.accuracy import judge

SQUARE = Preprocessing((112, 112), (0.5,) * 3, (0.5,) * 3)


def face(value: int, side: int = 112) -> bytes:
    columns = np.broadcast_to(np.arange(side, dtype=np.uint8)[None, :, None], (side, side, 3)).copy()
    columns[..., 0] = value
    buffer = io.BytesIO()
    Image.fromarray(columns).save(buffer, "PNG")
    return buffer.getvalue()


def write(root, opening: bool = True):
    """Faces 1..5 of the people 10, 10, 20, 20, 30, and after them two records of people, as in the public sets."""
    faces = [((label,), face(value)) for value, label in enumerate((10.0, 10.0, 20.0, 20.0, 30.0), 1)]
    people = [((1.0, 3.0), b""), ((3.0, 5.0), b"")]
    write_records(root / "train.rec", [((6.0, 8.0), b""), *faces, *people] if opening else faces)
    pictures = [face(100 + value) for value in range(8)]
    (root / "lfw.bin").write_bytes(pickle.dumps((pictures, [True, False, True, False]), 4))
    return root


@pytest.mark.parametrize("opening", [True, False])
def test_faces_people_and_nothing_else(tmp_path, opening) -> None:
    data = load(SQUARE, write(tmp_path, opening), folds=2, calibration=2)
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2] and data.classes == ("10", "20", "30")
    assert data.train.inputs["image"][:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5]
    assert len(data.calibration) == 2


def test_the_first_identities_alone(tmp_path) -> None:
    data = load(SQUARE, write(tmp_path), folds=2, identities=2)
    assert data.train.labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(UsageError, match="identities"):
        load(SQUARE, tmp_path, folds=2, identities=0)


def test_pairs_of_the_bin_file_are_judged_without_rates_over_all_pairs(tmp_path) -> None:
    evaluation = load(SQUARE, write(tmp_path), folds=2).evaluation
    images, arrays = evaluation.split.inputs["image"], evaluation.arrays
    assert images[:8, 0, 0, 0].tolist() == list(range(100, 108))
    assert np.array_equal(images[8:], images[:8, :, ::-1])
    assert arrays["pairs"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]] and arrays["fold"].tolist() == [0, 0, 1, 1]
    # Embeddings by which the pairs of one person are equal and the others opposite.
    rows = np.array([[1, 0], [1, 0], [1, 0], [-1, 0], [0, 1], [0, 1], [0, 1], [0, -1]], float)
    found = {row.metric: row for row in judge("verification", arrays, {"a": np.tile(rows, (2, 1))}, "a")}
    assert found["accuracy"].estimate.value == 1.0 and found["tar_all@1e-3"].n == 0


def test_the_cached_set_is_the_same(tmp_path) -> None:
    write(tmp_path)
    plain = load(SQUARE, tmp_path, verify="")
    cached = load(SQUARE, tmp_path, verify="", cache=str(tmp_path / "pixels.npy"), memory_gb=0.0)
    assert plain.digest == cached.digest and plain.evaluation is None
    assert isinstance(cached.train.inputs["image"], np.memmap)
    with pytest.raises(UsageError, match="cache"):
        load(SQUARE, tmp_path, verify="", memory_gb=0.0)


def test_errors_name_the_file_and_the_record(tmp_path) -> None:
    with pytest.raises(MissingResource, match=r"train\.rec"):
        load(SQUARE, tmp_path)
    write(tmp_path)
    with pytest.raises(MissingResource, match="cfp"):
        load(SQUARE, tmp_path, verify="cfp_fp.bin")
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(([face, face], [True])))
    with pytest.raises(UntrustedFile, match=r"evil\.bin"):
        load(SQUARE, tmp_path, verify="evil.bin")
    write_records(tmp_path / "train.rec", [((1.0,), face(1)), ((1.0,), b"no picture")])
    with pytest.raises(DamagedArtifact, match=r"train\.rec:1"):
        load(SQUARE, tmp_path, verify="")
    write_records(tmp_path / "train.rec", [((1.0,), face(1, side=50))])
    with pytest.raises(UsageError, match="112 x 112"):
        load(SQUARE, tmp_path, verify="")
    with pytest.raises(UsageError, match="--preprocess"):
        load(None, tmp_path)
