"""edgesmith predict: one input through one artefact."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    artifact: Path = typer.Argument(..., help="An artefact folder, or a model file made by anyone"),
    input_: Path = typer.Option(
        ..., "--input", help="A picture, a .npz with the model's inputs, or a .npy with its only one"
    ),
    top: int = typer.Option(5, min=1, help="How many classes to show"),
    out: Path | None = typer.Option(None, help="Write the outputs to this .npz"),
    threads: m.Threads = 1,
    mode: str = typer.Option("fp16", help="How a Core ML package is rounded off macOS: fp32, fp16 or ane-like"),
    json: m.Json = False,
) -> int:
    """Run one input and show what comes out: the best classes where there are labels, else the numbers."""
    from edgesmith.pipeline.predict import predict

    answer = predict(artifact, input_, threads, top, mode)
    if out is not None:
        answer.save(out)
    if json:
        output.print_json({"artifact": artifact, "classes": answer.classes, "outputs": answer.outputs})
    elif answer.classes:
        output.print_table(("class", "score"), [(label, f"{score:.4f}") for label, score in answer.classes])
    else:
        output.print_table(("output", "shape", "values"), answer.summary())
    return 0
