from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgesmith.artifact import Exported, save_exported
from edgesmith.errors import MissingResource, UsageError
from edgesmith.export.torch import export
from edgesmith.graph.capture import capture
from edgesmith.runtimes.session import RunOptions
from edgesmith.runtimes.torch import TorchRuntime
from edgesmith.runtimes.torch_cuda import TorchCudaRuntime, TorchCudaSession
from edgesmith.targets import target
from edgesmith.tensors import random_feed
from tests.models import tiny


def made(folder: Path, precision: str = "fp32") -> Exported:
    folder.mkdir()
    program = capture(tiny("depthwise"), {"x": torch.zeros(1, 3, 8, 8)}, dynamic_batch=True)
    return save_exported(folder, export(program, None, target(f"torch-cuda-{precision}"), folder), None)


def test_without_a_gpu_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingResource, match=r"on CUDA: (torch .* without CUDA|no CUDA GPU here)"):
        TorchCudaRuntime.open(made(tmp_path / "a"), RunOptions())


def test_moved_to_a_device_it_answers_as_before(tmp_path: Path) -> None:
    exported = made(tmp_path / "a")
    feed = random_feed(exported.inputs, batch=3)
    with TorchRuntime.open(exported, RunOptions()) as reference:
        wanted = reference.run(feed)
    with TorchCudaSession(exported, RunOptions(), "cpu") as session:
        answer, told = session.run(feed), session.told()
        with pytest.raises(UsageError, match="tap"):
            session.run(feed, taps=("relu",))
    np.testing.assert_array_equal(answer["output"], wanted["output"])
    assert told.unit == "CPU" and sum(one.macs > 0 for one in told.operators) == len(exported.products) > 1
    with pytest.raises(UsageError, match="closed"):
        session.run(feed)


def test_the_half_program_computes_in_half_between_floats(tmp_path: Path) -> None:
    exported, whole = made(tmp_path / "a", "fp16"), made(tmp_path / "b")
    feed = random_feed(exported.inputs, batch=2)
    with TorchCudaSession(exported, RunOptions(), "cpu") as session:
        answer, told = session.run(feed)["output"], session.told()
    with TorchRuntime.open(whole, RunOptions()) as reference:
        wanted = reference.run(feed)["output"]
    assert answer.dtype == np.float32 and not np.array_equal(answer, wanted)
    np.testing.assert_allclose(answer, wanted, atol=2e-2)
    assert {one.precision for one in told.operators if one.macs} == {"fp16"} and exported.precision == "fp16"


@pytest.mark.needs(gpu=1)
@pytest.mark.parametrize("graph", [False, True])
def test_on_a_gpu_it_agrees_and_is_timed_by_events(tmp_path: Path, graph: bool) -> None:
    exported = made(tmp_path / "a")
    with TorchRuntime.open(exported, RunOptions()) as reference:
        feeds = [random_feed(exported.inputs, seed, batch) for seed, batch in ((0, 1), (1, 4), (2, 4))]
        wanted = [reference.run(feed) for feed in feeds]
    with TorchCudaRuntime.open(exported, RunOptions(graph=graph)) as session:
        for feed, one in zip(feeds, wanted):
            np.testing.assert_allclose(session.run(feed)["output"], one["output"], atol=1e-4)
        assert min(session.device_ms(feeds[:1], 5)) > 0
        profile = session.profiled(feeds[:1], 5)
    assert {len(one.ms) for one in profile.operators} == {5} and len(profile.whole_ms) == 5
