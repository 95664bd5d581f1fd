"""What a recipe may ask for between training and export: batch norms measured anew, rounding that is learned."""

from __future__ import annotations

from dataclasses import replace

from edgesmith.compress.quantize.adaround import learn_rounding
from edgesmith.compress.quantize.batchnorm import reestimate_batchnorm
from edgesmith.data.split import Data
from edgesmith.graph.program import Program
from edgesmith.pipeline.produce import tensor_batches
from edgesmith.pipeline.recipe import Quantize
from edgesmith.pipeline.sources import Inputs, Source
from edgesmith.pipeline.training import calibration_inputs
from edgesmith.quant import QuantPlan


def reestimated(source: Source, data: Data, quantize: Quantize) -> Source:
    """The model with batch-norm statistics of the calibration split, where the recipe asks for it.

    Raises: UsageError for a model without batch norms.
    """
    if not quantize.reestimate_batchnorm:
        return source
    inputs = calibration_inputs(data, quantize.samples)
    batches = tensor_batches(source.inputs, inputs, source.preprocessing, quantize.batch)
    return replace(source, module=reestimate_batchnorm(source.module, batches))


def rounded(program: Program, inputs: Inputs, source: Source, batch: int, plan: QuantPlan) -> QuantPlan:
    """A plan with learned rounding of weights, from the calibration inputs in batches of `batch`."""
    return learn_rounding(program, plan, tensor_batches(program.inputs, inputs, source.preprocessing, batch))
