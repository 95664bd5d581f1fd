import json
from dataclasses import replace

import pytest

from edgesmith import records
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.models.genotype import Edge, Genotype, check_genotype, load_genotype

EDGES = [Edge("a", ("x", "y")), Edge("b", ("x", "y")), Edge("c", ("x",))]
NODES = {"n": ("a", "b")}
GOOD = Genotype("toy", {"depth": 2}, {"a": "x", "c": "x"}, {"n": ("a",)})


def test_it_goes_to_a_file_and_back(tmp_path) -> None:
    records.save(tmp_path / "g.json", GOOD)
    assert load_genotype(tmp_path / "g.json") == GOOD
    check_genotype(GOOD, "toy", EDGES, NODES)


def test_kept_edges_are_those_of_the_nodes_or_all() -> None:
    assert replace(GOOD, choices={"a": "x", "b": "y"}).kept() == {"a": "x"}
    assert Genotype("toy", {}, {"a": "x", "b": "y"}).kept() == {"a": "x", "b": "y"}


def test_another_space_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="of the space 'toy'"):
        check_genotype(GOOD, "cells", EDGES, NODES)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"choices": {"a": "x"}}, "no choice for edge 'c'"),
        ({"choices": {"b": "x", "c": "x"}}, "no choice for edge 'a'"),
        ({"choices": {"a": "x", "c": "y"}}, "'y' on edge 'c'"),
        ({"choices": {"a": "x", "c": "x", "q": "x"}}, "no edge 'q'"),
        ({"inputs": {}}, "node 'n' takes"),
        ({"inputs": {"n": ("c",)}}, "node 'n' takes"),
        ({"inputs": {"n": ("a", "a")}}, "node 'n' takes"),
        ({"inputs": {"n": ("a",), "m": ("b",)}}, "node 'm' takes"),
    ],
)
def test_damage_is_named(changes, match) -> None:
    with pytest.raises(DamagedArtifact, match=match):
        check_genotype(replace(GOOD, **changes), "toy", EDGES, NODES)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", json.dumps({"space": "toy"}), json.dumps({**records.to_json(GOOD), "choices": {"a": 3}}),
     json.dumps({**records.to_json(GOOD), "inputs": {"n": [1]}}), json.dumps({**records.to_json(GOOD), "more": 1}),
     json.dumps({**records.to_json(GOOD), "options": []})],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path, text) -> None:
    (tmp_path / "g.json").write_text(text)
    with pytest.raises(DamagedArtifact):
        load_genotype(tmp_path / "g.json")
    with pytest.raises(MissingResource):
        load_genotype(tmp_path / "other.json")


@pytest.mark.parametrize("operations", [(), ("x", "x")])
def test_an_edge_has_operations_each_once(operations) -> None:
    with pytest.raises(UsageError, match="edge 'a'"):
        Edge("a", operations)
