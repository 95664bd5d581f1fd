"""The quantize section of a recipe, done: calibration and evaluation splits to plans on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesmith.data.split import Data
from edgesmith.pipeline import training
from edgesmith.pipeline.plans import plan_row
from edgesmith.pipeline.produce import capture_source
from edgesmith.pipeline.quantize_section import Quantize
from edgesmith.pipeline.quantizing import Setting, quantized, save_quantized
from edgesmith.pipeline.sources import Source
from edgesmith.pipeline.wishes import Wishes
from edgesmith.quant import QuantPlan


def quantize_recipe(
    section: Quantize,
    source: Source,
    data: Data,
    names: Sequence[str],
    learned: QuantPlan | None,
    device: Any,
    threads: int,
    folder: Path,
    say: Callable[[str], None],
) -> Mapping[str, Any]:
    """Write the plans of a recipe's model, and say what each amounts to.

    learned: the plan of a family that training aware of quantization ended in. device: where something is measured.
    """
    wishes = Wishes(
        section.keep_float,
        section.max_drop,
        section.max_ms,
        section.measure_latency,
        threads,
        section.ranges,
        section.all_corrections,
        section.effects,
        section.bisect,
    )
    evaluation = training.evaluation_of(data) if section.measures else None
    held_out = training.evaluation_inputs(data) if section.measures else None
    inputs = training.calibration_inputs(data, section.samples)
    setting = Setting(capture_source(source), source, inputs, held_out, evaluation, device, say)
    ranges, found = quantized(setting, names, wishes, section.batch, learned)
    save_quantized(folder, ranges, found)
    rows = [plan_row(made.plan, folder, made.floats) for made in found]
    return {"plans": [{**row, "file": row["file"].name} for row in rows]}
