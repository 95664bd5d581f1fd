"""`edgesmith new`: the text of a first recipe, from five answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from edgesmith.errors import MissingResource, UsageError
from edgesmith.targets import TARGETS

TEMPLATE = Path(__file__).parent / "templates" / "recipe" / "recipe.yaml.j2"
DIGITS = "digits"
NO_TEACHER = "none"
TEACHERS = (NO_TEACHER, "resnet")
# The sides of the pictures: digits have 8 pixels of their own.
SIDE = {DIGITS: 32, "folder": 112}


@dataclass(frozen=True)
class Answers:
    """data: "digits" or a folder with a sub-folder a class. model: "mobilefacenet", "timm:NAME" or "module:factory".

    teacher: "none" or "resnet". targets: names of targets. max_drop: largest drop of accuracy, as a share.
    """

    data: str = DIGITS
    model: str = "mobilefacenet"
    teacher: str = "resnet"
    targets: tuple[str, ...] = ("ort-int8", "openvino-int8")
    max_drop: float = 0.03


def recipe_text(answers: Answers, file: Path) -> str:
    """A commented recipe that `edgesmith run` accepts.

    Raises: UsageError for answers that do not fit together, MissingResource for a folder without classes.
    """
    _check(answers)
    folder = "" if answers.data == DIGITS else answers.data
    classes = _classes(Path(folder)) if folder else 10
    side = SIDE["folder" if folder else DIGITS]
    taught = answers.teacher != NO_TEACHER
    groups = {
        kind: [name for name in answers.targets if _kind(name) == kind] for kind in ("required", "built", "optional")
    }
    facts: dict[str, Any] = {
        "file": file,
        "name": file.stem,
        "folder": folder,
        "model": _model(answers.model, side, classes),
        "teacher": {"use": "resnet", "size": side, "width": 32, "embedding": 64, "classes": classes}
        if taught
        else None,
        "epochs": 8,
        "max_drop": answers.max_drop,
        "trust": " --allow-import" if _is_factory(answers.model) else "",
        **groups,
    }
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)
    environment.filters["json"] = json.dumps  # JSON is YAML, whatever a name holds
    return environment.from_string(TEMPLATE.read_text()).render(facts)


def _is_factory(model: str) -> bool:
    return ":" in model and not model.startswith("timm:")


def _model(model: str, side: int, classes: int) -> dict[str, Any]:
    if model.startswith("timm:"):
        return {"use": "timm", "model": model.removeprefix("timm:"), "classes": classes}
    if _is_factory(model):
        return {"use": model, "classes": classes}
    return {"use": model, "size": side, "width": 0.5, "embedding": 64, "act": "prelu", "classes": classes}


def _kind(target: str) -> str:
    """Core ML runs on Apple's systems only, and TensorRT where there is a GPU."""
    if target.startswith("coreml"):
        return "built"
    return "optional" if target.startswith("tensorrt") else "required"


def _check(answers: Answers) -> None:
    asked = "write a recipe"
    if answers.model != "mobilefacenet" and ":" not in answers.model:
        todo = "say mobilefacenet, timm:NAME or package.module:factory; others can be written into the recipe"
        raise UsageError(asked, f"model {answers.model!r}", todo)
    if answers.teacher not in TEACHERS:
        raise UsageError(asked, f"teacher {answers.teacher!r}", f"say one of: {', '.join(TEACHERS)}")
    if answers.teacher != NO_TEACHER and answers.model != "mobilefacenet":
        found = f"a {answers.teacher} teacher for {answers.model}: they may take pictures of different sizes"
        raise UsageError(asked, found, "say `none` here, and add a stage of your own to the recipe")
    if not answers.targets or (unknown := [name for name in answers.targets if name not in TARGETS]):
        found = f"no target called {', '.join(unknown)}" if answers.targets else "no target"
        raise UsageError(asked, found, f"choose from: {', '.join(TARGETS)}")
    if not 0 <= answers.max_drop < 1:
        raise UsageError(asked, f"a drop of {answers.max_drop}", "say a share from 0 to 1, e.g. 0.03 for 3 points")


def _classes(folder: Path) -> int:
    asked = f"write a recipe for the pictures in {folder}"
    if not folder.is_dir():
        raise MissingResource(asked, "no such folder", "name a folder with one sub-folder a class, or digits")
    count = sum(1 for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if count < 2:
        raise MissingResource(asked, f"{count} sub-folders", "give each class a sub-folder with its pictures")
    return count


def split(text: str) -> tuple[str, ...]:
    """Names in a text with commas."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def options_of(given: dict[str, Any]) -> Answers:
    """Answers from texts. Raises: UsageError for a drop that is no number."""
    try:
        drop = float(given["max_drop"])
    except ValueError as error:
        raise UsageError("write a recipe", f"a drop of {given['max_drop']!r}", "say a number, e.g. 0.03") from error
    targets: Sequence[str] = split(given["targets"])
    return Answers(given["data"], given["model"], given["teacher"], tuple(targets), drop)
