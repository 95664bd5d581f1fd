"""Which operations of Core ML's MIL the interpreter runs, from coremltools' own registry; writes docs/coreml-ops.md.

    python docs/coreml_ops.py

An operation is done when the interpreter registers it and the test file of its family names it. That the inputs,
and which of them may be left out, are those of coremltools in every version is held by
tests/runtimes/mil/test_coverage.py.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # tests/ is not installed

from edgesmith.runtimes.mil import ops, registry  # noqa: E402
from tests.runtimes.mil.versions import NOT_IN_FILES, core, present, versions  # noqa: E402

OPSETS = ("ios15", "ios16", "ios17", "ios18")
# Read where the program is planned, not run as an operation; every test has constants.
PLANNED = {"const": ("plan.py", "programs.py")}
HEAD = """# Core ML operations

What the interpreter of `edgesmith.runtimes.mil` runs, of all the core operations that coremltools {version} registers.
Written by `python docs/coreml_ops.py`; a test compares this page with what the registry and the tests say.

**{done} of {total} operations are done**, which means: registered, and tested in the file that is named. By deployment
target: {targets}.

{missing}

What is tested: the numbers are those that the descriptions in coremltools define, computed once more with NumPy or
PyTorch, and those that coremltools' own tests expect of Core ML, where they are written down. What a device computes is
not tested here. Random operations draw from the distribution that is asked for, but not the numbers Core ML draws.

| operation | versions in coremltools | done | code | tests |
|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One operation: the opsets that brought a version of it, its file and the file of its tests ("" where absent)."""

    name: str
    versions: tuple[str, ...]
    code: str
    tests: str

    @property
    def done(self) -> bool:
        return bool(self.code and self.tests)


def rows() -> list[Row]:
    """Every core operation of coremltools."""
    ops.load()
    known = registry.registered()
    return [_row(name, known) for name in core()]


def _row(name: str, known: dict[str, tuple[str, ...]]) -> Row:
    if name in PLANNED:
        return Row(name, versions(name), *PLANNED[name])
    if name not in known:
        return Row(name, versions(name), "", "")
    family = registry.find(name, OPSETS[-1]).function.__module__.rpartition(".")[2]
    test = ROOT / "tests/runtimes/mil/ops" / f"test_{family}.py"
    tested = test.exists() and name in _named(test)
    return Row(name, versions(name), f"{family}.py", test.name if tested else "")


def _named(file: Path) -> set[str]:
    """What a test file names: strings, attributes as in mb.concat, and names of arguments."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


def page() -> str:
    """The text of docs/coreml-ops.md."""
    import coremltools

    found = rows()
    done = {row.name for row in found if row.done}
    counts = {opset: present(opset) for opset in OPSETS}
    targets = ", ".join(f"{opset} {len(done & names)} of {len(names)}" for opset, names in counts.items())
    missing = sorted(set(core()) - done)
    text = HEAD.format(
        version=coremltools.__version__,
        done=len(done),
        total=len(found),
        targets=targets,
        missing="Not done: " + "; ".join(map(_why, missing)) + "." if missing else "None is missing.",
    )
    return text + "".join(f"{_line(row)}\n" for row in found)


def _why(name: str) -> str:
    return f"`{name}` (a value of the converter, which cannot stand in a file)" if name in NOT_IN_FILES else f"`{name}`"


def _line(row: Row) -> str:
    done = "yes" if row.done else "no"
    return f"| `{row.name}` | {' '.join(row.versions)} | {done} | {row.code} | {row.tests} |"


if __name__ == "__main__":
    (ROOT / "docs/coreml-ops.md").write_text(page())
