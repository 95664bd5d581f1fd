"""The examples of CONTRIBUTING.md, taken from the page, installed as a small package and used."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tomllib
import torch

from edgesmith.artifact import Exported
from edgesmith.bench.run import infer
from edgesmith.compress import METHODS
from edgesmith.compress.fit import FitConfig, fit
from edgesmith.compress.task import Parts
from edgesmith.data.split import Split
from edgesmith.devices.local import LocalDevice
from edgesmith.errors import EngineFailed, MissingResource, UsageError
from edgesmith.pipeline.options import spec_problems
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.targets import TARGETS
from tests.models import tiny

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
BLOCK = re.compile(r"^```(python|toml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PACKAGE = "edgesmith_extra"


def blocks() -> dict[str, str]:
    """File name in the block's first line -> the rest of it."""
    return {name: text for _, name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A site folder with the package and its entry points, on the path here and in the worker's processes."""
    site = tmp_path_factory.mktemp("site")
    for name, text in blocks().items():
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    (site / PACKAGE / "__init__.py").touch()
    _register(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])))
        yield site
    for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
        del sys.modules[name]


def _register(site: Path) -> None:
    """What pip would write of the page's pyproject.toml."""
    groups = tomllib.loads((site / "pyproject.toml").read_text())["project"]["entry-points"]
    info = site / f"{PACKAGE}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def exported(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A net with batch norms and PReLU, written by the page's target."""
    from edgesmith_extra.target import export

    return export(tiny("depthwise"), {"x": torch.zeros(1, 3, 8, 8)}, tmp_path_factory.mktemp("made") / "target")


def test_every_python_block_of_the_page_is_a_file_of_the_package() -> None:
    fences = PAGE.read_text(encoding="utf-8").count("```python")
    names = [name for name in blocks() if name.endswith(".py")]
    assert len(names) == fences == 3 and all(name.startswith(f"{PACKAGE}/") for name in names)


def test_the_names_are_known_only_by_their_entry_points(package: Path) -> None:
    assert "onnx-reference" in RUNTIMES.names() and "onnx-reference" not in RUNTIMES.table
    assert "mixup" in METHODS.names() and "mixup" not in METHODS.table


def test_the_runtime_runs_what_the_target_wrote(exported: Exported) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = tiny("depthwise")(torch.from_numpy(x)).numpy()
    runtime = RUNTIMES.get(exported.runtime)
    with runtime.open(exported, RunOptions()) as session:
        answer = session.run({"x": x})
        with pytest.raises(UsageError, match="'x'"):
            session.run({"x": x[:, :2]})
        with pytest.raises(UsageError, match="cannot tap"):
            session.run({"x": x}, taps=("anything",))
    np.testing.assert_allclose(answer[exported.outputs[0].name], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="closed"):
        session.run({"x": x})
    assert runtime.version()


def test_the_runtime_describes_a_file_and_refuses_what_is_none(exported: Exported, tmp_path: Path) -> None:
    runtime = RUNTIMES.get("onnx-reference")
    found = runtime.describe(exported.file)
    assert (found.inputs, found.outputs, found.runtime) == (exported.inputs, exported.outputs, "onnx-reference")
    with pytest.raises(MissingResource):
        runtime.describe(tmp_path / "absent.onnx")
    (tmp_path / exported.main).write_bytes(b"no model")
    broken = Exported(**{**vars(exported), "root": tmp_path})
    with pytest.raises(EngineFailed, match="reference evaluator"):
        runtime.open(broken, RunOptions())


def test_the_worker_finds_the_runtime_too(exported: Exported, tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    answers = infer(LocalDevice(), tmp_path / "job", {exported.target: exported}, {"x": x}, images=False)
    with torch.no_grad():
        expected = tiny("depthwise")(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(answers[exported.target][exported.outputs[0].name], expected, rtol=1e-4, atol=1e-5)


def test_the_target_is_not_one_of_the_table(exported: Exported) -> None:
    assert exported.target not in TARGETS and exported.precision == "fp32"


def test_the_method_trains_through_the_loop(package: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 5
    centres = rng.standard_normal((5, 3, 8, 8))
    images = (centres[labels] + 0.5 * rng.standard_normal((120, 3, 8, 8))).astype(np.float32)
    student = tiny("linear")
    task = METHODS.get("mixup")(Parts(student, None, 5), alpha=0.3)
    config = FitConfig(epochs=4, batch=20, lr=0.02, threads=1, accelerator="cpu")
    result = fit(task, Split({"x": images}, labels), None, config, tmp_path)
    assert result.history[-1].loss < 0.8 * result.history[0].loss
    with torch.no_grad():
        right = task.deployable()(torch.from_numpy(images)).argmax(1).numpy() == labels
    assert right.mean() > 0.9


def test_a_recipe_may_name_the_method_and_its_options_are_checked(package: Path) -> None:
    assert spec_problems("method", {"use": "mixup", "alpha": 0.3}, "train.0.method") == []
    (problem,) = spec_problems("method", {"use": "mixup", "beta": 1}, "train.0.method")
    assert problem.startswith("train.0.method.beta: no such option") and "alpha" in problem
    with pytest.raises(UsageError, match="above 0"):
        METHODS.get("mixup")(Parts(tiny("linear"), None, 5), alpha=0.0)
