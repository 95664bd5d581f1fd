"""Latency of groups of layers: how layers are grouped, what is timed, how a group's time is shared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesmith.bench.job import Schedule
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EngineFailed
from edgesmith.pipeline.layer_latency import (
    GroupLatency,
    LayerLatency,
    Where,
    groups_of,
    measured_latency,
    time_verdict,
)
from edgesmith.pipeline.produce import calibrate, capture_source, plan_targets
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.quant import QuantPlan
from edgesmith.results import Interval
from edgesmith.tensors import TensorSpec
from tests.models import tiny


def test_groups_are_neighbours_of_about_equal_work() -> None:
    work = {"a": 10, "b": 10, "c": 1, "d": 19, "e": 20, "f": 20}
    groups = groups_of(list(work), work, most=4)
    assert [layer for group in groups for layer in group] == list(work)
    assert groups == [("a", "b"), ("c", "d"), ("e",), ("f",)]
    assert groups_of(list(work), work, most=1) == [tuple(work)]
    assert len(groups_of(list(work), work, most=50)) == 6
    assert groups_of([], {}, most=4) == []


def test_a_layer_gets_its_share_of_its_group() -> None:
    noise = Interval(0.0, -0.01, 0.01)
    rows = (GroupLatency(("a", "b"), Interval(0.6, 0.5, 0.7)), GroupLatency(("c",), Interval(-0.1, -0.2, 0.0)))
    found = LayerLatency("ort-int8", 2.0, rows, noise, 0.0, 1.0).by_layer({"a": 3, "b": 1, "c": 5})
    assert found == pytest.approx({"a": 0.45, "b": 0.15, "c": -0.1})


@pytest.mark.parametrize(("max_ms", "state"), [(3.0, "pass"), (2.6, "inconclusive"), (2.4, "fail")])
def test_a_time_is_judged_by_the_end_of_its_interval(max_ms: float, state: str) -> None:
    rows = (GroupLatency(("a",), Interval(0.6, 0.5, 0.7)),)
    found = LayerLatency("ort-int8", 2.0, rows, Interval(0.0, 0.0, 0.0), 0.0, 1.0)
    verdict = time_verdict(found, max_ms)
    assert verdict.state == state and "2.6 ms (2.5 to 2.7)" in verdict.found
    assert time_verdict(replace(found, sentinel_drift=0.2), max_ms).state == "inconclusive"


@pytest.mark.needs("onnxruntime")
def test_each_group_is_timed_in_float_beside_all_int8(tmp_path: Path) -> None:
    source = Source("net", tiny("residual"), (TensorSpec("x", (1, 3, 8, 8)),))
    program = capture_source(source)
    rng = np.random.default_rng(0)
    ranges = calibrate(program, Inputs({"x": rng.normal(size=(16, 3, 8, 8)).astype("float32")}, False, "d"), None, 16)
    asked: list[set[str]] = []

    def planner(kept: Collection[str]) -> QuantPlan:
        asked.append(set(kept))
        return plan_targets(program, ranges, ("ort-int8",), kept)["ort"]

    where = Where(LocalDevice(), tmp_path, lambda text: None, schedule=Schedule(4, 5, 3))
    groups = [("first.conv",), ("conv", "add")]
    found = measured_latency(program, source, "ort-int8", planner, groups, where)
    assert asked == [set(), {"first.conv"}, {"conv", "add"}]
    assert [row.layers for row in found.groups] == groups and found.all_int8_ms > 0
    for interval in (found.noise_ms, *(row.saved_ms for row in found.groups)):
        assert (
            interval.low is not None and interval.high is not None and interval.low <= interval.value <= interval.high
        )
    with pytest.raises(EngineFailed, match="measure latency on tensorrt"):
        measured_latency(program, source, "tensorrt-int8", planner, groups, where)
