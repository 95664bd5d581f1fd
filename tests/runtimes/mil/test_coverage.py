"""The operations against coremltools' registry: the same inputs, the same defaults, and the page that counts them."""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from coremltools.converters.mil.mil import types

from edgesmith.runtimes.mil import ops, registry
from tests.runtimes.mil.versions import NOT_IN_FILES, classes, core, each_version

ROOT = Path(__file__).resolve().parents[3]
ops.load()
# Their functions of the converter are blocks in a file.
BY_BLOCKS = {"cond", "while_loop"}
REGISTERED = sorted(set(core()) & set(registry.registered()) - BY_BLOCKS)


def ours(name, opset):
    entry = registry.find(name, opset)
    return entry, {key for key, want in entry.wants.items() if want not in registry.NOT_INPUTS}


@pytest.mark.parametrize(("name", "opset"), each_version(*REGISTERED))
def test_inputs_are_those_of_coremltools(name, opset):
    theirs = classes(name)[opset].input_spec.input_types
    entry, inputs = ours(name, opset)
    assert inputs == set(theirs)
    optional = {key for key, kind in theirs.items() if kind.optional}
    assert optional <= inputs - entry.required, "what a program may leave out has a default"


class Anything:
    """Stands for an operation of the converter: every input is given as a float32 number."""

    def __getattr__(self, name):
        return SimpleNamespace(dtype=types.fp32, shape=(1, 1), rank=2, val=None)


@pytest.mark.parametrize(("name", "opset"), each_version(*REGISTERED))
def test_defaults_are_those_of_coremltools(name, opset):
    defined = classes(name)[opset]
    instance = type("Stub", (defined,), {"__init__": lambda self: None, "__getattr__": Anything.__getattr__})()
    parameters = inspect.signature(registry.find(name, opset).function).parameters
    for key, value in defined.default_inputs(instance).items():
        if value is not None and not isinstance(value, (bool, str)) and np.ndim(value):
            continue  # as long as an input has axes
        default = parameters[key].default
        assert (default is None) == (value is None), key
        if value is not None:
            same = default == value if isinstance(value, (str, bool)) else float(default) == pytest.approx(float(value))
            assert same, f"{key}: {default} where coremltools has {value}"


def test_a_registered_operation_is_one_of_coremltools():
    assert set(registry.registered()) - set(core()) <= {"coreml_update_state", "write_state"}
    assert not NOT_IN_FILES & set(registry.registered())


def test_the_page_of_operations_is_up_to_date():
    spec = importlib.util.spec_from_file_location("coreml_ops", ROOT / "docs/coreml_ops.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    assert (ROOT / "docs/coreml-ops.md").read_text() == module.page(), "run python docs/coreml_ops.py"
