"""edgesmith predict: one input through one artefact."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    artifact: Path = typer.Argument(..., help="An artefact folder, or a model file made by anyone"),
    input_: Path = typer.Option(..., "--input", help="A picture, or a .npz with the model's inputs"),
    top: int = typer.Option(5, min=1, help="How many classes to show"),
    out: Path | None = typer.Option(None, help="Write the outputs to this .npz"),
    threads: m.Threads = 1,
    json: m.Json = False,
) -> int:
    """Run one input and show what comes out: the best classes where there are labels, else the numbers."""
    from edgesmith.pipeline.predict import predict

    answer = predict(artifact, input_, threads, top)
    if out is not None:
        answer.save(out)
    if json:
        output.print_json({"artifact": artifact, "classes": answer.classes, "outputs": answer.outputs})
    elif answer.classes:
        output.print_table(("class", "score"), [(label, f"{score:.4f}") for label, score in answer.classes])
    else:
        output.print_table(("output", "shape", "values"), answer.summary())
    return 0
