"""The Android kit: compiled whole against declarations of what it uses, and its preprocessing run on a JVM."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from edgesmith.kits.app import make_app
from edgesmith.tensors import Preprocessing
from tests.kits.artifacts import PICTURES, artifact

HERE = Path(__file__).parent / "android"


@pytest.mark.slow
@pytest.mark.needs(program="kotlinc")
@pytest.mark.parametrize("pictures", [PICTURES, Preprocessing((40, 9), (0.5,), (0.25,), "gray"), None])
def test_it_compiles_and_prepares_pictures_as_edgesmith_does(tmp_path: Path, pictures: Preprocessing | None) -> None:
    app = tmp_path / "app"
    make_app("android", artifact(tmp_path / "a", preprocessing=pictures).root, app)
    sources = [*app.rglob("*.kt"), HERE / "Main.kt", HERE / "stubs"]
    words = ["kotlinc", *map(str, sources), "-include-runtime", "-d", str(tmp_path / "kit.jar")]
    made = subprocess.run(words, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    if pictures is None:
        return
    data = app / "src/main/assets/model"
    facts = json.loads((data / "kit.json").read_text())
    size = [str(side) for side in (*facts["preprocessing"]["resize"]["size"],)]
    mean, std = (",".join(map(str, facts["preprocessing"][key])) for key in ("mean", "std"))
    height, width, _ = facts["picture"]["shape"]
    files = [str(data / facts[key]["file"]) for key in ("picture", "prepared")]
    words = ["java", "-cp", str(tmp_path / "kit.jar"), "edgesmith.app_app.MainKt", *size]
    found = subprocess.run(
        [*words, facts["preprocessing"]["color"], mean, std, str(height), str(width), *files],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    # The luminance is a sum of three, in another order than NumPy's: the last bit.
    assert float(found.stdout) <= (1e-6 if facts["preprocessing"]["color"] == "gray" else 0)


def test_names_are_those_of_the_app(tmp_path: Path) -> None:
    make_app("android", artifact(tmp_path / "a").root, tmp_path / "app", "my-net")
    for file in (tmp_path / "app").rglob("*.kt"):
        assert "package edgesmith.app_my_net\n" in file.read_text(), file
    assert 'namespace = "edgesmith.app_my_net"' in (tmp_path / "app" / "build.gradle.kts").read_text()
