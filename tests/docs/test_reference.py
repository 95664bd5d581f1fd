"""The generated pages are those that their scripts write, and the site builds without a dead link."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

GENERATED = {"recipe_reference.py": "recipes.md", "cli_reference.py": "cli.md"}


@pytest.mark.parametrize(("script", "written"), GENERATED.items())
def test_a_generated_page_is_up_to_date(script: str, written: str) -> None:
    spec = importlib.util.spec_from_file_location(script.removesuffix(".py"), ROOT / "docs" / script)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / written).read_text(encoding="utf-8") == module.page(), f"run python docs/{script}"


@pytest.mark.needs("mkdocs", "mkdocstrings")
def test_the_site_builds_without_a_dead_link(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "edgesmith.pipeline.api.convert" in (tmp_path / "api/index.html").read_text()
