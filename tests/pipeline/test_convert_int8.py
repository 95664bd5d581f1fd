"""int8 from Python: switches of corrections, and weights that stand in several places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgesmith
from edgesmith.artifact import Exported
from edgesmith.compress.quantize.corrections import Corrections
from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.pipeline.convert import Request, quantize_request
from edgesmith.pipeline.produce import calibrate
from edgesmith.pipeline.refining import measured_anew
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.pipeline.wishes import Wishes
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import TensorSpec


class Shared(nn.Module):
    """A layer that runs twice, on small and on large values, and another one that holds the same weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.act, self.head = nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Linear(8, 4)
        self.middle, self.tied = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.tied.weight = self.middle.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        x = self.act(self.middle(3 * self.act(self.middle(x))))
        return self.head(self.act(self.tied(x)).mean((2, 3)))


def pictures() -> Tensor:
    return torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def answers(exported: Exported, x: Tensor) -> np.ndarray:
    with RUNTIMES.get(exported.runtime).open(exported, RunOptions(threads=1)) as session:
        return np.concatenate([next(iter(session.run({"x": one[None].numpy()}).values())) for one in x])


def error(exported: Exported, net: nn.Module, x: Tensor) -> float:
    """Largest error over the spread of the answers."""
    with torch.no_grad():
        original = net(x).numpy()
    return float(np.abs(answers(exported, x) - original).max() / np.ptp(original))


@pytest.mark.parametrize("target", ["ort-int8", "openvino-int8"])
def test_weights_in_several_places_are_quantized_in_each(target: str, tmp_path: Path) -> None:
    net, x = Shared().eval(), pictures()
    before = net.middle.weight.detach().clone()
    made = edgesmith.convert(net, {"x": x[:1]}, [target], [(x,)], out=tmp_path)
    assert error(made.exported[target], net, x) < 0.05
    assert net.tied.weight is net.middle.weight and torch.equal(net.middle.weight, before)  # the net is the user's


def test_a_correction_that_is_switched_off_is_not_made(tmp_path: Path) -> None:
    net, x = Shared().eval(), pictures()
    switches = {"bare": dict.fromkeys(("equalise", "join", "bias", "bias_pass", "dead"), False), "usual": None}
    made = {
        name: edgesmith.convert(net, {"x": x[:1]}, ["ort-int8"], [(x,)], out=tmp_path / name, corrections=switch)
        for name, switch in switches.items()
    }
    bare, usual = (answers(made[name].exported["ort-int8"], x) for name in switches)
    assert not np.allclose(bare, usual, atol=1e-6)
    with torch.no_grad():
        original = net(x).numpy()
    off, on = (np.abs((found - original).mean(0)).max() for found in (bare, usual))
    assert on < off  # a bias is what the bias pass takes away


@pytest.mark.parametrize(("switches", "text"), [({"polish": True}, "no such correction"), ({"bias": 1}, "neither on")])
def test_a_correction_that_is_none_is_refused(switches: dict[str, bool], text: str, tmp_path: Path) -> None:
    x = pictures()
    with pytest.raises(UsageError, match=text):
        edgesmith.convert(Shared(), {"x": x[:1]}, ["ort-int8"], [(x,)], out=tmp_path, corrections=switches)


class InFours(nn.Module):
    """Only batches of four."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)).view(4, 8))


def test_a_fixed_batch_is_calibrated_by_whole_batches_of_it() -> None:
    """The usual 50 samples at a time are no multiple of 4, and the last of 54 samples fill no batch."""
    net, x = InFours().eval(), np.random.default_rng(1).normal(size=(54, 3, 8, 8)).astype(np.float32)
    program = capture(net, {"x": torch.from_numpy(x[:4])})
    ranges = calibrate(program, Inputs({"x": x}, False, "digest"), None, 50)
    assert ranges.samples == 52 and "2 samples left out" in ranges.warning
    whole = calibrate(program, Inputs({"x": x[:52]}, False, "digest"), None, 4)
    assert whole.warning == "" and np.array_equal(ranges.edges["conv:out"].high, whole.edges["conv:out"].high)
    with pytest.raises(UsageError, match="give 4 samples or more"):
        calibrate(program, Inputs({"x": x[:3]}, False, "digest"), None, 50)


@pytest.mark.parametrize("count", [11, 54])
def test_a_fixed_batch_learns_its_rounding_and_is_judged(count: int, tmp_path: Path) -> None:
    net, x = InFours().eval(), np.random.default_rng(1).normal(size=(count, 3, 8, 8)).astype(np.float32)
    torch.export.save(torch.export.export(net, (torch.from_numpy(x[:4]),)), tmp_path / "fours.pt2")
    model, learned = str(tmp_path / "fours.pt2"), Corrections(adaround=True)
    request = Request(model, calibration=_saved(tmp_path, x), corrections=learned)
    (made,) = quantize_request(request, ("ort-int8",), tmp_path / "out", lambda text: None, Wishes(effects=True))
    assert made.plan.rounded_up
    assert (made.effects is not None) == (count == 54)  # of 11 samples two would be kept back


def test_batch_norms_of_a_fixed_batch_are_not_measured_anew(tmp_path: Path) -> None:
    class Normed(InFours):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(self.conv, nn.BatchNorm2d(8))

    x = np.random.default_rng(1).normal(size=(24, 3, 8, 8)).astype(np.float32)
    source = Source("normed", Normed().eval(), (TensorSpec("x", (4, 3, 8, 8)),))
    with pytest.raises(UsageError, match="fails on 16 of them"):
        measured_anew(source, Inputs({"x": x}, False, "digest"), 50)


def _saved(folder: Path, x: np.ndarray) -> str:
    np.savez(folder / "x.npz", x=x)
    return str(folder / "x.npz")
