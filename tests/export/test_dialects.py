"""For every family: the integers, scales and zero points in the file are those of the plan, exactly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgesmith.export import EXPORTERS
from edgesmith.export.exporter import decomposed, prepared
from edgesmith.export.onnx import to_onnx
from edgesmith.targets import FAMILIES, target
from tests.export.quantized import planned
from tests.export.stored import READERS, in_onnx, of_plan, planned_weights
from tests.models import TINY

NETS = sorted(TINY)


def test_no_family_is_left_out():
    assert set(FAMILIES) == {*READERS, "tensorrt", "executorch"}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("family", sorted(READERS))
def test_the_file_holds_the_numbers_of_the_plan(family, net, tmp_path):
    row = target(f"{family}-int8")
    program, plan = planned(net, family)
    found = READERS[family](EXPORTERS.get(row.exporter)(program, plan, row, tmp_path))
    wanted = of_plan(program, plan)
    assert wanted.weights and found.weights == wanted.weights
    assert found.grids == wanted.grids


@pytest.mark.parametrize("net", NETS)
def test_what_tensorrt_is_given_holds_the_numbers_of_the_plan(net):
    row = target("tensorrt-int8")
    program, plan = planned(net, "tensorrt")
    lowered = prepared(program, plan, row)
    found, wanted = in_onnx(to_onnx(lowered, decomposed(lowered), row)), of_plan(program, plan)
    assert wanted.weights and found == wanted
    assert {(zero, signed) for _, zero, signed in found.grids} == {(0, True)}


@pytest.mark.needs("executorch")
@pytest.mark.parametrize("net", NETS)
def test_the_bytes_of_a_pte_hold_the_weights_and_scales_of_the_plan(net, tmp_path):
    """XNNPACK's file has no public reader; it stores weights as (out, height, width, in) and scales as float32."""
    row = target("executorch-int8")
    program, plan = planned(net, "executorch")
    content = EXPORTERS.get("executorch")(program, plan, row, tmp_path).file.read_bytes()
    for integers, scale, zero in planned_weights(program, plan):
        depthwise = integers.ndim == 4 and integers.shape[1] == 1 and len(integers) > 1
        order = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
        stored = integers.transpose(order) if integers.ndim == 4 else integers
        assert np.ascontiguousarray(stored, np.int8).tobytes() in content
        assert scale.astype(np.float32).tobytes() in content and not zero.any()
    for scale, _, _ in of_plan(program, plan).grids:
        assert np.float32(scale).tobytes() in content


def test_a_changed_number_would_be_seen(tmp_path):
    """The comparison itself: a plan whose weights have other scales is not what the file holds."""
    program, plan = planned("linear", "ort")
    found = READERS["ort"](EXPORTERS.get("onnx")(program, plan, target("ort-int8"), tmp_path))
    weight = plan.edges["fc1:weight"]
    other = {**plan.edges, "fc1:weight": dataclasses.replace(weight, scale=weight.scale * np.float32(1.001))}
    assert found.weights != of_plan(program, dataclasses.replace(plan, edges=other)).weights
