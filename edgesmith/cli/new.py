"""edgesmith new: a first recipe, from five questions."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from edgesmith.cli import output

QUESTIONS = {
    "data": ("Pictures: a folder with one sub-folder a class, or digits", "digits"),
    "model": ("Net for the device: mobilefacenet, timm:NAME or package.module:factory", "mobilefacenet"),
    "teacher": ("Teacher to distil from: resnet or none", "resnet"),
    "targets": ("Targets, comma-separated (`edgesmith doctor` lists them)", "ort-int8,openvino-int8"),
    "max_drop": ("Largest drop of accuracy that you accept, as a share", "0.03"),
}


def command(
    recipe: Path = typer.Argument(Path("recipe.yaml"), help="The file to write; it must not exist"),
    data: str | None = typer.Option(None, help=QUESTIONS["data"][0]),
    model: str | None = typer.Option(None, help=QUESTIONS["model"][0]),
    teacher: str | None = typer.Option(None, help=QUESTIONS["teacher"][0]),
    targets: str | None = typer.Option(None, help=QUESTIONS["targets"][0]),
    max_drop: str | None = typer.Option(None, help=QUESTIONS["max_drop"][0]),
    defaults: bool = typer.Option(False, "--defaults", help="Ask nothing: the usual answer where none is given."),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Ask five questions and write a commented recipe that `edgesmith run` accepts."""
    from edgesmith.errors import UsageError
    from edgesmith.plugins import missing_package

    if recipe.exists():
        raise UsageError(f"write {recipe}", "it exists already", "name a file that does not exist")
    given = {"data": data, "model": model, "teacher": teacher, "targets": targets, "max_drop": max_drop}
    answers = _asked(given, defaults, json)
    try:
        from edgesmith.kits.recipe import options_of, recipe_text
    except ModuleNotFoundError as error:
        raise missing_package(error, "write a recipe") from error
    text = recipe_text(options_of(answers), recipe)
    _write(recipe, text)
    if json:
        output.print_json({"recipe": recipe, "answers": answers})
    else:
        trust = " --allow-import" if "--allow-import" in text else ""
        print(f"{recipe}: written\nnext: edgesmith run {recipe} --dry-run{trust}")
    return 0


def _asked(given: dict[str, str | None], defaults: bool, json: bool) -> dict[str, str]:
    """Every answer: as given, else the usual one or what the user types. Raises: UsageError without a terminal."""
    from edgesmith.errors import UsageError

    open_ = [name for name, answer in given.items() if answer is None]
    if open_ and not defaults and (json or not sys.stdin.isatty()):
        missing = ", ".join(f"--{name.replace('_', '-')}" for name in open_)
        raise UsageError("ask for a recipe", f"no terminal to ask in, and no {missing}", "give them, or --defaults")
    found: dict[str, str] = {}
    for name, (question, usual) in QUESTIONS.items():
        answer = given[name]
        if answer is None:
            answer = usual if defaults else typer.prompt(question, default=_usual(name, usual, found))
        found[name] = answer
    return found


def _usual(name: str, usual: str, so_far: dict[str, str]) -> str:
    """A teacher is offered to the net that it is known to fit."""
    return "none" if name == "teacher" and so_far["model"] != "mobilefacenet" else usual


def _write(recipe: Path, text: str) -> None:
    """Written whole, and only what our own reader takes."""
    from edgesmith.artifact import building_file
    from edgesmith.errors import MissingResource
    from edgesmith.pipeline.recipe import read_recipe

    if not recipe.parent.is_dir():
        raise MissingResource(f"write {recipe}", f"no folder {recipe.parent}", "make it first")
    with building_file(recipe) as temporary:
        temporary.write_text(text)
        read_recipe(temporary)
