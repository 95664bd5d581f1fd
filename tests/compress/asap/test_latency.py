import pytest
import torch

from edgesmith import records
from edgesmith.compress.asap.architecture import Architecture
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.errors import UsageError
from edgesmith.models.genotype import Edge, Genotype

ENTRIES = {"a": {"x": 1.0, "y": 3.0}, "b": {"x": 0.5, "y": 0.0}}
TABLE = LatencyTable("toy", "onnx-fp32", 1, 2.0, ENTRIES, {"cpu": "some"})


def test_a_networks_latency_is_the_sum_over_its_edges() -> None:
    assert TABLE.predict(Genotype("toy", {}, {"a": "y", "b": "x"})) == 5.5
    assert TABLE.predict(Genotype("toy", {}, {"a": "y", "b": "x"}, {"n": ("b",)})) == 2.5


def test_the_expectation_has_a_gradient_towards_what_is_fast() -> None:
    made = Architecture([Edge("a", ("x", "y")), Edge("b", ("x", "y"))])
    expected = TABLE.expected(made.shares())
    expected.backward()
    assert float(expected) == pytest.approx(2 + 2 + 0.25) and made.alphas["a"].grad[1] > 0 > made.alphas["a"].grad[0]


def test_the_expectation_of_a_decided_architecture_is_the_prediction() -> None:
    made = Architecture([Edge("a", ("x", "y")), Edge("b", ("x", "y"))])
    made.restrict({"a": ["y"], "b": ["x"]}, {})
    assert float(TABLE.expected(made.shares())) == TABLE.predict(Genotype("toy", {}, {"a": "y", "b": "x"}))


def test_it_goes_to_a_file_and_back(tmp_path) -> None:
    records.save(tmp_path / "t.json", TABLE)
    assert records.load(LatencyTable, tmp_path / "t.json") == TABLE


def test_what_was_not_measured_is_an_error() -> None:
    with pytest.raises(UsageError, match="'z' on 'a'"):
        TABLE.predict(Genotype("toy", {}, {"a": "z"}))
    with pytest.raises(UsageError, match="'x' on 'c'"):
        TABLE.expected({"c": {"x": torch.ones(())}})
