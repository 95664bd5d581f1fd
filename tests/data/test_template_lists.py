import numpy as np
import pytest
from PIL import Image

from edgesmith.data.alignment import TEMPLATE
from edgesmith.data.template_lists import aligned_faces, read_lists
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

POINTS = "1 2 3 4 5 6 7 8 9 10"
FACES = f"1.jpg {POINTS} 0.9\n2.jpg {POINTS} 0.5\n3.jpg {POINTS} 1\n"
MEDIA = "1.jpg 7 100\n2.jpg 7 101\n3.jpg 9 100\n"
PAIRS = "7 9 1\n9 7 0\n"


def write(folder, faces: str = FACES, media: str = MEDIA, pairs: str = PAIRS):
    for name, text in (("name_5pts_score", faces), ("face_tid_mid", media), ("template_pair_label", pairs)):
        (folder / f"ijbb_{name}.txt").write_text(text)
    return folder


def test_the_three_files_are_read_together(tmp_path) -> None:
    lists = read_lists(write(tmp_path), "ijbb")
    assert lists.names == ("1.jpg", "2.jpg", "3.jpg") and lists.detector.tolist() == [0.9, 0.5, 1.0]
    assert lists.points.shape == (3, 5, 2) and lists.points[0, 1].tolist() == [3, 4]
    assert lists.template.tolist() == [7, 7, 9] and lists.media.tolist() == [100, 101, 100]
    assert lists.pairs.tolist() == [[7, 9], [9, 7]] and lists.same.tolist() == [True, False]


@pytest.mark.parametrize(
    "change",
    [
        {"faces": FACES.replace(" 10 1\n", " 1\n")},
        {"faces": "1.jpg 1 2\n"},
        {"media": MEDIA.replace("2.jpg", "4.jpg")},
        {"media": MEDIA + "4.jpg 9 100\n"},
        {"media": MEDIA.replace("101", "x")},
        {"media": MEDIA.replace(" 101", "")},
        {"pairs": "7 8 1\n"},
        {"pairs": "7 9 2\n"},
        {"pairs": "7 9\n"},
        {"pairs": "7 9 1\n7 9\n"},
        {"pairs": "7 nine 1\n"},
        {"pairs": ""},
    ],
)
def test_broken_lists_are_damaged(tmp_path, change) -> None:
    with pytest.raises(DamagedArtifact):
        read_lists(write(tmp_path, **change), "ijbb")


@pytest.mark.parametrize("part", ["name_5pts_score", "face_tid_mid", "template_pair_label"])
def test_an_absent_list_is_named(tmp_path, part) -> None:
    write(tmp_path)
    (tmp_path / f"ijbb_{part}.txt").unlink()
    with pytest.raises(MissingResource, match=part):
        read_lists(tmp_path, "ijbb")


def test_no_faces_and_no_pairs_of_them(tmp_path) -> None:
    with pytest.raises(DamagedArtifact):
        read_lists(write(tmp_path, faces="", media="", pairs=PAIRS), "ijbb")
    assert isinstance(read_lists(write(tmp_path), "ijbb").pairs, np.ndarray)


def test_listed_faces_are_aligned_by_their_own_points(tmp_path) -> None:
    columns = np.broadcast_to(np.arange(224, dtype=np.uint8)[None, :, None], (224, 224, 3))
    for number in (1, 3):
        Image.fromarray(np.ascontiguousarray(columns)).save(tmp_path / f"{number}.jpg", "PNG")

    def line(name: str, points: np.ndarray) -> str:
        return f"{name} {' '.join(f'{value:.4f}' for value in points.ravel())} 1\n"

    order = [1, 0, 2, 4, 3]
    turned = line("1.jpg", 2 * TEMPLATE) + line("2.jpg", TEMPLATE) + line("3.jpg", TEMPLATE[order] + 30)
    lists = read_lists(write(tmp_path, faces=turned), "ijbb")
    images = aligned_faces(tmp_path, lists, [0, 2])  # one that looks mirrored is taken for a profile
    assert images.shape == (2, 112, 112, 3) and images[0, 50, :, 1].tolist() == list(range(0, 224, 2))
    with pytest.raises(MissingResource, match=r"2\.jpg"):
        aligned_faces(tmp_path, lists, [1])
    wrong = "".join(line(f"{number}.jpg", TEMPLATE[order]) for number in (1, 2, 3))
    with pytest.raises(UsageError, match="3 of 3"):
        aligned_faces(tmp_path, read_lists(write(tmp_path, faces=wrong), "ijbb"), [0])
