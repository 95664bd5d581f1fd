"""The command line: one file a verb; heavy imports happen inside the verbs."""

from __future__ import annotations

import os
import sys
import traceback
import warnings

import typer
from typer.exceptions import TyperException

from edgesmith.cli import (
    app_kit,
    bench,
    devices,
    doctor,
    export,
    inspect,
    new,
    output,
    pack,
    predict,
    quantize,
    report,
    run,
    search,
    train,
    verify,
)
from edgesmith.errors import EdgesmithError

INTERRUPTED = 130
app = typer.Typer(
    name="edgesmith",
    help="From a PyTorch teacher to a verified artefact on the device.",
    epilog="--json prints one JSON object on stdout; --debug shows the trace of an error. Exit codes: 0 all verdicts "
    "pass, 1 one failed, 2 usage or recipe, 3 something required is absent, 4 a bug, 5 inconclusive or not measured.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (new, run, train, search, quantize, export, bench, verify, report, pack, predict, doctor, devices, inspect):
    app.command(verb.__name__.rpartition(".")[2])(verb.command)
app.command("app")(app_kit.command)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Print the version and stop.")
) -> None:
    if version:
        import edgesmith

        print(edgesmith.__version__)
        raise typer.Exit()


def main() -> None:
    """Entry point of the `edgesmith` command."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str]) -> int:
    """Run one command line and give its exit code; known errors print three parts on stderr, never a trace."""
    debug, as_json = "--debug" in arguments, "--json" in arguments
    words = [word for word in arguments if word != "--debug"] or ["--help"]
    if not debug:
        warnings.simplefilter("ignore")  # vendors' words for programmers; ours for users go through `say`
    try:
        with output.stdout_kept_clean(as_json):
            code = int(app(args=words, prog_name="edgesmith", standalone_mode=False) or 0)
        if code == INTERRUPTED:  # Typer has caught the KeyboardInterrupt
            output.print_interrupted(as_json)
        return code
    except EdgesmithError as error:
        if debug:
            traceback.print_exc()
        output.print_error(error, as_json)
        return error.exit_code
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        output.print_interrupted(as_json)
        return INTERRUPTED
    except BrokenPipeError:  # whoever reads our output (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except TyperException as error:
        output.print_usage(error, as_json)
        return 2
    except Exception as error:  # whatever else comes this far is a bug of ours, and says so
        if debug:
            traceback.print_exc()
        output.print_bug(error, as_json)
        return 4
