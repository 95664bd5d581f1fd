from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesmith import records
from edgesmith.compress.asap.latency import LatencyTable
from edgesmith.data.split import Data, Split, labelled_data
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import UsageError
from edgesmith.pipeline import searching
from edgesmith.pipeline.latency_table import Bench, Measuring, facts_of, space_key
from edgesmith.pipeline.recipe import LatencyGoal, Search
from edgesmith.results import Interval
from edgesmith.tensors import Preprocessing, TensorSpec

FRAME = {"size": 8, "stem": 8, "stem_stride": 1, "stages": [[8, 2, 1]], "last": 8, "embedding": 8, "act": "relu"}
SPACE = {"use": "chain", "classes": 2, "frame": FRAME, "operations": ["conv-k3-relu", "mb-k3-e2-relu", "identity"]}
METHOD = {"use": "asap", "cooling": 0.4, "alpha_lr": 0.05, "latency_form": "linear"}
SEARCH = Search(SPACE, METHOD, {"epochs": 4, "batch": 16, "threads": 1})


def data() -> Data:
    """Two classes of 8x8 pictures that are told apart by their brightness."""
    labels = np.arange(48) % 2
    images = np.random.default_rng(0).integers(0, 128, (48, 8, 8, 3)) + 120 * labels[:, None, None, None]
    whole = Split({"image": images.astype(np.uint8)}, labels.astype(np.int64))
    return labelled_data("two", whole, Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3), ("a", "b"), 0.2, 4, 0)


def goal(folder: Path, budget_ms: float, **words) -> searching.Goal:
    """A goal whose table says 1 ms for a convolution, 2 ms for an inverted residual, 0 for nothing."""
    space = searching.measurable(searching.space_of(SEARCH))
    bench = Bench(LocalDevice(), TensorSpec("image", (1, 3, 8, 8)), Measuring("torch-fp32"), folder, lambda text: None)
    cost = {"conv-k3-relu": 1.0, "mb-k3-e2-relu": 2.0, "identity": 0.0}
    entries = {edge.name: {op: cost[op] for op in edge.operations} for edge in space.edges}
    facts = facts_of(bench.device.info())
    records.save(folder / "table.json", LatencyTable(space_key(space), "torch-fp32", 1, 0.5, entries, facts))
    words = LatencyGoal("torch-fp32", budget_ms, **words)
    return searching.goal_of(SEARCH, words, folder / "table.json", bench)


def weights(folder: Path) -> list:
    return [epoch["weights"] for epoch in records.read(folder / searching.HISTORY)["search"]]


def test_an_interrupted_search_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    def stop(text: str) -> None:
        if "epoch 2/" in text:
            raise KeyboardInterrupt

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    searching.run_search(SEARCH, data(), None, whole, lambda text: None)
    with pytest.raises(KeyboardInterrupt):
        searching.run_search(SEARCH, data(), None, cut, stop)
    assert not (cut / searching.GENOTYPE).exists()
    said: list[str] = []
    searching.run_search(SEARCH, data(), None, cut, said.append)
    assert [text.split(",")[0] for text in said] == ["search: epoch 3/4", "search: epoch 4/4"]
    assert (cut / searching.GENOTYPE).read_text() == (whole / searching.GENOTYPE).read_text()
    assert weights(cut) == weights(whole) and len(weights(whole)) == 4


def test_a_finished_search_is_a_network_and_what_the_page_shows(tmp_path: Path) -> None:
    meta = searching.run_search(SEARCH, data(), None, tmp_path, lambda text: None)
    row, shown = searching.found_row(tmp_path), searching.shown(tmp_path)
    assert meta == {"tries": 1, "state": None} and row["state"] == "not_measured"
    assert list(row["choices"]) == ["layer00", "layer01"] == [layer["edge"] for layer in shown["layers"]]
    assert shown["x"] == [1, 2, 3, 4] and shown["latency"] is None
    genotype = searching.load_genotype(tmp_path / searching.GENOTYPE)
    assert searching.space_of(SEARCH).network(genotype)


def test_a_search_above_the_budget_is_repeated_with_more_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "measured_p50", lambda *words: Interval(1.0, 0.9, 1.1))
    asked = goal(tmp_path, 0.6, weight=1e-6, tries=2)  # nothing but two identities takes so little
    said: list[str] = []
    fast = replace(SEARCH, fit={"epochs": 2, "batch": 16, "threads": 1})
    meta = searching.run_search(fast, data(), asked, tmp_path / "out", said.append)
    record = records.read(tmp_path / "out" / searching.RECORD)
    predicted = [one["predicted_ms"] for one in record["tries"]]
    if predicted[0] <= 0.6:
        pytest.fail("this search was to miss its budget")
    assert meta["tries"] == 2 and [one["weight"] for one in record["tries"]] == [1e-6, pytest.approx(3e-6)]
    assert sum("above the budget" in text for text in said) == 1
    assert meta["state"] == "fail" and record["latency"]["verdict"]["state"] == "fail"


def test_a_heavy_latency_term_finds_the_cheap_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "measured_p50", lambda *words: Interval(0.5, 0.45, 0.55))
    asked = goal(tmp_path, 0.6, weight=30.0)
    long = replace(SEARCH, fit={"epochs": 8, "batch": 16, "threads": 1})
    meta = searching.run_search(long, data(), asked, tmp_path / "out", lambda text: None)
    record = records.read(tmp_path / "out" / searching.RECORD)
    assert meta == {"tries": 1, "state": "pass"} and record["latency"]["predicted_ms"] == 0.5
    assert [layer["operation"] for layer in record["layers"]] == ["identity", "identity"]
    assert record["latency"]["device"]["cpu"] == LocalDevice().info().cpu and len(record["latency"]["table"]) == 64


def test_a_goal_that_cannot_be_met_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the cheapest network of the space takes 0\.5 ms: layer00 identity"):
        goal(tmp_path, 0.4)


@pytest.mark.parametrize(
    ("interval", "state"),
    [((1.0, 0.9, 1.1), "pass"), ((1.3, 1.25, 1.4), "fail"), ((1.2, 1.1, 1.3), "inconclusive")],
)
def test_the_end_of_the_interval_is_held_against_the_budget(interval, state) -> None:
    verdict = searching.budget_verdict("ort-int8", Interval(*interval), 100, 1.2)
    assert verdict.state == state and "p50 <= 1.2 ms" in verdict.asked


def test_cells_have_no_latency_table() -> None:
    cells = searching.space_of(Search({"use": "cells", "classes": 2, "channels": 2, "cells": 3}))
    with pytest.raises(UsageError, match="use the space chain"):
        searching.measurable(cells)
