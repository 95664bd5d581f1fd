from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.tiny import edgesmith, write_recipe


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny recipe and, under `run`, what it makes when nothing interrupts it."""
    folder = tmp_path_factory.mktemp("recipe")
    ended = edgesmith("run", write_recipe(folder), "--out", folder / "run")
    assert ended.returncode == 0, ended.stderr
    return folder
