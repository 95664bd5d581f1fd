"""The worker runs where only numpy and one vendor's library are: no torch, pydantic, typer or onnx, Python 3.10."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesmith.artifact import load_exported
from edgesmith.bench import job as jobs
from edgesmith.bench.job import Candidate, Job, Schedule
from tests.runtimes.samples import expected, make

SOURCE = Path(__file__).parents[2]
ABSENT = ("torch", "pydantic", "typer", "onnx", "yaml", "rich")
# What the worker and its children may load: the vocabulary and these packages (runtimes/torch.py needs torch anyway).
VOCABULARY = ("errors", "plugins", "records", "tensors", "quant", "targets", "artifact", "results", "intervals")
VOCABULARY += ("distributions",)
PACKAGES = ("bench", "runtimes", "devices")
NEEDED = [SOURCE / "edgesmith" / f"{name}.py" for name in ("__init__", *VOCABULARY)]
NEEDED += sorted(path for package in PACKAGES for path in (SOURCE / "edgesmith" / package).glob("*.py"))
NEEDED = [path for path in NEEDED if path.stem not in ("fleet", "dispatch")]  # they stay with whoever asks
# The builder of engines works on the device too; the table of exporters stands in its package.
NEEDED += [SOURCE / "edgesmith" / "export" / f"{name}.py" for name in ("__init__", "engine")]
STANDARD_OR_OURS = {*sys.stdlib_module_names, "numpy", "edgesmith"}


def _link(distribution: str, site: Path) -> None:
    """Put the files of an installed distribution into another site-packages by symbolic links."""
    for file in importlib.metadata.files(distribution) or ():
        if file.parts[0] == ".." or file.parts[0] == "__pycache__":
            continue  # scripts
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        if not (site / file).exists():
            (site / file).symlink_to(Path(str(file.locate())).resolve())


def _requirements(distribution: str) -> list[str]:
    wanted = [line for line in importlib.metadata.requires(distribution) or () if "extra ==" not in line]
    return [re.split(r"[\s<>=!~;\[]", line)[0] for line in wanted]


def _imports(python: Path, module: str) -> bool:
    return (
        subprocess.run([str(python), "-I", "-c", f"import {module}"], capture_output=True, check=False).returncode == 0
    )


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """The interpreter of a virtual environment that holds numpy and onnxruntime alone."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python, site = folder / "bin" / "python", next(folder.glob("lib/python*/site-packages"))
    for distribution in ("numpy", "onnxruntime"):
        _link(distribution, site)
    if not _imports(python, "onnxruntime"):
        for distribution in _requirements("onnxruntime"):
            _link(distribution, site)
    assert _imports(python, "onnxruntime")
    return python


def bare_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}


def test_none_of_the_others_can_be_imported_there(bare_python):
    code = f"import importlib.util as u, json; print(json.dumps([m for m in {ABSENT!r} if u.find_spec(m)]))"
    ended = subprocess.run(
        [bare_python, "-c", code], env=bare_environment(), capture_output=True, text=True, check=True
    )
    assert json.loads(ended.stdout) == []


@pytest.mark.parametrize("kind", ["latency", "outputs"])
def test_an_onnx_runtime_job_runs_there(bare_python, tmp_path, kind):
    exported = make("ort", tmp_path / "job" / "model-0").exported
    rng = np.random.default_rng(0)
    inputs = {"image": rng.standard_normal((3, 3, 8, 8)), "context": rng.standard_normal((3, 4))}
    inputs = {name: array.astype(np.float32) for name, array in inputs.items()}
    job = Job(kind, (Candidate("ort", "model-0"),), "ort", Schedule(2, 3, 2), "tensors")  # type: ignore[arg-type]
    jobs.write_job(tmp_path / "job", job, inputs)
    argv = [str(bare_python), "-m", "edgesmith.bench.worker", str(tmp_path / "job")]
    ended = subprocess.run(argv, env=bare_environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (row,) = jobs.read_result(tmp_path / "job", job).measurements
    assert row.state == "measured" and row.engine.startswith("onnxruntime"), row.reason
    if kind == "outputs":
        answer = jobs.read_outputs(tmp_path / "job", 0, load_exported(exported.root), 3)
        np.testing.assert_allclose(answer["mixed"], expected(inputs)["mixed"], rtol=1e-5, atol=1e-5)


def test_another_runtime_is_not_measured_there(bare_python, tmp_path):
    make("ort", tmp_path / "job" / "model-0")
    make("tensorrt", tmp_path / "job" / "model-1")
    candidates = (Candidate("ort", "model-0"), Candidate("trt", "model-1"))
    job = Job("latency", candidates, "ort", Schedule(1, 2, 2), "tensors")
    feed = {"image": np.ones((1, 3, 8, 8), np.float32), "context": np.ones((1, 4), np.float32)}
    jobs.write_job(tmp_path / "job", job, feed)
    argv = [str(bare_python), "-m", "edgesmith.bench.worker", str(tmp_path / "job")]
    subprocess.run(argv, env=bare_environment(), cwd=tmp_path, capture_output=True, check=True)
    ort, trt = jobs.read_result(tmp_path / "job", job).measurements
    assert (ort.state, trt.state) == ("measured", "not_measured")
    assert "pip install 'edgesmith[tensorrt]'" in trt.reason


@pytest.mark.parametrize("path", NEEDED, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_file_parses_as_python_3_10(path):
    ast.parse(path.read_text(), feature_version=(3, 10))


def test_the_files_pass_the_linter_for_python_3_10():
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    if not Path(ruff).exists():
        pytest.skip("ruff is not installed here")
    argv = [
        ruff,
        "check",
        "--no-cache",
        "--isolated",
        "--target-version",
        "py310",
        "--select",
        "E9,F,UP",
        *map(str, NEEDED),
    ]
    ended = subprocess.run(argv, cwd=SOURCE, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def _vendors(path: Path) -> set[str]:
    """Top-level names of what a file imports, in functions too, and is neither ours nor the standard library's."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found - STANDARD_OR_OURS


def test_vendors_are_imported_in_the_file_named_after_them_only():
    allowed = {
        "ort": {"onnxruntime", "onnx"},
        "openvino": {"openvino"},
        "ort_cuda": {"onnxruntime"},
        "torch": {"torch"},
        "torch_cuda": {"torch"},
        "coreml_vendor": {"coremltools"},
    }
    allowed["executorch"] = {"executorch", "torch"}  # its Python runtime takes tensors of torch
    found = {str(path.relative_to(SOURCE)): _vendors(path) for path in NEEDED}
    assert {name: vendors for name, vendors in found.items() if vendors} == {
        f"edgesmith/runtimes/{name}.py": vendors for name, vendors in allowed.items()
    }


def test_the_worker_loads_our_own_listed_files_only():
    code = "import sys, edgesmith.bench.child, edgesmith.bench.worker; "
    code += "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'edgesmith'), sep='\\n')"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=bare_environment(), capture_output=True, text=True, check=True
    )
    assert {Path(line) for line in ended.stdout.split()} <= {path.resolve() for path in NEEDED}
