"""What goes to the terminal: progress on stderr, results on stdout, one JSON object when asked."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.exceptions import TyperException

from edgesmith import records
from edgesmith.errors import EdgesmithError

LINE_EVERY_S = 60.0
_REAL_STDOUT = 1  # replaced while stdout_kept_clean is active


@contextmanager
def stdout_kept_clean(active: bool) -> Iterator[None]:
    """Point file descriptor 1 at stderr, so that what vendor libraries print cannot reach the JSON."""
    global _REAL_STDOUT
    if not active:
        yield
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    _REAL_STDOUT = saved
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
        _REAL_STDOUT = 1


def print_json(value: Any) -> None:
    """Write one JSON object to the real stdout; of several processes the first alone does."""
    if not leads():
        return
    text = json.dumps(records.to_json(value), indent=1, allow_nan=False) + "\n"
    sys.stdout.flush()
    os.write(_REAL_STDOUT, text.encode())


def print_interrupted(as_json: bool) -> None:
    """Somebody pressed Ctrl-C."""
    todo = "run the same command again to go on"
    print(f"edgesmith: interrupted\n  to do: {todo}", file=sys.stderr)
    if as_json:
        parts = {"asked": "run the command", "found": "interrupted", "todo": todo, "exit_code": 130}
        print_json({"error": parts})


def print_error(error: EdgesmithError, as_json: bool) -> None:
    """The three parts of a known error."""
    lines = [f"edgesmith: {error.asked}", f"  found: {error.found}"]
    if error.todo:
        lines.append(f"  to do: {error.todo}")
    print("\n".join(lines), file=sys.stderr)
    if as_json:
        parts = {"asked": error.asked, "found": error.found, "todo": error.todo, "exit_code": error.exit_code}
        print_json({"error": parts})


def print_usage(error: TyperException, as_json: bool) -> None:
    """A mistake in the words of the command line."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "edgesmith"
    found = error.format_message() if hasattr(error, "format_message") else str(error)
    print(f"{path}\n  found: {found}\n  to do: see {path} --help", file=sys.stderr)
    if as_json:
        print_json({"error": {"asked": path, "found": found, "todo": f"see {path} --help", "exit_code": 2}})


def print_bug(error: Exception, as_json: bool) -> None:
    """An error nobody foresaw."""
    text = f"{type(error).__name__}: {error}"
    print(f"edgesmith: a bug: {text}\n  to do: run again with --debug and report the trace", file=sys.stderr)
    if as_json:
        todo = "run again with --debug and report the trace"
        print_json({"error": {"asked": "run the command", "found": text, "todo": todo, "exit_code": 4}})


class Plain:
    """Lines for a file or a pipe; the state of a bar is one of them once in a while."""

    def __init__(self, console: Console) -> None:
        self.console, self.shown = console, time.monotonic()

    def __call__(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def bar(self, text: str, share: float) -> None:
        """Long work, and how much of it is done."""
        if time.monotonic() - self.shown > LINE_EVERY_S:
            self.shown = time.monotonic()
            self(f"{text}, {share:.0%} of all epochs")


class Moving:
    """A terminal: lines that stay, and below them one that moves, with a bar where the end is known."""

    def __init__(self, display: Progress) -> None:
        self.display, self.task = display, display.add_task("", total=None)

    def __call__(self, text: str) -> None:
        if text.endswith("..."):
            self.display.remove_task(self.task)
            self.task = self.display.add_task(text, total=None)
        else:
            self.display.console.print(text, markup=False, soft_wrap=True)

    def bar(self, text: str, share: float) -> None:
        """Long work, and how much of it is done."""
        self.display.update(self.task, description=text, completed=share, total=1.0)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function that shows what is going on: a moving line on a terminal, plain lines otherwise.

    Of several processes that torchrun started, the first alone shows it.
    """
    if not leads():
        yield lambda text: None
        return
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Plain(console)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as display:
        yield Moving(display)


def leads() -> bool:
    """Whether this process speaks for all that torchrun started."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("RANK", "0") == "0"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """A table on stdout, as wide as it needs to be when stdout is not a terminal."""
    if not leads():
        return
    console = Console() if sys.stdout.isatty() else Console(width=200)
    table = Table(*header, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    console.print(table, markup=False)


def default_out(recipe: Path) -> Path:
    """Where a recipe's run goes when --out is not given: runs/<file name>."""
    return Path("runs") / recipe.stem
