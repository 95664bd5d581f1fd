"""edgesmith bench: latency of artefacts and of files made by anyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edgesmith.cli import model_options as m
from edgesmith.cli import output


def command(
    files: list[Path] = typer.Argument(..., help="Artefact folders, bundles, or .onnx, .xml, .mlpackage, .pt2 files"),
    inputs: str = typer.Option("random:32", help="Inputs to rotate over: a folder of images | file.npz | random:N"),
    scenario: str = typer.Option("single-stream", help="single-stream, multi-stream, offline or cold-start"),
    streams: int = typer.Option(2, min=2, help="Sessions at once in multi-stream"),
    batch: str = typer.Option("1", help="Batch sizes, for models whose batch is dynamic: 1,8,32"),
    threads: str = typer.Option("1", help="Threads of one inference: 1,2"),
    blocks: int = typer.Option(10, min=2, help="Rounds; every candidate runs one block a round"),
    block_size: int = typer.Option(20, min=1, help="Calls a block; in cold-start a block is one process"),
    warmup: int = typer.Option(20, min=1, help="Warm-up calls at least"),
    layers: bool = typer.Option(False, "--layers", help="Also times by layer, by each runtime's own profiler"),
    rebuild: bool = typer.Option(False, "--rebuild", help="Build engines (TensorRT) anew on the device first"),
    reference: str | None = typer.Option(
        None, help="Candidate the ratios are to [default: torch-fp32, else the first]"
    ),
    device: m.Device = None,
    devices: m.Devices = None,
    fleet: Path | None = typer.Option(None, help="Fleet file: every file on each of its devices, one job a device"),
    out: Path | None = typer.Option(None, help="With --fleet: folder of the results [default: runs/<fleet file>]"),
    json: m.Json = False,
) -> int:
    """Time candidates in interleaved blocks; every sample is kept, percentiles come with intervals."""
    from edgesmith.bench.job import LAYER_RUNS, Schedule
    from edgesmith.errors import worst
    from edgesmith.pipeline.device_file import open_named
    from edgesmith.pipeline.foreign import Sweep, bench_files
    from edgesmith.report.layers import layer_table

    calls, sessions = 1 if scenario == "cold-start" else block_size, streams if scenario == "multi-stream" else 1
    profiled = LAYER_RUNS if layers else 0
    schedule = Schedule(blocks, calls, warmup, 1, scenario, sessions, profiled)  # type: ignore[arg-type]
    sweep = Sweep(schedule, _counts("--batch", batch), _counts("--threads", threads), rebuild)
    if fleet is not None or out is not None:
        return _fleet(files, inputs, sweep, reference, _fleet_file(fleet, device, devices), out, json)
    where = open_named(device, devices)
    with output.progress() as say:
        result = bench_files(files, inputs, sweep, reference, say, where)
    if json:
        output.print_json(result.record)
    else:
        output.print_table(result.header, result.rows)
        print("\n".join(result.remarks))
        for measurement in result.record.measurements if layers else ():
            output.print_table(*layer_table(measurement))
    states = {measurement.state for measurement in result.record.measurements}
    return worst({"failed": 1, "not_measured": 3, "measured": 0}[state] for state in states)


def _fleet_file(fleet: Path | None, device: str | None, devices: Path | None) -> Path:
    from edgesmith.errors import UsageError

    if fleet is None:
        raise UsageError(
            "bench --out", "there is no --fleet, whose results it is for", "leave it out, or redirect --json"
        )
    if device or devices:
        raise UsageError("bench --fleet", "--device and --devices name others", "write them into the fleet file")
    return fleet


def _fleet(
    files: list[Path], inputs: str, sweep: Any, reference: str | None, fleet: Path, out: Path | None, json: bool
) -> int:
    from edgesmith.errors import worst
    from edgesmith.pipeline.fleet_bench import bench_fleet
    from edgesmith.pipeline.fleet_file import read_fleet

    folder = out or output.default_out(fleet)
    with output.progress() as say:
        found = bench_fleet(files, inputs, sweep, reference, read_fleet(fleet), folder, say)
    if json:
        output.print_json(found)
    else:
        output.print_table(found.header, found.rows)
        print(f"{len(found.kept)} results in {folder}, {len(found.given_up)} jobs without one")
    states = {m.state for one in found.kept for record in one.measured for m in record.measurements}
    states |= {"not_measured" for _ in found.given_up}
    return worst({"failed": 1, "not_measured": 3, "measured": 0}[state] for state in states)


def _counts(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers from "1,8,32"."""
    from edgesmith.errors import UsageError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} {text}", "not whole numbers of at least 1", f"write {option} 1,8")
    return tuple(dict.fromkeys(int(part) for part in parts))
