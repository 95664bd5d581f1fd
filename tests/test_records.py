import json
import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource


@dataclass(frozen=True)
class Leaf:
    value: float
    low: float | None = None


@dataclass(frozen=True)
class Other:
    name: str


@dataclass(frozen=True)
class Tree:
    leaves: tuple[Leaf, ...]
    pair: tuple[float, int]
    by_name: Mapping[str, Leaf | Other]
    table: np.ndarray
    where: Path = Path()
    hidden: int = field(default=0, metadata={"json": False})


TREE = Tree(
    (Leaf(1.5), Leaf(2.0, 1.0)),
    (0.5, 3),
    {"a": Leaf(1.0, 0.5), "b": Other("x")},
    np.array([[1.0, 2.0]], np.float32),
    Path("there"),
    hidden=7,
)


def test_a_record_comes_back_as_it_was(tmp_path: Path):
    records.save(tmp_path / "tree.json", TREE)
    found = records.load(Tree, tmp_path / "tree.json")
    assert (found.leaves, found.pair, found.by_name, found.where) == (TREE.leaves, TREE.pair, TREE.by_name, TREE.where)
    np.testing.assert_array_equal(found.table, TREE.table)
    assert found.hidden == 0  # not saved
    assert json.loads((tmp_path / "tree.json").read_text())["schema"] == records.SCHEMA


def test_nan_and_infinity_become_null_and_nan_again():
    data = records.to_json([math.nan, math.inf, np.float32("nan"), np.array([1.0, math.nan])])
    assert data == [None, None, None, [1.0, None]]
    assert math.isnan(records.from_json(Leaf, {"value": None}).value)
    assert records.from_json(Leaf, {"value": 1, "low": None}) == Leaf(1.0, None)
    table = records.from_json(Tree, {**records.to_json(TREE), "table": [1.0, None]}).table
    assert table.dtype == np.float64 and math.isnan(table[1])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"value": 1.0, "surprise": 2}, "unknown fields ['surprise']"),
        ({}, "missing"),
        ({"value": "high"}, "could not convert"),
        ([1.0], "a list"),
        (5, "an int"),
    ],
)
def test_a_wrong_record_is_damaged_not_a_crash(data: object, message: str):
    with pytest.raises(DamagedArtifact) as caught:
        records.from_json(Leaf, data)
    assert message.removeprefix("an ").removeprefix("a ") in str(caught.value)


def test_a_tuple_of_fixed_length_is_not_cut_silently():
    with pytest.raises(DamagedArtifact, match="1 items where 2 belong"):
        records.from_json(Tree, {**records.to_json(TREE), "pair": [0.5]})


@pytest.mark.parametrize("text", ["{", "[1]", '{"schema": 99}', '{"schema": "1"}', "\x00\xff"])
def test_reading_what_is_not_a_record(tmp_path: Path, text: str):
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedArtifact):
        records.read(path)


def test_reading_nothing(tmp_path: Path):
    with pytest.raises(MissingResource, match="no such file"):
        records.read(tmp_path / "absent.json")


def test_a_failed_write_leaves_the_older_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "r.json"
    records.save(path, {"a": 1})
    with pytest.raises(TypeError):
        records.save(path, {"a": object()})
    assert records.read(path)["a"] == 1
    with pytest.raises(MissingResource):
        records.write_bytes(tmp_path / "no" / "folder.json", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MissingResource, match="write"):  # the rename itself fails: a folder is in the way
        records.write_bytes(tmp_path / "folder", b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "r.json"]


def test_a_written_file_follows_the_umask(tmp_path: Path):
    (tmp_path / "plain").write_text("x")
    records.write_bytes(tmp_path / "ours", b"x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]
