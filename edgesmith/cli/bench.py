"""edgesmith bench: latency of artefacts and of files made by anyone."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    files: list[Path] = typer.Argument(..., help="Artefact folders, bundles, or .onnx, .xml, .mlpackage, .pt2 files"),
    inputs: str = typer.Option("random:32", help="Inputs to rotate over: a folder of images | file.npz | random:N"),
    threads: m.Threads = 1,
    blocks: int = typer.Option(10, min=2, help="Rounds; every candidate runs one block a round"),
    block_size: int = typer.Option(20, min=1, help="Calls a block"),
    warmup: int = typer.Option(20, min=1, help="Warm-up calls at least"),
    reference: str | None = typer.Option(
        None, help="Candidate the ratios are to [default: torch-fp32, else the first]"
    ),
    device: m.Device = None,
    devices: m.Devices = None,
    json: m.Json = False,
) -> int:
    """Time candidates in interleaved blocks; every sample is kept, percentiles come with intervals."""
    from edgesmith.errors import worst
    from edgesmith.pipeline.device_file import open_named
    from edgesmith.pipeline.foreign import bench_files

    where = open_named(device, devices)
    with output.progress() as say:
        result = bench_files(files, inputs, threads, (blocks, block_size, warmup), reference, say, where)
    if json:
        output.print_json(result.record)
    else:
        output.print_table(result.header, result.rows)
        print("\n".join(result.remarks))
    states = {measurement.state for measurement in result.record.measurements}
    return worst({"failed": 1, "not_measured": 3, "measured": 0}[state] for state in states)
