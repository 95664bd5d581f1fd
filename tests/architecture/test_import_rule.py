"""Who may import whom: a module imports its own sub-package and what stands above it; pillars never one another."""

from __future__ import annotations

import pytest

from tests.architecture import source

VOCABULARY = [
    "errors", "plugins", "records", "tensors", "quant", "quant_reference", "targets", "artifact", "results",
    "metrics", "multilabel_metrics", "zero_shot", "distributions", "intervals",
]  # fmt: skip
PILLARS = ["compress", "export", "runtimes", "devices"]
# Top to bottom; the pillars stand beside one another.
ORDER = [
    VOCABULARY,
    ["models"],
    ["data"],
    ["graph"],
    PILLARS,
    ["bench"],
    ["verify"],
    ["report"],
    ["kits"],
    ["pipeline"],
    ["cli"],
    ["__main__"],
]
LEVEL = {member: level for level, members in enumerate(ORDER) for member in members}
# The report is rebuilt on machines that have nothing but the vocabulary.
VOCABULARY_ONLY = {"report"}


def breaks_rule(importer: str, imported: str) -> bool:
    """Whether one top-level member may not import another."""
    if importer == imported or importer == "__init__":
        return False
    if LEVEL[imported] == 0:
        return False
    if importer in VOCABULARY_ONLY or LEVEL[importer] == 0:
        return True
    return LEVEL[imported] >= LEVEL[importer]


def edges() -> list[tuple[str, str, str]]:
    found = []
    for file in source.files():
        importer = source.name(file).split("/")[0].removesuffix(".py")
        for dotted in source.imports(file):
            parts = dotted.split(".")
            if parts[0] == "edgesmith" and len(parts) > 1 and parts[1] in LEVEL:
                found.append((source.name(file), importer, parts[1]))
    return found


def test_every_top_level_member_has_a_place_in_the_order() -> None:
    members = {source.name(f).split("/")[0].removesuffix(".py") for f in source.files()} - {"__init__"}
    assert members <= set(LEVEL)


def test_no_import_breaks_the_rule() -> None:
    assert [(file, to) for file, importer, to in edges() if breaks_rule(importer, to)] == []


@pytest.mark.parametrize(
    ("importer", "imported", "broken"),
    [
        ("export", "runtimes", True), ("graph", "export", True), ("report", "verify", True), ("errors", "models", True),
        ("export", "graph", False), ("cli", "pipeline", False), ("report", "results", False),
    ],
)  # fmt: skip
def test_the_rule_itself(importer: str, imported: str, broken: bool) -> None:
    assert breaks_rule(importer, imported) is broken
