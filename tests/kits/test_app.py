"""Kits as they are laid out: complete, with the data of the artefact, and never over something that is there."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from edgesmith.errors import DamagedArtifact, UsageError
from edgesmith.kits.app import KITS, TEMPLATES, c_string, camel, make_app, slug
from tests.kits.artifacts import LABELS, artifact

EVERY = [(kind, runtime) for kind, kit in KITS.items() for runtime in kit.runtimes]


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(("kind", "runtime"), EVERY)
def test_a_kit_is_complete(kind: str, runtime: str, tmp_path: Path) -> None:
    exported = artifact(tmp_path / "a", runtime)
    out = tmp_path / "My App 2"
    facts = make_app(kind, exported.root, out)
    assert facts.name == "my-app-2"
    data = out / KITS[kind].data
    for one in (*facts.feed, *facts.reference, facts.picture, facts.prepared):
        assert one is not None
        size = (data / one.file).stat().st_size
        assert size == {"float32": 4, "uint8": 1}[one.dtype] * math.prod(one.shape)
    assert (data / facts.model).exists()
    assert not any(path.suffix == ".j2" for path in files(out))
    texts = [path for path in files(out) if data not in path.parents]
    # What a template engine or a careless hand leaves behind.
    assert [path for path in texts if any(mark in path.read_text() for mark in ("{%", "%}", "{#", "undefined>"))] == []
    assert [path for path in texts if "{{" in path.read_text() and path.suffix not in (".css", ".cpp")] == []
    assert {path.name for path in files(out)} >= {"README.md"}


@pytest.mark.parametrize(("kind", "runtime"), EVERY)
def test_a_label_of_script_stays_data(kind: str, runtime: str, tmp_path: Path) -> None:
    exported = artifact(tmp_path / "a", runtime)
    make_app(kind, exported.root, tmp_path / "app")
    data = tmp_path / "app" / KITS[kind].data
    assert json.loads((data / "kit.json").read_text())["labels"] == list(LABELS)
    assert [path for path in files(tmp_path / "app") if path.suffix == ".html" and "alert" in path.read_text()] == []


def test_what_exists_is_never_written_over(tmp_path: Path) -> None:
    exported = artifact(tmp_path / "a")
    (tmp_path / "app").mkdir()
    with pytest.raises(UsageError, match="exists"):
        make_app("web", exported.root, tmp_path / "app")
    assert files(tmp_path / "app") == []


def test_an_altered_artefact_is_refused_by_the_file(tmp_path: Path) -> None:
    exported = artifact(tmp_path / "a")
    exported.file.write_bytes(exported.file.read_bytes() + b"x")
    with pytest.raises(DamagedArtifact, match=r"model\.onnx"):
        make_app("web", exported.root, tmp_path / "app")
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize(("kind", "name", "found"), [("watch", "", "no such kit"), ("web", "No Good", "not a name")])
def test_unknown_kits_and_bad_names_are_refused(kind: str, name: str, found: str, tmp_path: Path) -> None:
    exported = artifact(tmp_path / "a")
    with pytest.raises(UsageError, match=found):
        make_app(kind, exported.root, tmp_path / "app", name)


def test_a_target_that_the_kit_cannot_run_is_refused(tmp_path: Path) -> None:
    exported = artifact(tmp_path / "a", "openvino")
    with pytest.raises(UsageError, match="runs on openvino"):
        make_app("web", exported.root, tmp_path / "app")


@pytest.mark.parametrize(
    ("text", "name"), [("My App", "my-app"), ("3d-net", "d-net"), ("<b>", "b"), ("__", "model"), ("", "model")]
)
def test_names_of_packages(text: str, name: str) -> None:
    assert slug(text) == name


def test_literals_of_cpp_hold_any_text(tmp_path: Path) -> None:
    assert c_string('a"b\\?') == '"a\\042b\\134\\077"'
    assert c_string("Ä\n") == '"\\303\\204\\012"'
    assert camel("my-net") == "MyNet"


def test_templates_are_in_the_package(tmp_path: Path) -> None:
    """Everything that is not Python reaches an installed package by the pattern of pyproject.toml."""
    hidden = [path for path in TEMPLATES.rglob("*") if path.name.startswith(".")]
    assert hidden == []  # a pattern of setuptools leaves them out


@pytest.mark.needs(program="chromium")
def test_the_page_prepares_pictures_as_edgesmith_does(tmp_path: Path) -> None:
    """Its preprocessing in a real browser, on the golden picture, difference 0; no package of npm is needed."""
    exported = artifact(tmp_path / "a")
    make_app("web", exported.root, tmp_path / "app")
    assert asked_of_page(tmp_path / "app", PREPARE) == "0"


PREPARE = """
import { preprocessor } from './src/preprocess.js';
import { maxDifference, readArray } from './src/arrays.js';
const base = new URL('model/', document.baseURI);
const facts = await (await fetch(new URL('kit.json', base))).json();
const [height, width] = facts.picture.shape;
const found = preprocessor(facts.preprocessing)(await readArray(base, facts.picture), 3, width, height);
return maxDifference(found, await readArray(base, facts.prepared));
"""


def asked_of_page(app: Path, code: str) -> str:
    """What a module of the page answers, served on loopback and run in headless Chromium."""
    from tests.kits.browser import answer

    imports, _, rest = code.strip().partition("\nconst")
    body = f"{imports}\nconst answer = async () => {{\nconst{rest}\n}};"
    return answer(app, body)


@pytest.mark.slow
@pytest.mark.needs(program="npm")
def test_the_browser_gives_the_answers_of_pytorch(tmp_path: Path) -> None:
    """The whole kit with onnxruntime-web from npm, in headless Chromium."""
    exported = artifact(tmp_path / "a")
    make_app("web", exported.root, tmp_path / "app")
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=tmp_path / "app", check=True, timeout=300)
    done = subprocess.run(
        ["node", "test/selftest.mjs", "--bench"], cwd=tmp_path / "app", capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    assert (done.returncode, found["passed"]) == (0, True)
    assert {row["name"]: row["difference"] for row in found["rows"]}["preprocessing"] == 0
    assert set(found["bench"]) == {"decode", "preprocess", "copy", "run", "postprocess", "total"}
