"""Operators of real sessions: their sizes are those of the network, their times are there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgesmith.bench import operator_table
from edgesmith.bench.operator_table import profiled_network
from edgesmith.errors import UsageError
from edgesmith.pipeline.produce import build_targets, capture_source
from edgesmith.pipeline.sources import Source
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import TensorSpec

TARGETS = ("ort-fp32", "openvino-fp32")


class Net(nn.Module):
    """A convolution, a depthwise one and a pointwise one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.point, self.last = nn.Conv2d(16, 32, 1), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.point(self.deep(self.first(x).relu()).relu()).relu().mean((2, 3)))


MACS = {"3x3": 16 * 16 * 16 * 27, "depthwise": 16 * 16 * 16 * 9, "pointwise": 16 * 16 * 32 * 16}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    torch.manual_seed(0)
    source = Source("net", Net().eval(), (TensorSpec("x", (1, 3, 32, 32)),), outputs=("y",))
    folder: Path = tmp_path_factory.mktemp("built")
    return dict(build_targets(capture_source(source), source, TARGETS, {}, folder, lambda text: None).exported)


@pytest.mark.parametrize("target", ["ort-fp32", "openvino-fp32"])
def test_sizes_and_times_of_every_operator(built: dict, target: str) -> None:
    found = profiled_network(built[target], "net", "own", 1.0, RunOptions(threads=1), runs=5)
    assert len(found.kernels) == len(found.profiled_ms) and all(ms >= 0 for ms in found.profiled_ms)
    for word, macs in MACS.items():
        (own,) = [kernel for kernel in found.kernels if kernel.kind.partition(" ")[2].startswith(word)]
        assert own.macs == macs, own
        # At least what it writes, at most twice all that it touches: a runtime may pad channels.
        assert 16 * 16 * 16 * 4 <= own.bytes <= 2 * 4 * (3 * 32 * 32 + 16 * 16 * (16 + 32) + 16 * 32 * 9)


def test_a_runtime_that_does_not_tell_is_refused(built: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_table, "told_by", lambda session: None)
    with pytest.raises(UsageError, match="does not tell"):
        profiled_network(built["ort-fp32"], "net", "own", 1.0, RunOptions(threads=1), runs=2)
