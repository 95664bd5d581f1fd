"""Progress on a terminal and in a file."""

import io

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from edgesmith.cli import output


def test_a_file_gets_plain_lines_and_a_bar_once_in_a_while(monkeypatch) -> None:
    seconds = iter([0.0, 30.0, 61.0, 61.0, 90.0])
    monkeypatch.setattr(output.time, "monotonic", lambda: next(seconds))
    text = io.StringIO()
    say = output.Plain(Console(file=text, width=80))
    say("train-a ...")
    say.bar("train-a: epoch 1/2", 0.1)
    say.bar("train-a: epoch 1/2", 0.25)
    say.bar("train-a: epoch 1/2", 0.3)
    assert text.getvalue().splitlines() == ["train-a ...", "train-a: epoch 1/2, 25% of all epochs"]


def test_a_terminal_gets_a_bar_and_the_lines_above_it() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True, highlight=False, no_color=True)
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console, auto_refresh=False) as display:
        say = output.Moving(display)
        say("train-a ...")
        display.refresh()
        say.bar("train-a: epoch 1/2", 0.5)
        display.refresh()
        assert display.tasks[0].percentage == 50 and display.tasks[0].total == 1
        say("train-a: done [not markup]")
        say("export ...")
        assert display.tasks[0].total is None and display.tasks[0].description == "export ..."
    shown = text.getvalue()
    assert "train-a: epoch 1/2" in shown and "train-a: done [not markup]" in shown and "━" in shown


def test_only_the_first_of_several_processes_speaks(monkeypatch, capfd) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    for rank, lines in (("0", 2), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        with output.progress() as say:
            say("working")
        output.print_json({})
        found = capfd.readouterr()
        assert len((found.out + found.err).splitlines()) == lines
