"""The drift atlas of files or modules, and the lines a person reads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from edgesmith.artifact import Exported
from edgesmith.errors import UsageError
from edgesmith.pipeline.convert import Request, capture_request
from edgesmith.pipeline.foreign import open_all
from edgesmith.pipeline.judge import REFERENCE
from edgesmith.pipeline.produce import capture_source
from edgesmith.pipeline.sources import Source
from edgesmith.results import Drift, TargetDrift
from edgesmith.tensors import Arrays
from edgesmith.verify.drift import atlas

Say = Callable[[str], None]
SAMPLES = 8
WORST = 10  # rows of a target that are printed


def layer_drift(
    artefacts: Mapping[str, Exported], against: nn.Module, feed: Arrays, say: Say = lambda text: None
) -> tuple[TargetDrift, ...]:
    """Where each artefact leaves `against`, layer by layer, on a few samples of its inputs.

    Raises: UsageError for no artefact, inputs that do not fit, or a module that answers at random.
    """
    if not artefacts:
        raise UsageError("compare layer by layer", "no artefact", "name at least one")
    specs = next(iter(artefacts.values())).inputs
    program = capture_source(Source(type(against).__name__, against, specs), dynamic_batch=True)
    return atlas(program, artefacts, feed, say)


def drift_files(files: Sequence[Path], request: Request, say: Say, samples: int = SAMPLES) -> tuple[TargetDrift, ...]:
    """The same for files that edgesmith exported and an original as typed, on the first `samples` inputs."""
    with tempfile.TemporaryDirectory() as work:
        found = open_all(files, Path(work))
        source, program, inputs = capture_request(request, say)
        if inputs.images and source.preprocessing is not None:
            arrays = {program.inputs[0].name: source.preprocessing.apply(inputs.arrays["image"][:samples])}
        else:
            arrays = {name: array[:samples] for name, array in inputs.arrays.items()}
        rows = {name: exported for name, exported in found.items() if exported.target != REFERENCE}
        fixed = [spec for spec in program.inputs if not spec.dynamic]
        feed = {spec.name: np.asarray(arrays[spec.name], spec.numpy_type) for spec in program.inputs}
        if fixed:
            feed = {name: array[: fixed[0].concrete()[0]] for name, array in feed.items()}
        return atlas(program, rows, feed, say)


def drift_lines(found: Sequence[TargetDrift]) -> list[str]:
    """For each target who is under suspicion, and the layers furthest from the original, in the model's order."""
    lines: list[str] = []
    for one in found:
        lines += ["", f"{one.target}: {len(one.layers)} layers beside the original, n = {one.samples} ({one.engine})"]
        lines += [f"  note: {note}" for note in one.notes]
        for suspect in one.suspects[:5]:
            told = suspect.cause or "the cause cannot be told"
            lines.append(f"  suspect: {suspect.layer}: {told}; {suspect.evidence} (excess {suspect.excess:.3g})")
        if one.layers and not one.suspects:
            lines.append("  no layer is further from the original than its precision explains")
        if one.first is not None:
            lines.append(f"  it leaves the original first at {one.first}")
        if one.layers:
            lines.append(f"  {'layer':44} {'propagated dB':>13} {'cosine':>9} {'local dB':>9} {'excess':>8}")
        lines += [_line(row) for row in _worst(one.layers)]
    return lines


def _worst(rows: Sequence[Drift]) -> list[Drift]:
    """The layers with the largest excess, or where that was not measured the least SQNR, in the model's order."""
    ranked = sorted(rows, key=lambda row: (-(row.excess or 0.0), row.sqnr_db if row.sqnr_db is not None else 1e9))
    chosen = {row.layer for row in ranked[:WORST]}
    return [row for row in rows if row.layer in chosen]


def _line(row: Drift) -> str:
    cells = (_cell(row.sqnr_db, ".1f", 13), _cell(row.cosine, ".6f", 9), _cell(row.local_sqnr_db, ".1f", 9))
    return f"  {row.layer:44} {' '.join(cells)} {_cell(row.excess, '.2g', 8)}"


def _cell(value: float | None, form: str, width: int) -> str:
    return f"{'-' if value is None else format(value, form):>{width}}"
