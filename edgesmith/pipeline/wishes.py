"""What a quantized net is to hold, and whether that can be asked of the data at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesmith.compress.quantize.corrections import USUAL, Corrections
from edgesmith.errors import UsageError
from edgesmith.pipeline.choose_ranges import Ranges
from edgesmith.pipeline.produce import typed
from edgesmith.pipeline.sources import Inputs
from edgesmith.tensors import TensorSpec


@dataclass(frozen=True)
class Wishes:
    """What a plan is to hold. Precisions are int8 and the float type of the target.

    keep_float: layers or modules. max_drop: of the accuracy on held-out data, as a share; the upper end of its interval
    is what counts. max_ms: p50 on the device, predicted from measured layers; the noise is made as small as that
    allows. measure_latency: choose layers by measured time instead of by multiply-accumulates. ranges: how the ends of
    grids are chosen; "auto" tries all and keeps the best (choose_ranges.py). corrections: which are on. effects:
    whether to measure what each of them is worth (effects.py), before layers go to float for a drop or a time.
    bisect: find the layers that max_drop needs in float by rebuilding with parts of them (bisecting.py).
    """

    keep_float: tuple[str, ...] = ()
    max_drop: float | None = None
    max_ms: float | None = None
    measure_latency: bool = False
    threads: int = 1
    ranges: Ranges = "mse"
    corrections: Corrections = USUAL
    effects: bool = False
    bisect: bool = False


def check_wishes(wishes: Wishes, specs: Sequence[TensorSpec], held_out: Inputs | None) -> None:
    """Refuse wishes that exclude each other or lack data. specs: what the model takes. Raises: UsageError."""
    if wishes.max_drop is not None and wishes.max_ms is not None:
        raise UsageError(
            "quantize within max_drop and max_ms", "two budgets", "give one; `bench` and `verify` show the other"
        )
    if wishes.bisect and wishes.max_drop is None:
        raise UsageError("quantize with bisect", "no max_drop to bisect for", "give --max-drop and --eval")
    if wishes.max_ms is not None and not 0 < wishes.max_ms < math.inf:
        raise UsageError(f"quantize with max_ms {wishes.max_ms}", "not a time above 0", "give milliseconds")
    if wishes.max_drop is not None and not 0 <= wishes.max_drop < 1:
        found = "not a share of 0 or more and below 1, which every net would keep"
        raise UsageError(f"quantize with max_drop {wishes.max_drop}", found, "0.01 is one point")
    if wishes.max_drop is not None and (held_out is None or held_out.count == 0):
        found = "no held-out samples to measure it on"
        raise UsageError(f"quantize with max_drop {wishes.max_drop:g}", found, "give --eval a folder or a file.npz")
    if held_out is not None:
        check_held_out(specs, held_out)


def check_held_out(specs: Sequence[TensorSpec], inputs: Inputs) -> None:
    """Refuse samples to judge by that the model cannot take, before anything is measured. Raises: UsageError."""
    for spec in () if inputs.images else specs:
        if spec.name not in inputs.arrays:
            found = f"the data has {sorted(inputs.arrays)}"
            todo = "name the arrays of the .npz like the model's inputs"
            raise UsageError(f"judge by samples of {spec.name!r}", found, todo)
        array = typed(spec, inputs.arrays[spec.name])
        if tuple(array.shape[1:]) != tuple(spec.shape[1:]):
            raise UsageError(f"judge by samples of {spec.name!r} {spec.shape}", f"got {array.shape}", "resize them")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UsageError(f"judge by samples of {spec.name!r}", "some hold NaN or infinity", "take them out")
