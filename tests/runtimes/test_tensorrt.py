from __future__ import annotations

import sys
import types

import pytest

from edgesmith.errors import MissingPackage, MissingResource, UsageError
from edgesmith.runtimes import tensorrt
from edgesmith.runtimes.session import RunOptions
from tests.runtimes.samples import make

ROWS = [(tensorrt.TensorRTRuntime, "tensorrt"), (tensorrt.TensorRTRtxRuntime, "tensorrt_rtx")]


@pytest.mark.parametrize(("runtime", "module"), ROWS)
def test_an_absent_library_is_named_with_its_install_line(runtime, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackage, match=f"{module}.*pip install 'edgesmith\\[{runtime.name}\\]'"):
        runtime.open(make(runtime.name, tmp_path / "m").exported, RunOptions())


@pytest.mark.parametrize(("runtime", "module"), ROWS)
@pytest.mark.parametrize("gpu", [False, True])
def test_a_library_without_a_gpu_and_one_with_it(runtime, module, gpu, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    (tmp_path / "gpus" / "0").mkdir(parents=True)
    monkeypatch.setattr(tensorrt, "_GPUS", tmp_path / "gpus" if gpu else tmp_path / "none")
    monkeypatch.setattr(tensorrt, "_JETSON", tmp_path / "none")
    kind, text = (UsageError, "not there yet") if gpu else (MissingResource, "no NVIDIA GPU")
    with pytest.raises(kind, match=text):
        runtime.open(make(runtime.name, tmp_path / "m").exported, RunOptions())
