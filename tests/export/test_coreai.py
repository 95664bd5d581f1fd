import sys

import pytest
import torch

from edgesmith.errors import MissingPackage
from edgesmith.export import EXPORTERS
from edgesmith.graph.capture import capture
from edgesmith.targets import target
from tests.models import TINY, tiny


def test_without_its_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "edgesmith.export.coreai", raising=False)
    monkeypatch.setitem(sys.modules, "coreai_torch", None)
    with pytest.raises(MissingPackage, match=r"pip install 'edgesmith\[coreai\]'"):
        EXPORTERS.get(target("coreai-fp32").exporter)


@pytest.mark.needs("coreai_torch")
@pytest.mark.parametrize("net", TINY)
def test_an_asset_is_written_on_any_host(tmp_path, net):
    program = capture(tiny(net), {"x": torch.zeros(1, 3, 8, 8)})
    made = EXPORTERS.get("coreai")(program, None, target("coreai-fp32"), tmp_path)
    assert (made.file / "main.mlirb").stat().st_size > 0
    assert made.inputs == program.inputs
