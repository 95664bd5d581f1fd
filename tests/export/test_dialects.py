"""For every family: the integers, scales and zero points in the file are those of the plan, exactly."""

from __future__ import annotations

import dataclasses
import re

import pytest

from edgesmith.export import EXPORTERS
from edgesmith.export.exporter import decomposed, prepared
from edgesmith.export.onnx import to_onnx
from edgesmith.targets import FAMILIES, target
from tests.architecture.source import ROOT
from tests.export.quantized import planned
from tests.export.stored import READERS, in_onnx, in_pte, of_plan
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
    row = target("executorch-int8")
    program, plan = planned(net, "executorch")
    wanted = of_plan(program, plan)
    assert wanted.weights and in_pte(EXPORTERS.get("executorch")(program, plan, row, tmp_path), wanted) == wanted


def test_the_page_shows_every_family_and_no_difference():
    page = (ROOT / "docs/dialects.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \|.*\| (\d+) of (\d+) \| [\d,]+ \| (\d+) of (\d+) \|$", page, re.MULTILINE)
    assert [row[0] for row in rows] == list(FAMILIES)
    assert all(row[1] == row[2] != "0" and row[3] == row[4] != "0" for row in rows)


def test_a_changed_number_would_be_seen(tmp_path):
    """The comparison itself: a plan whose weights have other scales is not what the file holds."""
    program, plan = planned("linear", "ort")
    found = READERS["ort"](EXPORTERS.get("onnx")(program, plan, target("ort-int8"), tmp_path))
    weight = plan.edges["fc1:weight"]
    other = {**plan.edges, "fc1:weight": dataclasses.replace(weight, scale=2 * weight.scale)}
    assert found.weights != of_plan(program, dataclasses.replace(plan, edges=other)).weights
