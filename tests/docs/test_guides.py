"""Every command in a guide runs, or is at least one that the command line takes."""

from __future__ import annotations

import glob
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.exceptions import TyperException

from edgesmith.cli.app import invoke
from tests.architecture.source import ROOT
from tests.docs.guide import DOCS, Block, blocks, parse, wanted

PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
MODULES = ("net", "convert")  # the guides' own, which another guide may have in another folder
GUIDES = [page for page in PAGES if page.parent == DOCS and any(not block.file for block in blocks(page))]


def commands(page: Path) -> list[str]:
    return [line for block in blocks(page) if not block.file for line in block.lines if line.startswith("edgesmith")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_the_command_line_takes_every_command(page: Path) -> None:
    for line in commands(page):
        parse(line)


@pytest.mark.parametrize("line", ["edgesmith bnech model.onnx", "edgesmith bench model.onnx --no-such-option 1"])
def test_a_command_that_does_not_exist_would_be_seen(line: str) -> None:
    with pytest.raises(TyperException):
        parse(line)


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_what_a_guide_says_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(page, tmp_path, monkeypatch, skipped=("parsed", "slow"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_what_a_guide_says_runs_in_full(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(page, tmp_path, monkeypatch, skipped=("parsed",))


def follow(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, skipped: tuple[str, ...]) -> None:
    """Do what the page says, in a folder of its own."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    prepare(page, folder)
    for block in blocks(page):
        monkeypatch.chdir(ROOT if "in the checkout" in block.said else folder)
        if block.file:
            Path(block.file).write_text(block.text)
        elif not block.said.startswith(skipped):
            for line in block.lines:
                run(line, block)


def prepare(page: Path, folder: Path) -> None:
    for other in wanted(page, "with"):
        for block in blocks(DOCS / other):
            if block.file:
                (folder / block.file).write_text(block.text)
    random = np.random.default_rng(0)
    for name in wanted(page, "pictures"):
        for number in range(24):
            place = folder / name / f"class-{number % 3}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(place)


def run(line: str, block: Block) -> None:
    words = [word for part in shlex.split(line, comments=True) for word in sorted(glob.glob(part)) or [part]]
    if words[0] == "edgesmith":
        code = invoke(words[1:])
    else:
        assert words[0] == "python", f"a guide runs edgesmith or python, not {words[0]}: mark the block as parsed"
        code = subprocess.run([sys.executable, *words[1:]], check=False).returncode
    assert code in block.exits, f"{line} ended with {code}"
