import numpy as np
import pytest
from PIL import Image

from edgesmith.data import DATASETS
from edgesmith.data.alignment import TEMPLATE
from edgesmith.data.face_templates import load
from edgesmith.errors import MissingResource, UsageError
from edgesmith.tensors import Preprocessing
from edgesmith.verify.accuracy import judge

SQUARE = Preprocessing((112, 112), (0.5,) * 3, (0.5,) * 3)
FACES = 6  # two of each of three people, in templates 1 and 2, 3 and 4, 5 and 6


def write(root, people: int = 3):
    """Lists in IJB's format and one picture a face; a person is a column of light."""
    (root / "meta").mkdir()
    (root / "loose_crop").mkdir()
    (root / "others").mkdir()
    points = " ".join(f"{value:.4f}" for value in TEMPLATE.ravel())
    names = [f"{face}.jpg" for face in range(1, 2 * people + 1)]
    (root / "meta" / "made_name_5pts_score.txt").write_text("".join(f"{n} {points} 0.9\n" for n in names))
    media = [f"{n} {face} {10 + face}\n" for face, n in enumerate(names, 1)]
    (root / "meta" / "made_face_tid_mid.txt").write_text("".join(media))
    count = 2 * people + 1
    pairs = [(a, b) for a in range(1, count) for b in range(a + 1, count)]
    lines = [f"{a} {b} {int((a - 1) // 2 == (b - 1) // 2)}\n" for a, b in pairs]
    (root / "meta" / "made_template_pair_label.txt").write_text("".join(lines))
    rng = np.random.default_rng(0)
    for face, name in enumerate(names):
        image = rng.integers(0, 40, (112, 112, 3), dtype=np.uint8)
        image[:, 10 + 12 * (face // 2)] = 255
        Image.fromarray(image).save(root / "loose_crop" / name, "PNG")
        Image.fromarray(image).save(root / "others" / name, "PNG")
    return root


def made(root, **options):
    return load(SQUARE, write(root), name="made", calibrate_on="others", calibration=4, **options)


def test_faces_are_followed_by_their_mirror_images(tmp_path) -> None:
    data = made(tmp_path)
    images = data.evaluation.split.inputs["image"]
    assert DATASETS.get("face-templates") is load and data.evaluation.protocol == "templates" and data.train is None
    assert images.shape == (2 * FACES, 112, 112, 3) and np.array_equal(images[FACES:], images[:FACES, :, ::-1])
    assert (images[0, :, 10] > 200).all() and len(data.calibration) == 4
    assert data.evaluation.arrays["flags"].tolist() == [True] * 3


def test_the_protocol_judges_what_the_data_bring(tmp_path) -> None:
    data = made(tmp_path, norm=False)
    evaluation = data.evaluation
    columns = evaluation.split.inputs["image"].mean((1, 3))
    good = columns - columns.mean(1, keepdims=True)
    wrong = good.copy()
    wrong[[0, FACES]] = good[[2, FACES + 2]]  # the first person's first face looks like the second person
    found = judge(evaluation.protocol, evaluation.arrays, {"a": good, "b": wrong}, "a")
    rates = {(row.target, row.metric): row for row in found}
    right, worse = rates["a", "template_tar@1e-1"], rates["b", "template_tar@1e-1"]
    assert right.estimate.value == 1 and right.extra["norm"] == 0 and right.n == 3
    assert worse.estimate.value < 1 and worse.drop.value == pytest.approx(1 - worse.estimate.value)
    assert rates["a", "template_tar@1e-4"].n == 0  # twelve impostor pairs do not tell


def test_nan_of_a_target_is_counted_and_has_no_rate(tmp_path) -> None:
    evaluation = made(tmp_path).evaluation
    good = np.random.default_rng(0).normal(size=(2 * FACES, 8))
    broken = good.copy()
    broken[3] = np.nan
    found = judge("templates", evaluation.arrays, {"a": good, "b": broken}, "a")
    rows = [row for row in found if row.target == "b"]
    assert rows and all(np.isnan(row.estimate.value) and row.extra == {"non_finite": 1.0} for row in rows)


def test_other_outputs_and_missing_parts_are_refused(tmp_path) -> None:
    evaluation = made(tmp_path).evaluation
    with pytest.raises(UsageError, match="whole split"):
        judge("templates", evaluation.arrays, {"a": np.zeros((FACES, 8))}, "a")
    with pytest.raises(UsageError, match="calibrate_on"):
        load(SQUARE, tmp_path, name="made")
    with pytest.raises(MissingResource, match="no such file"):
        load(SQUARE, tmp_path, name="ijbb", calibrate_on="others")


def test_pixels_can_lie_in_a_file(tmp_path) -> None:
    data = made(tmp_path, cache=str(tmp_path / "pixels.npy"), memory_gb=0.0)
    again = load(SQUARE, tmp_path, name="made", calibrate_on="others", calibration=4)
    assert isinstance(data.evaluation.split.inputs["image"], np.memmap) and data.digest == again.digest
