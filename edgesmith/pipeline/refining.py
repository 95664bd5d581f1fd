"""Corrections outside of the plan's derivation: batch norms measured anew, rounding that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from edgesmith.compress.quantize.adaround import learn_rounding
from edgesmith.compress.quantize.batchnorm import reestimate_batchnorm
from edgesmith.compress.quantize.corrections import Corrections
from edgesmith.data.split import Data
from edgesmith.errors import UsageError
from edgesmith.graph.program import Program
from edgesmith.metrics import sqnr_db
from edgesmith.pipeline.produce import calibrate, correcting, plan_targets, tensor_batches, whole_batches
from edgesmith.pipeline.quantize_section import Quantize
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.pipeline.training import calibration_inputs
from edgesmith.quant import QuantPlan

_COMPARED = 16  # samples


def reestimated(source: Source, data: Data, quantize: Quantize) -> Source:
    """The model with batch-norm statistics of the calibration split, where the recipe asks for it.

    Raises: UsageError for a model without batch norms.
    """
    if not quantize.all_corrections.reestimate_batchnorm:
        return source
    return measured_anew(source, calibration_inputs(data, quantize.samples), quantize.batch)


def measured_anew(source: Source, inputs: Inputs, batch: int) -> Source:
    """The model with batch-norm statistics of these inputs, and a note of how far its answers have moved.

    Raises: UsageError for a model without batch norms.
    """
    few = next(tensor_batches(source.inputs, inputs, source.preprocessing, _COMPARED))
    try:
        module = reestimate_batchnorm(source.module, tensor_batches(source.inputs, inputs, source.preprocessing, batch))
        with torch.no_grad():
            before, after = (_flat(net.eval()(*few)) for net in (source.module, module))
    except (IndexError, RuntimeError, TypeError) as error:
        found = f"the model fails on {len(few[0])} of them: {type(error).__name__}: {str(error).splitlines()[0]}"
        todo = "give samples, and a model, that batches of any size can be made of"
        raise UsageError("measure batch norms anew on these samples", found, todo) from error
    moved = sqnr_db(float(before.square().sum()), float((after - before).square().sum()))
    note = f"batch norms measured anew: the float answers are {moved:.1f} dB over what that changed in them"
    return replace(source, module=module, notes=(*source.notes, f"{note} ({len(few[0])} samples)"))


def _flat(outputs: Tensor | Sequence[Tensor]) -> Tensor:
    """All numbers of all outputs."""
    parts = [outputs] if isinstance(outputs, Tensor) else outputs
    return torch.cat([part.flatten().double() for part in parts])


def rounded(program: Program, inputs: Inputs, source: Source, batch: int, plan: QuantPlan) -> QuantPlan:
    """A plan with learned rounding of weights, from the calibration inputs in batches of `batch`."""
    inputs, batch, _ = whole_batches(program, inputs, batch)
    return learn_rounding(program, plan, tensor_batches(program.inputs, inputs, source.preprocessing, batch))


def corrected_plans(
    program: Program, source: Source, inputs: Inputs, names: Sequence[str], corrections: Corrections, batch: int
) -> dict[str, QuantPlan]:
    """Calibrate, and a plan for each family of the int8 targets with these corrections."""
    ranges = calibrate(program, inputs, source.preprocessing, batch)
    samples = correcting(program, inputs, source.preprocessing)
    plans = plan_targets(program, ranges, names, samples=samples, corrections=corrections)
    if not corrections.adaround:
        return plans
    return {family: rounded(program, inputs, source, batch, plan) for family, plan in plans.items()}
