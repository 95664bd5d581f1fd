from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesmith.artifact import Engine, Exported, load_exported, save_exported
from edgesmith.errors import EngineFailed, UsageError
from edgesmith.runtimes.engines import Here, choose, fat, mismatch
from edgesmith.runtimes.session import RunOptions
from edgesmith.runtimes.tensorrt import TensorRTRuntime
from edgesmith.tensors import random_feed
from tests.runtimes.samples import INPUTS, expected, onnx_file

HERE = Here("tensorrt", "10.7.0", "8.6", "Linux-x86_64")
FITS = Engine("model.engine", "tensorrt", "10.7.0", ("8.6",), "Linux-x86_64")
OTHERS = {
    "built by tensorrt 10.3.0, here is 10.7.0": replace(FITS, version="10.3.0"),
    "compute capability 8.7, 8.9, here is 8.6": replace(FITS, capabilities=("8.7", "8.9")),
    "built on Linux-aarch64, here is Linux-x86_64": replace(FITS, system="Linux-aarch64"),
    "it is of tensorrt_rtx, here is tensorrt": replace(FITS, library="tensorrt_rtx"),
}


def artefact(folder: Path, *engines: Engine, source: bool = True) -> Exported:
    folder.mkdir(parents=True)
    for engine in engines:
        (folder / engine.file).write_bytes(f"{engine.capabilities}".encode())
    onnx_file(folder / "model.onnx")
    outputs = tuple(
        replace(INPUTS[1], name=name, shape=("batch", size)) for name, size in (("mixed", 7), ("pooled", 3))
    )
    main = engines[0].file if engines else "model.onnx"
    made = Exported("tensorrt-fp32", "tensorrt", "fp32", main, INPUTS, outputs, engines=engines, root=folder)
    return save_exported(folder, replace(made, source="model.onnx" if source else ""), None)


def test_the_engine_that_fits_is_chosen(tmp_path: Path) -> None:
    engines = [replace(engine, file=f"{n}.engine") for n, engine in enumerate((*OTHERS.values(), FITS))]
    assert choose(artefact(tmp_path / "a", *engines), HERE) == engines[-1]


@pytest.mark.parametrize("words", OTHERS)
def test_a_mismatch_is_refused_with_both_sides_and_the_way_out(words: str, tmp_path: Path) -> None:
    assert words in mismatch(OTHERS[words], HERE) and mismatch(FITS, HERE) == ""
    with pytest.raises(EngineFailed) as refused:
        choose(artefact(tmp_path / "a", OTHERS[words]), HERE)
    assert words in refused.value.found and "rebuild it on the device" in refused.value.todo


def test_without_the_onnx_file_it_must_be_exported_again(tmp_path: Path) -> None:
    other = OTHERS["built by tensorrt 10.3.0, here is 10.7.0"]
    with pytest.raises(EngineFailed, match="export it again"):
        choose(artefact(tmp_path / "a", other, source=False), HERE)


def test_what_was_never_built_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match=r"none yet, only model\.onnx.*rebuild"):
        choose(artefact(tmp_path / "a"), HERE)


def test_an_engine_without_a_record_is_tried() -> None:
    foreign = Exported("tensorrt-fp32", "tensorrt", "fp32", "their.engine", (), ())
    assert choose(foreign, HERE).file == "their.engine"


def test_a_fat_artefact_holds_all_engines_and_checks_them(tmp_path: Path) -> None:
    other = replace(FITS, capabilities=("8.9",))
    parts = [artefact(tmp_path / name, engine) for name, engine in (("a", other), ("b", FITS))]
    made = load_exported(fat(parts, tmp_path / "fat").root, check=True)
    assert [(engine.file, engine.capabilities) for engine in made.engines] == [
        ("model-0.engine", ("8.9",)),
        ("model-1.engine", ("8.6",)),
    ]
    assert choose(made, HERE).file == "model-1.engine" and made.fallback == "ort"
    assert (made.root / "model-1.engine").read_bytes() == b"('8.6',)"
    shipped = [made.root / name for name in ("model-0.engine", "model-1.engine", "model.onnx")]
    assert made.size_bytes == sum(file.stat().st_size for file in shipped)


def test_engines_of_different_models_stay_apart(tmp_path: Path) -> None:
    first, second = artefact(tmp_path / "a", FITS), artefact(tmp_path / "b", FITS)
    with pytest.raises(UsageError, match="not of the model"):
        fat([first, replace(second, plan_digest="another")], tmp_path / "fat")
    with pytest.raises(UsageError, match="no engine with a record"):
        fat([first, artefact(tmp_path / "c")], tmp_path / "fat")


@pytest.mark.needs("onnxruntime")
def test_where_nothing_fits_a_fat_artefact_runs_its_onnx_file_and_says_so(tmp_path: Path) -> None:
    made = fat([artefact(tmp_path / "a", replace(FITS, version="0.0"))], tmp_path / "fat")
    feed = random_feed(made.inputs, batch=2)
    with TensorRTRuntime.open(made, RunOptions()) as session:  # no library, no GPU, or another version: all the same
        answer = session.run(feed)
        assert session.engine.startswith("onnxruntime") and "instead of an engine (" in session.engine
    np.testing.assert_allclose(answer["mixed"], expected(feed)["mixed"], rtol=1e-5, atol=1e-6)


def test_what_engines_are_built_from_is_not_shipped_with_them(tmp_path: Path) -> None:
    made = artefact(tmp_path / "a", FITS)
    (made.root / "timing.cache").write_bytes(b"0" * 1000)
    assert made.size_bytes == (made.root / FITS.file).stat().st_size
