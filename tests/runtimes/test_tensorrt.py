from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgesmith.artifact import Engine, Exported, engine_system, save_exported
from edgesmith.errors import EngineFailed, MissingPackage, MissingResource, UsageError
from edgesmith.runtimes import cuda, tensorrt
from edgesmith.runtimes.profile import layer_times
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import TensorSpec
from tests.runtimes import gpu
from tests.runtimes.samples import make

ROWS = [(tensorrt.TensorRTRuntime, "tensorrt"), (tensorrt.TensorRTRtxRuntime, "tensorrt_rtx")]
X, Y = TensorSpec("x", ("batch", 4)), TensorSpec("y", ("batch", 4))


@pytest.mark.parametrize(("runtime", "module"), ROWS)
def test_an_absent_library_is_named_with_its_install_line(runtime, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackage, match=f"{module}.*pip install 'edgesmith\\[{runtime.name}\\]'"):
        runtime.open(make(runtime.name, tmp_path / "m").exported, RunOptions())


def artefact(folder: Path, **changes: str) -> Exported:
    folder.mkdir()
    (folder / "model.engine").write_bytes(b"an engine")
    facts = {"library": "tensorrt", "version": "10.7.0", "system": engine_system(), **changes}
    made = Engine("model.engine", capabilities=("8.6",), **facts)
    names = {"node_scale": "body.scale", "node_relu": "body.act"}
    exported = Exported("tensorrt-fp32", "tensorrt", "fp32", "model.engine", (X,), (Y,), engines=(made,), root=folder)
    return save_exported(folder, type(exported)(**{**vars(exported), "operator_layers": names}), None)


@pytest.fixture
def driver(monkeypatch):
    made = gpu.Driver()
    monkeypatch.setattr(cuda, "load", lambda: made)
    monkeypatch.setitem(sys.modules, "tensorrt", gpu.tensorrt(made))
    return made


def rows(count: int, first: float = 1.0) -> dict[str, np.ndarray]:
    return {"x": np.arange(4 * count, dtype=np.float32).reshape(count, 4) + np.float32(first)}


@pytest.mark.parametrize("graph", [False, True])
def test_it_answers_for_every_batch_and_gives_its_memory_back(driver, tmp_path, graph):
    with tensorrt.TensorRTRuntime.open(artefact(tmp_path / "a"), RunOptions(graph=graph)) as session:
        for count, first in ((1, 1.0), (3, 5.0), (3, 9.0), (2, -4.0)):
            np.testing.assert_array_equal(session.run(rows(count, first))["y"], 2 * rows(count, first)["x"])
        assert session.engine == "tensorrt on compute capability 8.6" and driver.memory
        with pytest.raises(UsageError):
            session.run({"x": np.zeros((1, 5), np.float32)})
    assert not driver.memory and not driver.open
    assert driver.launched == (4 if graph else 0)
    with pytest.raises(UsageError, match="closed"):
        session.run(rows(1))


def test_the_gpus_own_time_is_told_by_events(driver, tmp_path):
    with tensorrt.TensorRTRuntime.open(artefact(tmp_path / "a"), RunOptions()) as session:
        assert session.device_ms([rows(1), rows(2)], 5) == (0.5,) * 5
    assert not driver.open


def test_times_of_layers_have_the_users_paths(driver, tmp_path):
    exported = artefact(tmp_path / "a")
    with tensorrt.TensorRTRuntime.open(exported, RunOptions(graph=True)) as session:
        found = layer_times(exported, session.profiled([rows(1)], 10))
        np.testing.assert_array_equal(session.run(rows(2))["y"], 2 * rows(2)["x"])  # and runs on as before
    first, second = found.rows
    assert (first.layer, first.members, first.op, first.ms.value) == ("body.scale", ("body.act",), "Scale", 0.25)
    assert (second.layer, second.op) == ("body.scale", "Reformat") or second.layer == ""
    assert (found.whole_ms.value, found.runs, found.source) == (0.375, 10, "TensorRT's profiler")


def test_where_its_layers_run(driver, tmp_path):
    with tensorrt.TensorRTRuntime.open(artefact(tmp_path / "a"), RunOptions()) as session:
        told = session.told()
    assert told.unit == "GPU" and [(one.op, one.precision) for one in told.operators] == [("Scale", "fp32")]


@pytest.mark.parametrize("changes", [{"version": "10.3.0"}, {"system": "Plan9-vax"}])
def test_an_engine_of_elsewhere_is_refused_before_the_vendor_sees_it(driver, tmp_path, changes):
    with pytest.raises(EngineFailed, match=f"{next(iter(changes.values()))}, here is"):
        tensorrt.TensorRTRuntime.open(artefact(tmp_path / "a", **changes), RunOptions())


def test_an_engine_that_the_vendor_refuses_is_refused(driver, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", gpu.tensorrt(driver, refuses=True))
    with pytest.raises(EngineFailed, match="does not take it on compute capability"):
        tensorrt.TensorRTRuntime.open(artefact(tmp_path / "a"), RunOptions())


def test_a_library_without_a_gpu_says_so(driver, tmp_path):
    driver.gpus = 0
    with pytest.raises(MissingResource, match="shows none"):
        tensorrt.TensorRTRuntime.open(artefact(tmp_path / "a"), RunOptions())
