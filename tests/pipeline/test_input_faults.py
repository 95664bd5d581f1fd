"""`verify` says when a file is off because of its input: a file made for another colour order is named as such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesmith.data.split import Evaluation, Split
from edgesmith.pipeline.api import check, convert
from edgesmith.pipeline.judge import Evidence, Judgement, Outputs, Table, explained
from edgesmith.pipeline.produce import Bundle
from edgesmith.pipeline.sources import Inputs
from edgesmith.results import Verdict

pytestmark = pytest.mark.needs("onnxruntime")


class Net(nn.Module):
    """A small net behind a change of its input."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.change = change
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PReLU(), nn.Flatten(), nn.Linear(8 * 36, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.change(x))


def judged(tmp_path: Path, change: Callable[[Tensor], Tensor], broken: bool = False) -> Table:
    made, original = Net(change).eval(), Net(lambda x: x).eval()
    if broken:
        with torch.no_grad():
            made.body[3].weight.copy_(made.body[3].weight.flip(0))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(24, 3, 8, 8)).astype(np.float32))
    bundle = convert(made, x[:1], targets=("ort-fp32",), out=tmp_path / "out")
    return check(bundle, original, [x], limits={"cosine": 0.99}, required=["ort-fp32"])


def test_a_file_made_for_the_other_colour_order_is_told(tmp_path: Path) -> None:
    table = judged(tmp_path, lambda x: x.flip(1))
    (found,) = [v for v in table.judgement.verdicts if v.check == "input"]
    assert found.state == "fail" and found.target == "ort-fp32" and "colours in the other order" in found.found
    assert any("its input is at fault (colour)" in line for line in table.lines)
    assert table.exit_code == 1


@pytest.mark.parametrize("broken", [False, True], ids=["right", "another fault"])
def test_nothing_is_said_of_the_input_where_it_is_not_at_fault(tmp_path: Path, broken: bool) -> None:
    table = judged(tmp_path, lambda x: x, broken)
    assert not [v for v in table.judgement.verdicts if v.check == "input"]
    assert table.exit_code == int(broken)


def test_a_file_that_wants_its_colours_last_is_told_so(tmp_path: Path) -> None:
    table = refusing(tmp_path)
    (found,) = [v for v in table.judgement.verdicts if v.check == "input"]
    assert "an input of shape NHWC" in found.found and "it refuses the original's" in found.found
    assert any("its input is at fault (layout)" in line for line in table.lines)


def refusing(tmp_path: Path) -> Table:
    """A file of (N, 8, 8, 3) judged by an original of (N, 3, 8, 8)."""
    made, original = Net(lambda x: x.permute(0, 3, 1, 2)).eval(), Net(lambda x: x).eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(24, 3, 8, 8)).astype(np.float32))
    last = convert(made, x[:1].permute(0, 2, 3, 1).contiguous(), targets=("ort-fp32",), out=tmp_path / "last")
    first = convert(original, x[:1], targets=(), out=tmp_path / "first")
    exported = {"torch-fp32": first.exported["torch-fp32"], "ort-fp32": last.exported["ort-fp32"]}
    return check(replace(first, exported=exported), None, [x], required=["ort-fp32"], bench=False)


@pytest.mark.parametrize("answers", [np.zeros((3, 6)), np.full((8, 6), np.nan)], ids=["other rows", "NaN"])
def test_a_run_whose_original_cannot_be_compared_row_by_row_goes_on(tmp_path: Path, answers: np.ndarray) -> None:
    inputs = Inputs({"x": np.zeros((8, 3, 8, 8), np.float32)}, False, "zeros")
    outputs = Outputs({"torch-fp32": {"y": answers}, "ort-fp32": {"y": answers}}, {})
    evidence = Evidence(Evaluation(Split(dict(inputs.arrays), None), "agreement"), outputs, Bundle(tmp_path, {}, {}))
    broken = Verdict("cosine", "ort-fp32", "fail", "cosine >= 0.9", "0.1")
    judgement = Judgement("top1", (), (), (broken,), "fail", 1, ("ort-fp32",))
    assert explained(judgement, evidence, inputs, lambda text: None) == judgement
