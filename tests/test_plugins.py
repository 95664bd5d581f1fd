import importlib.metadata
import subprocess
import sys

import pytest

from edgesmith import plugins
from edgesmith.errors import MissingPackage, UsageError
from edgesmith.plugins import Plugins

TABLE = Plugins(
    "example",
    {
        "sqrt": "math:sqrt",
        "absent": "onnxruntime_that_nobody_has:Session",
        "ours": "edgesmith.no_such_module:thing",
    },
)


def test_get_and_names():
    assert TABLE.get("sqrt")(9.0) == 3.0
    assert TABLE.names() == ("absent", "ours", "sqrt")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match="choose one of: absent, ours, sqrt"):
        TABLE.get("cbrt")


def test_a_missing_vendor_package_says_what_to_install():
    with pytest.raises(MissingPackage, match="install the package that has module 'onnxruntime_that_nobody_has'"):
        TABLE.get("absent")
    known = plugins.missing_package(ModuleNotFoundError(name="tensorrt.libs"), "target tensorrt-int8")
    assert known.todo == "pip install 'edgesmith[tensorrt]'"
    assert known.exit_code == 3


def test_a_hole_in_edgesmith_itself_is_a_bug_not_a_missing_package():
    with pytest.raises(ModuleNotFoundError):
        TABLE.get("ours")


def test_entry_points_add_names(monkeypatch: pytest.MonkeyPatch):
    point = importlib.metadata.EntryPoint("floor", "math:floor", "edgesmith.example")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == point.group else [])
    assert "floor" in TABLE.names()
    assert TABLE.get("floor")(2.7) == 2


def test_is_installed_does_not_import():
    look = "print(p.is_installed('wave'), p.is_installed('no_such'), 'wave' in sys.modules)"
    code = f"import sys; import edgesmith.plugins as p; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]
