"""Weights of a converted Core ML model in fewer bits: linear integers, palettes, or sparse; computing stays float.

coremltools writes the forms; which weights get which, and the palettes, are decided here. It would skip a weight whose
channels do not divide into blocks; that one gets a scale a channel, or one table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import coremltools.optimize.coreml as cto
import numpy as np

from edgesmith.export.palette import palette
from edgesmith.targets import WeightCompression

LEAST_SIZE = 2048  # of fewer weights nothing is gained: tables and scales take room too


def compressed(model: Any, how: WeightCompression) -> tuple[Any, str]:
    """The model with its large weights compressed, and a note on what was."""
    found = cto.get_weights_metadata(model, weight_threshold=LEAST_SIZE)
    sizes = {name: weight.val.size for name, weight in found.items()}
    if not found:
        return model, f"no weight has {LEAST_SIZE} values, so none is compressed"
    choose, apply = _WRITERS[how.kind]
    configs = {name: choose(how, weight.val.shape) for name, weight in found.items()}
    smaller = apply(model, cto.OptimizationConfig(global_config=None, op_name_configs=configs))
    if how.kind == "sparse" and how.bits < 16:
        smaller = _joined(smaller, how)
    return smaller, f"{len(found)} weights with {sum(sizes.values())} values are compressed ({_words(how)})"


def _linear(how: WeightCompression, shape: tuple[int, ...]) -> Any:
    blocks = how.block > 0 and shape[1] % how.block == 0
    where = {"granularity": "per_block", "block_size": how.block} if blocks else {"granularity": "per_channel"}
    return cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype=f"int{how.bits}", weight_threshold=LEAST_SIZE, **where
    )


def _palette(how: WeightCompression, shape: tuple[int, ...]) -> Any:
    groups = how.channels > 0 and shape[0] % how.channels == 0
    where = {"granularity": "per_grouped_channel", "group_size": how.channels} if groups else {}

    def table(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        entries, indices = palette(weight, 2**how.bits)
        return entries.astype(weight.dtype), indices

    return cto.OpPalettizerConfig(mode="custom", lut_function=table, weight_threshold=LEAST_SIZE, **where)


def _sparse(how: WeightCompression, shape: tuple[int, ...]) -> Any:
    return cto.OpMagnitudePrunerConfig(target_sparsity=how.sparsity, weight_threshold=LEAST_SIZE)


def _joined(model: Any, how: WeightCompression) -> Any:
    """What is left of sparse weights in integers; the sparse ones alone are large enough for it."""
    config = cto.OptimizationConfig(global_config=_linear(how, ()))
    return cto.linear_quantize_weights(model, config, joint_compression=True)


_WRITERS: dict[str, tuple[Callable[[WeightCompression, tuple[int, ...]], Any], Callable[..., Any]]] = {
    "linear": (_linear, cto.linear_quantize_weights),
    "palette": (_palette, cto.palettize_weights),
    "sparse": (_sparse, cto.prune_weights),
}


def _words(how: WeightCompression) -> str:
    if how.kind == "sparse":
        rest = f", the rest in {how.bits} bits" if how.bits < 16 else ""
        return f"the smallest {how.sparsity:.0%} are zero{rest}"
    return f"{how.kind}, {how.bits} bits"
