"""What the documents say is still so: links and paths lead somewhere, versions and rules are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgesmith.targets import FAMILIES, QuantRules, describe
from tests.architecture.source import ROOT

_TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [
    path for path in (*_TOP, *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/README.md") if path.exists()
]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# A path of the repository in backticks: `edgesmith/quant.py`, `tests/papers/`.
_PATH = re.compile(r"`((?:edgesmith|tests|benchmarks|docs|recipes)/[\w./-]+)`")
_TEST = re.compile(r"`(test_\w+)`")
VERSIONED = ("torch", "onnxruntime", "openvino", "coremltools")


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    links = [link.partition("#")[0] for link in _LINK.findall(prose(page))]
    relative = [link for link in links if link and not re.match(r"\w+:", link)]
    assert [link for link in relative if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_named_in_the_text_exist(page: Path) -> None:
    assert [path for path in _PATH.findall(prose(page)) if not (ROOT / path).exists()] == []


def test_the_page_of_methods_names_tests_that_exist() -> None:
    tests = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    named = _TEST.findall(prose(ROOT / "docs/methods.md"))
    assert named and sorted(set(named) - tests) == []


def test_compatibility_was_tried_with_the_pinned_versions() -> None:
    rows = re.findall(r"^\| (\S+) \| (\S+) \|$", (ROOT / "docs/compatibility.md").read_text(), re.MULTILINE)
    tried = {name: version.split("+")[0] for name, version in rows}  # +cpu is a build, not a version
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert {name: tried.get(name) for name in VERSIONED} == {name: pins[name] for name in VERSIONED}


def rules_row(family: str, rules: QuantRules) -> str:
    """One family of targets.FAMILIES as a line of the table in docs/methods.md."""
    sets = {
        specs: [isa for isa, own in rules.activation.items() if own == specs] for specs in rules.activation.values()
    }
    activations = "; ".join(f"{' or '.join(map(describe, specs))} on {', '.join(isas)}" for specs, isas in sets.items())
    weights = " or ".join(map(describe, rules.weight))
    flags = (rules.int32_bias, rules.quantize_unfused, rules.float_output, rules.half_scales)
    bias, *others = ("yes" if flag else "no" for flag in flags)
    cells = (family, activations, weights, bias, rules.prelu, ", ".join(sorted(rules.fuses)), *others)
    return f"| {' | '.join(cells)} |"


def test_the_rules_of_the_families_are_those_of_the_table() -> None:
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    assert [family for family, rules in FAMILIES.items() if rules_row(family, rules) not in text] == []
