from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgesmith.artifact import load_exported
from edgesmith.errors import EngineFailed, MissingPackage, MissingResource
from edgesmith.runtimes.null import NullModel, NullRuntime, write
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import TensorSpec

X = TensorSpec("x", ("batch", 2))
FEED = {"x": np.array([[1, 2], [3, 4]], np.float32)}


def test_it_sums_rows_or_echoes(tmp_path):
    with NullRuntime.open(write(tmp_path / "sum", NullModel((X,), (X,))), RunOptions()) as session:
        np.testing.assert_array_equal(session.run(FEED)["x"], [[3, 3], [7, 7]])
    with NullRuntime.open(write(tmp_path / "echo", NullModel((X,), (X,), "echo")), RunOptions()) as session:
        np.testing.assert_array_equal(session.run(FEED)["x"], FEED["x"])


def test_what_is_written_is_a_sealed_artefact(tmp_path):
    write(tmp_path, NullModel((X,), (X,)))
    assert load_exported(tmp_path).runtime == "null"


@pytest.mark.parametrize(
    ("accident", "error"), [("raise", EngineFailed), ("no-package", MissingPackage), ("no-device", MissingResource)]
)
def test_accidents_happen_at_their_run(tmp_path, accident, error):
    with NullRuntime.open(write(tmp_path, NullModel((X,), (X,), accident=accident, at=2)), RunOptions()) as session:
        session.run(FEED)
        with pytest.raises(error):
            session.run(FEED)


@pytest.mark.parametrize(("accident", "signal"), [("abort", -6), ("kill", -9)])
def test_a_crash_is_a_real_one(tmp_path, accident, signal):
    write(tmp_path, NullModel((X,), (X,), accident=accident))
    code = "import sys; from pathlib import Path; from edgesmith.artifact import load_exported; "
    code += "from edgesmith.runtimes.null import NullRuntime; NullRuntime.open(load_exported(Path(sys.argv[1])), None)"
    source = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, capture_output=True, check=False)
    assert ended.returncode == signal
