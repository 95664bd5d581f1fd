"""What is particular to ExecuTorch's runtime; the contract is in tests/contracts/test_runtime.py."""

import numpy as np
import pytest

from edgesmith.artifact import Exported
from edgesmith.errors import EngineFailed
from edgesmith.plugins import is_installed
from edgesmith.runtimes.session import RunOptions
from tests.runtimes.samples import make

pytestmark = pytest.mark.needs("executorch")
if is_installed("executorch"):
    from executorch.extension.pybindings import portable_lib

    from edgesmith.runtimes.executorch import ExecuTorchRuntime


def test_it_runs_on_as_many_threads_as_asked(tmp_path):
    exported = make("executorch", tmp_path / "model").exported
    for threads in (1, 2):
        with ExecuTorchRuntime.open(exported, RunOptions(threads)):
            assert portable_lib._threadpool_get_thread_count() == threads


def test_a_file_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "model.pte").write_bytes(b"not a program" * 100)
    broken = Exported("executorch-fp32", "executorch", "fp32", "model.pte", (), (), root=tmp_path)
    with pytest.raises(EngineFailed):
        ExecuTorchRuntime.open(broken, RunOptions())
    with pytest.raises(EngineFailed):
        ExecuTorchRuntime.describe(broken.file)


def test_a_program_made_by_anyone_is_described_by_position(tmp_path):
    import torch
    from executorch.exir import to_edge

    exported = torch.export.export(torch.nn.ReLU(), (torch.zeros(2, 3),))
    file = tmp_path / "model.pte"
    file.write_bytes(bytes(to_edge(exported).to_executorch().buffer))
    described = ExecuTorchRuntime.describe(file)
    assert [(spec.name, spec.shape, spec.dtype) for spec in described.inputs] == [("input_0", (2, 3), "float32")]
    with ExecuTorchRuntime.open(described, RunOptions()) as session:
        answer = session.run({"input_0": np.array([[-1, 2, 3], [4, -5, 6]], np.float32)})
    np.testing.assert_array_equal(answer["output_0"], [[0, 2, 3], [4, 0, 6]])
