from __future__ import annotations

import sys

import pytest

from edgesmith.errors import EngineFailed, MissingResource
from edgesmith.runtimes.coreml import CoreMLRuntime
from edgesmith.runtimes.session import RunOptions
from tests.runtimes.samples import make


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return make("coreml", tmp_path_factory.mktemp("coreml") / "model")


def test_a_package_is_described_on_every_system(sample):
    found = CoreMLRuntime.describe(sample.exported.file)
    assert (found.inputs, found.outputs) == (sample.exported.inputs, sample.exported.outputs)
    assert found.precision == "fp32"


@pytest.mark.skipif(sys.platform == "darwin", reason="linux: shows what happens elsewhere than on macOS")
def test_elsewhere_than_on_macos_the_row_is_not_measured(sample):
    with pytest.raises(MissingResource, match=r"macOS only.*not_measured"):
        CoreMLRuntime.open(sample.exported, RunOptions())


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(EngineFailed):
        CoreMLRuntime.describe(tmp_path / "empty.mlpackage")
