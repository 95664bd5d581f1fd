from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgesmith
from edgesmith.artifact import Exported
from edgesmith.errors import UsageError
from edgesmith.graph.capture import capture
from edgesmith.graph.layers import Original, layers
from edgesmith.results import TargetDrift
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.verify.drift import atlas
from edgesmith.verify.taps import Taps, independent
from tests.models import tiny

FLOAT = ("ort-fp32", "openvino-fp32", "coreml-fp16")
INT8 = ("ort-int8", "openvino-int8", "coreml-int8")
X = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
FEED = {"x": X[:8].numpy()}
Change = Callable[[nn.Module], None]


def exported(folder: Path, targets: tuple[str, ...], change: Change = lambda net: None) -> dict[str, Exported]:
    """Artefacts of the depthwise net after a change, under the original's name."""
    net = tiny("depthwise")
    with torch.no_grad():
        change(net)
    made = edgesmith.convert(net, {"x": X[:1]}, targets, [(X,)], folder, dynamic_batch=True)
    return {name: made.exported[name] for name in targets}


def found(artefacts: dict[str, Exported]) -> tuple[TargetDrift, ...]:
    return atlas(capture(tiny("depthwise"), (X[:2],), dynamic_batch=True), artefacts, FEED)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    return exported(tmp_path_factory.mktemp("sound"), (*FLOAT, *INT8))


def test_a_sound_artefact_accuses_nobody_in_float_and_in_int8(sound: dict[str, Exported]) -> None:
    for one in found(sound):
        assert one.suspects == () and one.first is None, one.target
        assert {row.layer for row in one.layers} >= {"expand_act", "project_bn"}
        assert all(row.local_sqnr_db is not None and 0 < (row.excess or 1e-9) < 1 for row in one.layers), one.target


def slope(net: nn.Module) -> None:
    net.depthwise_act.weight[2] += 0.5


def swapped(net: nn.Module) -> None:
    net.depthwise.weight[[1, 5]] = net.depthwise.weight[[5, 1]]


def dead(net: nn.Module) -> None:
    net.project.weight[3] = 0


@pytest.mark.parametrize(
    ("change", "layer"), [(slope, "depthwise_act"), (swapped, "depthwise_bn"), (dead, "project_bn")]
)
def test_the_layer_that_was_changed_is_named_first_by_every_runtime(tmp_path: Path, change: Change, layer: str) -> None:
    for one in found(exported(tmp_path, FLOAT, change)):
        assert one.suspects[0].layer == layer == one.first, one.target
        before = [row for row in one.layers if row.layer.startswith("expand")]
        assert all((row.excess or 0) < 1 for row in before), one.target


def test_the_error_that_a_layer_inherits_is_propagated_and_not_local(tmp_path: Path) -> None:
    (one,) = found(exported(tmp_path, ("ort-fp32",), swapped))
    last = next(row for row in one.layers if row.layer == "project_bn")
    assert (last.sqnr_db or 0) < 40 and (last.local_sqnr_db or 0) > 90


def test_a_dead_channel_is_called_one(tmp_path: Path) -> None:
    (one,) = found(exported(tmp_path, ("openvino-fp32",), dead))
    assert one.suspects[0].cause == "dead channel" and "channel 3" in one.suspects[0].evidence


def test_no_group_holds_a_layer_and_its_source() -> None:
    program = capture(tiny("residual"), (X[:2],))
    for group in independent(layers(program, program.nodes)):
        paths = {layer.path for layer in group}
        assert not any(paths & set(layer.sources) for layer in group)


def test_values_held_at_once_are_bounded_by_the_chunk(sound: dict[str, Exported]) -> None:
    program = capture(tiny("depthwise"), (X[:2],), dynamic_batch=True)
    one = sound["ort-fp32"]
    places = layers(program, one.layer_names)
    limit = 2 * max(layer.size_bytes for layer in places) * len(X[:8])
    with RUNTIMES.get("ort").open(one, RunOptions()) as session:
        chunks = list(Taps(session, one, Original(program, FEED), FEED, limit).propagated(places))
    assert len(chunks) > 1
    assert all(sum(seen.found.nbytes for seen in chunk) <= limit for chunk, _ in chunks)
    assert [seen.layer.path for chunk, _ in chunks for seen in chunk] == [layer.path for layer in places]


def test_an_artefact_that_shows_no_layer_or_one_that_is_not_there_is_refused(sound: dict[str, Exported]) -> None:
    one = sound["ort-fp32"]
    with pytest.raises(UsageError, match="names no layer"):
        found({"mute": replace(one, layer_names={})})
    with pytest.raises(UsageError, match="gone_tensor"):
        found({"wrong": replace(one, layer_names={"expand_bn": "gone_tensor"})})


def test_nan_in_the_original_is_refused_and_in_an_artefact_it_is_the_suspect(tmp_path: Path) -> None:
    def infinite(net: nn.Module) -> None:
        net.depthwise.weight[0] = float("inf")

    (one,) = found(exported(tmp_path, ("ort-fp32",), infinite))
    assert one.suspects[0].layer == "depthwise_bn" and one.suspects[0].cause == "NaN or infinity"
    with pytest.raises(UsageError, match="NaN"):
        atlas(capture(tiny("depthwise"), (X[:2],)), {}, {"x": np.full((2, 3, 8, 8), np.nan, np.float32)})


class Residual(nn.Module):
    """A block whose sum is quantized again behind a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        trunk = self.first(x).relu()
        return self.last((trunk + self.branch(trunk)).relu())


def test_a_residual_net_accuses_nobody_and_its_sums_are_near(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Residual().eval()
    made = edgesmith.convert(net, {"x": X[:1]}, INT8, [(X,)], tmp_path, dynamic_batch=True)
    for one in atlas(capture(net, (X[:2],), dynamic_batch=True), {name: made.exported[name] for name in INT8}, FEED):
        assert one.suspects == (), one.target
        assert all((row.sqnr_db or 0) > 30 for row in one.layers), one.target


def test_a_sum_that_core_ml_stores_as_a_multiple_is_read_and_fed_as_the_original_has_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Residual().eval()
    made = edgesmith.convert(net, {"x": X[:1]}, ("coreml-int8",), [(X,)], tmp_path, dynamic_batch=True)
    one, program = made.exported["coreml-int8"], capture(net, (X[:2],), dynamic_batch=True)
    assert any(tensor in one.multiples for tensor in one.layer_names.values())
    (read,) = atlas(program, {"coreml-int8": one}, FEED)
    (misread,) = atlas(program, {"coreml-int8": replace(one, multiples={})}, FEED)
    sums = [next(row for row in found.layers if row.layer == "add") for found in (read, misread)]
    assert (sums[0].sqnr_db or 0) > 20 and (sums[0].local_sqnr_db or 0) > 50 and (sums[1].sqnr_db or 0) < 0
