"""The bench section's scenarios as they are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import edgesmith
from edgesmith.devices import DEVICES
from edgesmith.pipeline.judge import time_targets
from edgesmith.pipeline.recipe import Bench
from edgesmith.pipeline.sources import Inputs
from tests.models import tiny

pytestmark = pytest.mark.needs("onnxruntime")


def test_each_scenario_is_run_as_the_recipe_says(tmp_path: Path) -> None:
    bundle = edgesmith.convert(tiny("linear"), torch.zeros(1, 3, 8, 8), ("ort-fp32",), out=tmp_path / "bundle")
    made = {"ort-fp32": bundle.exported["ort-fp32"]}
    inputs = Inputs({"x": np.zeros((4, 3, 8, 8), np.float32)}, False, "zeros")
    device = DEVICES.get("local")()
    for scenario, streams, calls in (("multi-stream", 3, 4), ("cold-start", 1, 1)):
        bench = Bench(blocks=2, block_size=4, warmup=1, scenario=scenario, streams=3)  # type: ignore[arg-type]
        found = time_targets(made, inputs, tmp_path / scenario, device, bench, lambda text: None, "ort-fp32")
        (row,) = found.measurements
        assert row.latency is not None, row.reason
        assert (row.scenario, row.streams, [len(b) for b in row.latency.blocks_ms]) == (scenario, streams, [calls] * 2)
