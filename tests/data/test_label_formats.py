import json

import pytest

from edgesmith.data.label_facts import table
from edgesmith.data.label_formats import FORMATS, coco, labels_json, nus_wide, open_images, voc
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile


def write(path, text: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_labels_json_with_names_numbers_and_negatives(tmp_path) -> None:
    labels = {"a.jpg": [0, "dog"], "b.jpg": [], "c.jpg": {"positive": ["eel"], "negative": ["cat"]}}
    write(tmp_path / "l.json", json.dumps({"classes": ["cat", "dog", "eel"], "labels": labels}))
    found = table(labels_json(tmp_path, "l.json"))
    assert found.images == ("a.jpg", "b.jpg", "c.jpg")
    assert found.labels.tolist() == [[1, 1, 0], [0, 0, 0], [0, -1, 1]]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"classes": [], "labels": {}}', '{"classes": ["a"], "labels": {"x": [1]}}',
     '{"classes": ["a"], "labels": {"x": [-1]}}', '{"classes": ["a"], "labels": {"x": ["b"]}}',
     '{"classes": ["a"], "labels": {"x": 1}}', '{"classes": ["a"], "labels": {"x": {"maybe": []}}}', "[" * 100_000],
)  # fmt: skip
def test_malformed_labels_json(tmp_path, text) -> None:
    write(tmp_path / "l.json", text)
    with pytest.raises(DamagedArtifact, match=r"l.json"):
        labels_json(tmp_path, "l.json")


def test_coco_objects_of_any_size_make_a_category(tmp_path) -> None:
    raw = {
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 5, "file_name": "b.jpg"}],
        "annotations": [
            {"image_id": 5, "category_id": 90, "area": 1.0}, {"image_id": 5, "category_id": 90, "iscrowd": 1}
        ],
    }  # fmt: skip
    write(tmp_path / "c.json", json.dumps(raw))
    found = table(coco(tmp_path, "c.json"))
    assert found.classes == ("cat", "dog") and found.images == ("a.jpg", "b.jpg")
    assert found.labels.tolist() == [[0, 0], [0, 1]]
    for broken in ({**raw, "annotations": [{"image_id": 6, "category_id": 3}]}, {"images": []}, [1]):
        write(tmp_path / "c.json", json.dumps(broken))
        with pytest.raises(DamagedArtifact, match=r"images, annotations and categories"):
            coco(tmp_path, "c.json")


def test_open_images_leaves_unverified_labels_open(tmp_path) -> None:
    head = "ImageID,Source,LabelName,Confidence\n"
    write(tmp_path / "o.csv", head + "x,verification,/m/1,1\nx,verification,/m/2,0\ny,crowdsource,/m/2,1\n")
    found = table(open_images(tmp_path, "o.csv"))
    assert found.images == ("x.jpg", "y.jpg") and found.classes == ("/m/1", "/m/2")
    assert found.labels.tolist() == [[1, 0], [-1, 1]]
    assert table(open_images(tmp_path, "o.csv"), ["/m/3", "/m/1"]).labels.tolist() == [[-1, 1], [-1, -1]]
    for broken in (head + "x,machine,/m/1,0.7\n", head + "x,verification\n", "a,b\n1,2\n", ""):
        write(tmp_path / "o.csv", broken)
        with pytest.raises(DamagedArtifact, match=r"o.csv"):
            open_images(tmp_path, "o.csv")


def annotation(*objects: tuple[str, int]) -> str:
    body = "".join(f"<object><name>{n}</name><difficult>{d}</difficult></object>" for n, d in objects)
    return f"<annotation>{body}</annotation>"


def test_voc_difficult_objects_are_not_judged(tmp_path) -> None:
    write(tmp_path / "ImageSets/Main/train.txt", "001\n002  1\n003\n")
    write(tmp_path / "Annotations/001.xml", annotation(("dog", 0), ("dog", 1), ("cat", 1)))
    write(tmp_path / "Annotations/002.xml", annotation(("cat", 0)))
    write(tmp_path / "Annotations/003.xml", "<annotation><object><name>dog</name></object></annotation>")
    found = table(voc(tmp_path, "train"))
    assert found.images == ("001.jpg", "002.jpg", "003.jpg") and found.classes == ("cat", "dog")
    assert found.labels.tolist() == [[-1, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<annotation><object>", DamagedArtifact),
        (annotation(("", 0)), DamagedArtifact),
        (annotation(("dog", 2)), DamagedArtifact),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation/>', UntrustedFile),
    ],
)
def test_malformed_or_hostile_voc_xml_is_named(tmp_path, text, error) -> None:
    write(tmp_path / "ImageSets/Main/train.txt", "001\n")
    write(tmp_path / "Annotations/001.xml", text)
    with pytest.raises(error, match=r"001.xml"):
        table(voc(tmp_path, "train"))


def test_nus_wide_lists(tmp_path) -> None:
    write(tmp_path / "ImageList/TestImagelist.txt", "actor\\1.jpg\r\nsky\\2.jpg\r\n")
    write(tmp_path / "Concepts81.txt", "sky\nbear\n")
    write(tmp_path / "Groundtruth/TrainTestLabels/Labels_sky_Test.txt", "0\n1\n")
    bears = write(tmp_path / "Groundtruth/TrainTestLabels/Labels_bear_Test.txt", "1\n1\n")
    found = table(nus_wide(tmp_path, "Test"))
    assert found.images == ("actor/1.jpg", "sky/2.jpg") and found.classes == ("sky", "bear")
    assert found.labels.tolist() == [[0, 1], [1, 1]]
    for broken in ("1\n", "1\n2\n"):
        bears.write_text(broken)
        with pytest.raises(DamagedArtifact, match=r"Labels_bear_Test"):
            table(nus_wide(tmp_path, "Test"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_part_that_is_not_there_is_named(tmp_path, name) -> None:
    with pytest.raises(MissingResource, match=r"no such file"):
        table(FORMATS[name].read(tmp_path, "absent"))
