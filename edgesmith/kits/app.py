"""`edgesmith app KIT ARTIFACT --out DIR`: a project for one platform, with the model and its self-test in it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from edgesmith.artifact import GOLDEN, RECORD, Exported, building, load_exported
from edgesmith.errors import UsageError
from edgesmith.kits.facts import Facts, write_facts

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".j2"
# How OpenVINO calls the precision to compute in: what edgesmith's own runtime sets (runtimes/openvino.py).
HINT_OF = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Kit:
    """One platform.

    layers: folders of templates laid over one another, "{runtime}" being the artefact's. data: where in the project
    kit.json, the golden arrays and the model go. built: what "built and run" means for it, said in its README.
    """

    runtimes: tuple[str, ...]
    layers: tuple[str, ...]
    data: str
    built: str


KITS = {
    "web": Kit(("ort",), ("web",), "model", "built and run in headless Chromium"),
    "android": Kit(
        ("ort",),
        ("android",),
        "src/main/assets/model",
        "compiled against declarations of what it uses, its preprocessing run on a JVM; it has not been on a phone",
    ),
    "cpp": Kit(("openvino",), ("cpp",), "model", "built and run on x86-64 Linux"),
}


def make_app(kind: str, artifact: Path, out: Path, name: str = "") -> Facts:
    """Write the project of one kit into the new folder `out`.

    Raises: UsageError for an unknown kit, a target it cannot run, a bad name or a folder that exists; DamagedArtifact
    for an artefact whose files were changed.
    """
    kit = KITS.get(kind)
    if kit is None:
        raise UsageError(f"make the app kit {kind!r}", "no such kit", f"choose one of: {', '.join(sorted(KITS))}")
    if out.exists():
        raise UsageError(f"write the {kind} kit into {out}", "it exists already", "name a folder that does not exist")
    exported = load_exported(artifact)
    if exported.runtime not in kit.runtimes:
        wanted = " or ".join(kit.runtimes)
        found = f"{exported.target} runs on {exported.runtime}"
        raise UsageError(f"put {artifact} into the {kind} kit", found, f"export a target of {wanted}")
    name = _checked(name or slug(out.name))
    with building(out) as temporary:
        facts = _lay_out(kit, exported, name, temporary)
    return facts


def slug(text: str) -> str:
    """A name for packages made from any text: lower case, digits and single dashes; "model" if nothing is left."""
    words = [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]
    found = "-".join(words).lstrip("0123456789-")
    return found or "model"


def render(text: str, facts: Facts, extra: Mapping[str, Any]) -> str:
    """One template; a name it does not have is an error, never an empty place."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    environment.filters.update(c_string=c_string, camel=camel, json=_json, floats=floats)
    return environment.from_string(text).render(facts=facts, **extra)


def c_string(text: str) -> str:
    """A C++ literal of any text: what is not plain ASCII, and quotes, as octal bytes of UTF-8."""
    plain = {ord(c) for c in " !#$%&'()*+,-./:;<=>@[]^_`{|}~"} | {*b"0123456789"} | {*range(65, 91), *range(97, 123)}
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def camel(text: str) -> str:
    """my-model -> MyModel, for names of types and modules."""
    return "".join(word.capitalize() for word in text.split("-"))


def floats(values: tuple[float, ...]) -> str:
    """Numbers as C, Kotlin and Swift write doubles."""
    return ", ".join(repr(float(value)) for value in values)


def _json(value: Any) -> str:
    return json.dumps(value).replace("<", "\\u003c")


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UsageError(f"name the app {name!r}", "not a name for packages", "use a-z, 0-9 and dashes, like my-model")
    return name


def _lay_out(kit: Kit, exported: Exported, name: str, folder: Path) -> Facts:
    data = folder / kit.data
    data.mkdir(parents=True)
    model = _copy_model(exported, data)
    facts = write_facts(exported, name, model, data)
    for layer in kit.layers:
        source = TEMPLATES / layer.format(runtime=exported.runtime)
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            _place(file, folder / file.relative_to(source), facts, {"kit": kit, "hint": HINT_OF[facts.precision]})
    return facts


def _place(file: Path, target: Path, facts: Facts, extra: Mapping[str, Any]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == SUFFIX:
        text = render(file.read_text(encoding="utf-8"), facts, extra)
        target.with_suffix("").write_text(text, encoding="utf-8")
    else:
        shutil.copyfile(file, target)


def _copy_model(exported: Exported, data: Path) -> str:
    """The model's own files, without the record and the golden data of the artefact; the name of the main one."""
    for path in sorted(exported.root.iterdir()):
        if path.name in (RECORD, GOLDEN) or path.name.startswith("."):
            continue
        if path.is_dir():
            shutil.copytree(path, data / path.name)
        else:
            shutil.copyfile(path, data / path.name)
    return exported.main
