"""Bias correction: weights rounded to integers shift the mean of a layer's output; its bias takes the shift back.

The expected shift of output o is sum_c (w_q - w)[o, c] E[x_c], and calibration has seen E[x_c]: so this needs no
further pass over data. Zero padding at the border is not counted.
Source: Nagel et al. 2019, arXiv 1906.04721, section 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import fx

from edgesmith.graph.operators import constant, groups, is_weighted, source
from edgesmith.graph.program import Program
from edgesmith.quant import EdgeQuant, EdgeRange, dequantize, quantize


def bias_shifts(
    program: Program, weights: Mapping[str, EdgeQuant], seen: Mapping[fx.Node, EdgeRange]
) -> dict[str, np.ndarray]:
    """What each quantized layer's bias must gain. weights: layer path -> the numbers of its weight.

    seen: what calibration knows of every value of the (rewritten) program; a layer whose input has no mean is left out.
    """
    found = {}
    for path, node in program.nodes.items():
        known = seen.get(source(node)) if is_weighted(node) and path in weights else None
        if known is not None and known.mean is not None:
            shift = _mean_shift(program, node, weights[path], known.mean)
            if shift is not None:
                found[path] = shift
    return found


def _mean_shift(program: Program, layer: fx.Node, quant: EdgeQuant, mean: np.ndarray) -> np.ndarray | None:
    weight, count = constant(program.module, layer, 1).numpy(), groups(layer)
    error = weight - dequantize(quantize(weight, quant), quant)
    by_group = error.reshape(count, weight.shape[0] // count, weight.shape[1], -1).sum(3)
    if mean.size != count * weight.shape[1]:
        return None  # channels do not lie on axis 1 here (a linear layer over tokens)
    return np.einsum("goc,gc->go", by_group, mean.astype(np.float64).reshape(count, -1)).reshape(-1)
