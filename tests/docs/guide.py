"""A guide as a test reads it: files to write and command lines to run, in the order of the page.

A comment in front of a fenced block says what is done with it:

    file: NAME        its text is written to NAME
    parsed            commands are held against the command line only: a phone, a Mac, a GPU, a download, many minutes
    slow              the same, but run by hand with -m slow
    in the checkout   run at the top of the repository, not in the folder of the guide
    exits: 0 5        exit codes a command may end with, instead of 0

and anywhere in the page: `with: PAGE` (its files are there from the start), `pictures: FOLDER` (some are there too).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from typer.exceptions import TyperException

from edgesmith.cli.app import app
from tests.architecture.source import ROOT

DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^( *)(?:<!-- ([^\n]*?) -->\n *)?```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_PAGE = re.compile(r"^<!-- (with|pictures): (\S+) -->", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block; `file` is the name its text is written to, "" for commands."""

    text: str
    said: str = ""
    file: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Its commands, comments and continuations resolved."""
        whole = self.text.replace("\\\n", " ")
        return tuple(line.strip() for line in whole.splitlines() if line.strip() and not line.strip().startswith("#"))

    @property
    def exits(self) -> tuple[int, ...]:
        """The codes its commands may end with."""
        found = re.search(r"exits: ([\d ]+)", self.said)
        return tuple(int(code) for code in found[1].split()) if found else (0,)


def blocks(page: Path) -> Iterator[Block]:
    """Files and commands of a page, in order; blocks that are neither are left out."""
    for indent, said, language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        body = re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
        if said.startswith("file: "):
            yield Block(body, said, said.removeprefix("file: "))
        elif language == "sh":
            yield Block(body, said)


def wanted(page: Path, what: str) -> tuple[str, ...]:
    """What a page wants to have from the start: pages ("with") or folders of pictures ("pictures")."""
    return tuple(name for key, name in _PAGE.findall(page.read_text(encoding="utf-8")) if key == what)


def parse(line: str) -> None:
    """Hold a command line against the app. Raises: TyperException for a verb or an option that does not exist."""
    name, *rest = (word for word in shlex.split(line, comments=True)[1:] if word != "--debug")
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if name not in verbs:
        raise TyperException(f"no verb is called {name}")
    verbs[name].make_context(name, rest)
