"""The card: facts that the Hub reads, numbers with intervals, names that cannot break out of it."""

from __future__ import annotations

import pytest
import yaml

from edgesmith.kits.model_card import cell, measured, model_card
from tests.kits.runs import PROVENANCE
from tests.report.sample import report


def head(card: str) -> dict[str, object]:
    _, facts, _ = card.split("---\n", 2)
    return yaml.safe_load(facts)


def test_the_facts_on_top_and_the_table() -> None:
    card = model_card(report(provenance=PROVENANCE), ("ort-int8",), "Apache-2.0")
    assert head(card) == {"library_name": "edgesmith", "tags": ["edge", "ort-int8"], "license": "apache-2.0"}
    row = next(line for line in card.splitlines() if line.startswith("| ort-int8"))
    assert "top1 | 0.96 (0.94 to 0.97) | 0.01 (0.002 to 0.02)" in row and row.endswith("yes |")
    assert "no CUDA device here" in card and PROVENANCE["data"] in card
    header = next(line for line in card.splitlines() if line.startswith("| target"))
    assert row.count("|") == header.count("|")


def test_the_hub_reads_it() -> None:
    hub = pytest.importorskip("huggingface_hub")
    found = hub.ModelCard(model_card(report(provenance=PROVENANCE), ("ort-int8",), "mit"))
    assert found.data.license == "mit" and found.data.library_name == "edgesmith"


def test_no_licence_and_no_numbers_are_said() -> None:
    card = model_card(report(bench=None, accuracies=[], agreements=[], provenance={}), ())
    assert "license" not in head(card) and "No licence was stated" in card and "not measured" in card


def test_names_stay_text() -> None:
    title = "<script>alert(1)</script> | [x](javascript:1)\n---\nlicense: mit"
    card = model_card(report(title=title, provenance=PROVENANCE), ('"]\nlicense: mit',))
    assert "<script>" not in card and "license" not in head(card) and "[x](" not in card
    assert cell("a|b\nc") == "a\\|b c" and measured({"value": None}) == "not measured"
