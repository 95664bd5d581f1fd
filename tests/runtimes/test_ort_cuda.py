from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from edgesmith.artifact import save_exported
from edgesmith.errors import MissingResource, UsageError
from edgesmith.export.onnx import export
from edgesmith.graph.capture import capture
from edgesmith.runtimes.ort import OrtRuntime
from edgesmith.runtimes.ort_cuda import PROVIDER, OrtCudaRuntime, OrtCudaSession
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import target
from edgesmith.tensors import random_feed
from tests.models import tiny
from tests.runtimes.samples import expected, make

CPU = "CPUExecutionProvider"


def test_without_the_provider_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(MissingResource, match=f"this onnxruntime has {CPU}; install onnxruntime-gpu"):
        OrtCudaRuntime.open(make("ort-cuda", tmp_path / "a").exported, RunOptions())


@pytest.mark.skipif(PROVIDER in onnxruntime.get_available_providers(), reason="cpu: the provider is here")
def test_a_session_that_fell_back_is_refused(tmp_path: Path) -> None:
    # ONNX Runtime opens it without the provider that it does not have, and warns.
    with pytest.raises(MissingResource, match=f"with {PROVIDER}: it opened with {CPU}"):
        OrtCudaSession(make("ort-cuda", tmp_path / "a").exported, RunOptions(), None)


def test_bound_values_are_filled_anew_for_every_run_and_shape(tmp_path: Path) -> None:
    exported = make("ort-cuda", tmp_path / "a").exported
    with OrtCudaSession(exported, RunOptions(), None, CPU) as session:
        first = random_feed(exported.inputs, 0, 2)
        kept = {name: array.copy() for name, array in first.items()}
        earlier = session.run(first)
        for seed, batch in ((1, 2), (2, 5), (3, 2)):
            feed = random_feed(exported.inputs, seed, batch)
            np.testing.assert_allclose(session.run(feed)["mixed"], expected(feed)["mixed"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(earlier["mixed"], expected(kept)["mixed"], rtol=1e-6, atol=1e-6)
        assert all(np.array_equal(first[name], kept[name]) for name in kept)  # ours are not written into
        assert session.told().unit == CPU and session.profiled([first], 4).operators
        with pytest.raises(MissingResource):
            session.device_ms([first], 3)
    with pytest.raises(UsageError, match="closed"):
        session.run(first)


def test_the_half_file_computes_in_half_between_floats(tmp_path: Path) -> None:
    import onnx

    program = capture(tiny("linear"), {"x": torch.zeros(1, 3, 8, 8)})
    exported = save_exported(tmp_path, export(program, None, target("ort-cuda-fp16"), tmp_path), None)
    weights = onnx.load(str(exported.file)).graph.initializer
    assert {one.data_type for one in weights if one.dims} >= {onnx.TensorProto.FLOAT16}
    feed = random_feed(exported.inputs)
    with OrtRuntime.open(exported, RunOptions()) as session:
        answer = session.run(feed)["output"]
    (wanted,) = program.module(torch.from_numpy(feed["x"]))
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, wanted.detach().numpy(), atol=2e-2)


@pytest.mark.needs(gpu=1)
@pytest.mark.parametrize("graph", [False, True])
def test_on_a_gpu_it_agrees_and_is_timed_by_events(tmp_path: Path, graph: bool) -> None:
    exported = make("ort-cuda", tmp_path / "a").exported
    try:
        session = OrtCudaRuntime.open(exported, RunOptions(graph=graph))
    except MissingResource as error:
        pytest.skip(f"gpu: {error.found}")
    with session:
        for seed, batch in ((0, 1), (1, 4), (2, 4)):
            feed = random_feed(exported.inputs, seed, batch)
            np.testing.assert_allclose(session.run(feed)["mixed"], expected(feed)["mixed"], rtol=1e-4, atol=1e-4)
        assert min(session.device_ms([feed], 5)) > 0
        assert PROVIDER in {one.unit for one in session.told().operators}
