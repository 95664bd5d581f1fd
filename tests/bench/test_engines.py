from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from edgesmith.artifact import Engine, Exported, load_exported, save_exported
from edgesmith.bench import engines
from edgesmith.bench.engines import with_engine
from edgesmith.bench.job import Candidate, Job, write_job
from edgesmith.bench.worker import run_job
from edgesmith.errors import MissingPackage, MissingResource
from edgesmith.export.tensorrt import export_source
from edgesmith.graph.capture import capture
from edgesmith.runtimes import cuda
from edgesmith.targets import target
from tests.bench.samples import QUICK, model
from tests.bench.test_worker import prepared
from tests.models import tiny
from tests.runtimes.gpu import Driver


def source(folder: Path, name: str) -> Exported:
    folder.mkdir(parents=True, exist_ok=True)
    program = capture(tiny("linear"), {"x": torch.zeros(1, 3, 8, 8)})
    return save_exported(folder, export_source(program, None, target(name), folder), None)


def test_others_are_left_as_they_are(tmp_path: Path) -> None:
    ours = model(tmp_path / "a")
    assert with_engine(ours, rebuild=True) is ours
    built = replace(ours, runtime="tensorrt", source="model.onnx", engines=(Engine("e", "tensorrt", "1", (), ""),))
    assert with_engine(built, rebuild=False) is built


def test_without_the_library_or_a_gpu_it_says_which(tmp_path: Path) -> None:
    with pytest.raises((MissingPackage, MissingResource), match=r"tensorrt|CUDA|GPU"):
        with_engine(source(tmp_path / "a", "tensorrt-fp32"), rebuild=False)


@pytest.mark.needs("tensorrt_rtx")
def test_the_engine_is_built_for_the_gpu_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "load", lambda: Driver(major=8, minor=9))
    first = with_engine(source(tmp_path / "a", "tensorrt-rtx-fp32"), rebuild=False)
    assert (first.main, first.engines[0].capabilities) == (engines.ENGINE, ("8.9",))
    assert load_exported(first.root, check=True) == first  # sealed anew
    monkeypatch.setattr(cuda, "load", lambda: Driver(major=12, minor=0))
    assert with_engine(first, rebuild=False) is first
    assert with_engine(first, rebuild=True).engines[0].capabilities == ("12.0",)


@pytest.mark.needs("onnxruntime")
def test_the_worker_measures_what_runs_in_the_place_of_an_engine(tmp_path: Path) -> None:
    folder = tmp_path / "model-0"
    made = source(folder, "tensorrt-fp32")
    (folder / "m.engine").write_bytes(b"of elsewhere")
    elsewhere = Engine("m.engine", "tensorrt", "0.0", ("1.0",), "Plan9-vax")
    save_exported(folder, replace(made, main="m.engine", engines=(elsewhere,), fallback="ort"), None)
    asked = Job("latency", (Candidate("a", "model-0"),), "a", QUICK, "tensors")
    write_job(tmp_path, asked, {"x": np.zeros((2, 3, 8, 8), np.float32)})
    (row,) = run_job(tmp_path, asked, lambda line: None).measurements
    assert row.state == "measured" and row.version == version("onnxruntime"), row.reason
    assert row.engine.startswith("onnxruntime CPU") and "instead of an engine" in row.engine


def test_the_worker_gives_a_row_with_the_reason(tmp_path: Path) -> None:
    job = prepared(tmp_path, "a", "b")
    for old in (tmp_path / "model-1").iterdir():
        old.unlink()
    source(tmp_path / "model-1", "tensorrt-fp32")
    rows = run_job(tmp_path, job, lambda line: None).measurements
    assert [row.state for row in rows] == ["measured", "not_measured"]
    assert "build the engine of tensorrt-fp32 here" in rows[1].reason or "GPU" in rows[1].reason
