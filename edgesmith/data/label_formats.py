"""Annotation formats of multi-label data sets: a new one is a function here or in a file of its own, and a row.

Each reader is called with the folder of the data set and the name of a part, and gives Facts.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgesmith.data.label_facts import Facts
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile

MAP_FORM = 'write {"classes": [...], "labels": {"a.jpg": [class, ...]}}'


@dataclass(frozen=True)
class Format:
    """How to read a part, and what the training part and the folder of pictures are usually called."""

    read: Callable[[Path, str], Facts]
    part: str
    images: str


def labels_json(root: Path, part: str) -> Facts:
    """{"classes": [...], "labels": {"a.jpg": [numbers or names]}}; a class that is not listed is not there.

    {"a.jpg": {"positive": [...], "negative": [...]}} says that only these were looked for. Raises: DamagedArtifact.
    """
    path = root / part
    raw = _json(path)
    if not isinstance(raw, dict) or not isinstance(raw.get("labels"), dict) or not _is_names(raw.get("classes")):
        raise DamagedArtifact(f"read labels {path}", "not a list of classes and a map of labels", MAP_FORM)
    classes, entries = tuple(raw["classes"]), raw["labels"]
    said = [mentioned(f"{path}, {name}", entry, classes) for name, entry in entries.items()]
    found = ((row, name, value) for row, (pairs, _) in enumerate(said) for name, value in pairs)
    return Facts(str(path), tuple(entries), classes, found, [rest for _, rest in said])


def mentioned(where: str, entry: Any, classes: tuple[str, ...]) -> tuple[list[tuple[str, int]], int]:
    """(class, value) pairs of one image, and the value of all other classes. Raises: DamagedArtifact."""
    parts = {"positive": entry} if isinstance(entry, list) else entry
    if not isinstance(parts, dict) or not set(parts) <= {"positive", "negative"}:
        raise DamagedArtifact(f"read labels {where}", f"{str(entry)[:60]!r}", MAP_FORM)
    pairs = []
    for kind, value in (("positive", 1), ("negative", 0)):
        for item in parts.get(kind, []):
            number = item if isinstance(item, int) else classes.index(item) if item in classes else -1
            if not 0 <= number < len(classes):
                found = f"class {item!r}, which is none of {len(classes)} classes"
                raise DamagedArtifact(f"read labels {where}", found, "correct the list of classes or the label")
            pairs.append((classes[number], value))
    return pairs, 0 if isinstance(entry, list) else -1


def coco(root: Path, part: str) -> Facts:
    """COCO instances: an object of any size or crowd makes its category there. Source: Lin et al. 2014."""
    path = root / part
    raw = _json(path)
    try:
        names = {int(item["id"]): str(item["name"]) for item in sorted(raw["categories"], key=lambda c: c["id"])}
        images = {item["id"]: str(item["file_name"]) for item in raw["images"]}
        row_of = {key: row for row, key in enumerate(images)}
        found = [(row_of[item["image_id"]], names[item["category_id"]], 1) for item in raw["annotations"]]
    except (KeyError, TypeError, ValueError) as error:
        todo = "give a file of instances: images, annotations and categories"
        raise DamagedArtifact(f"read COCO labels {path}", f"{type(error).__name__}: {error}", todo) from error
    return Facts(str(path), tuple(images.values()), tuple(names.values()), found)


def open_images(root: Path, part: str) -> Facts:
    """Open Images' human-verified labels: ImageID, Source, LabelName, Confidence of 1 or 0; the rest is not annotated.

    Source: Kuznetsova et al. 2020. Pictures are called ImageID.jpg.
    """
    path = root / part
    rows: dict[str, int] = {}
    found = [(rows.setdefault(image, len(rows)), name, value) for image, name, value in _verified(path)]
    return Facts(str(path), tuple(f"{image}.jpg" for image in rows), (), found, -1)


def _verified(path: Path) -> Iterator[tuple[str, str, int]]:
    todo = "give a CSV with ImageID, LabelName and Confidence 0 or 1 (human-verified labels)"
    with _opened(path) as file:
        try:
            lines = csv.DictReader(file)
            if absent := {"ImageID", "LabelName", "Confidence"} - set(lines.fieldnames or ()):
                raise DamagedArtifact(f"read Open Images labels {path}", f"no column {sorted(absent)}", todo)
            for line in lines:
                confidence = line["Confidence"]
                if confidence not in ("0", "1", "0.0", "1.0") or not line["ImageID"] or not line["LabelName"]:
                    found = f"line {lines.line_num}: confidence {confidence!r}"
                    raise DamagedArtifact(f"read Open Images labels {path}", found, todo)
                yield line["ImageID"], line["LabelName"], int(float(confidence))
        except (csv.Error, UnicodeDecodeError) as error:
            raise DamagedArtifact(f"read Open Images labels {path}", str(error), todo) from error


def voc(root: Path, part: str) -> Facts:
    """Pascal VOC: one XML an image of ImageSets/Main/PART.txt. A class with "difficult" objects alone is not judged.

    Source: Everingham et al. 2010. Raises: MissingResource, UntrustedFile (an XML with a DOCTYPE), DamagedArtifact.
    """
    path = root / "ImageSets" / "Main" / f"{part}.txt"
    names = [line.split()[0] for line in _lines(path) if line.split()]
    found = (
        (row, kind, value)
        for row, name in enumerate(names)
        for kind, value in _objects(root / "Annotations" / f"{name}.xml").items()
    )
    return Facts(str(path), tuple(f"{name}.jpg" for name in names), (), found)


def _objects(path: Path) -> dict[str, int]:
    todo = "write <object><name>class</name><difficult>0</difficult></object>"
    text = _bytes(path)
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise UntrustedFile(f"read VOC labels {path}", "it declares a DOCTYPE or entities", "write plain elements")
    try:
        objects = ElementTree.fromstring(text).findall("object")
        there: dict[str, int] = {}
        for item in objects:
            name, difficult = (item.findtext("name") or "").strip(), (item.findtext("difficult") or "0").strip()
            if not name or difficult not in ("0", "1"):
                raise DamagedArtifact(f"read VOC labels {path}", f"an object {name!r}, difficult {difficult!r}", todo)
            there[name] = max(there.get(name, -1), -1 if difficult == "1" else 1)
        return there
    except ElementTree.ParseError as error:
        raise DamagedArtifact(f"read VOC labels {path}", str(error), todo) from error


def nus_wide(root: Path, part: str) -> Facts:
    """NUS-WIDE's lists: ImageList/PARTImagelist.txt, and a file of 0 and 1 for each of Concepts81.txt.

    Source: Chua et al. 2009.
    """
    names = tuple(line.strip().replace("\\", "/") for line in _lines(root / "ImageList" / f"{part}Imagelist.txt"))
    classes = tuple(line.strip() for line in _lines(root / "Concepts81.txt"))
    folder = root / "Groundtruth" / "TrainTestLabels"
    found = ((row, name, 1) for name in classes for row in _there(folder / f"Labels_{name}_{part}.txt", len(names)))
    return Facts(f"{root}, {part}", names, classes, found)


def _there(path: Path, count: int) -> Iterator[int]:
    lines = [line.strip() for line in _lines(path)]
    if len(lines) != count or not set(lines) <= {"0", "1"}:
        found = f"{len(lines)} lines of {sorted(set(lines))[:4]} for {count} images"
        raise DamagedArtifact(f"read NUS-WIDE labels {path}", found, "give a line of 0 or 1 an image")
    return (row for row, line in enumerate(lines) if line == "1")


FORMATS = {
    "labels.json": Format(labels_json, "labels.json", "images.tar"),
    "coco": Format(coco, "annotations/instances_train2014.json", "train2014"),
    "open-images": Format(open_images, "train-annotations-human-imagelabels.csv", "train"),
    "voc": Format(voc, "trainval", "JPEGImages"),
    "nus-wide": Format(nus_wide, "Train", "Flickr"),
}


def _json(path: Path) -> Any:
    try:
        return json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DamagedArtifact(f"read labels {path}", f"it is not JSON ({str(error)[:80]})", "make it again") from error


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _lines(path: Path) -> list[str]:
    try:
        text = _bytes(path).decode()
    except UnicodeDecodeError as error:
        raise DamagedArtifact(f"read labels {path}", str(error), "make it again, in UTF-8") from error
    return [line for line in re.split(r"\r?\n", text) if line.strip()]


def _bytes(path: Path) -> bytes:
    if not path.is_file():
        raise MissingResource(f"read labels {path}", "no such file", "check root and the name of the part")
    return path.read_bytes()


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise MissingResource(f"read labels {path}", "no such file", "check root and the name of the part")
    return path.open(newline="", encoding="utf-8")
