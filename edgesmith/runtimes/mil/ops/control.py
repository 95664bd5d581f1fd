"""Control flow."""

from __future__ import annotations

from typing import Any

from edgesmith.runtimes.mil import limits
from edgesmith.runtimes.mil.registry import Blocks, Tensors, op


@op("cond")
def cond(pred: bool, blocks: Blocks) -> tuple[Any, ...]:
    """The outputs of the first block where pred holds, those of the second elsewhere."""
    then, otherwise = blocks.run
    return then() if pred else otherwise()


@op("while_loop")
def while_loop(loop_vars: Tensors, blocks: Blocks) -> tuple[Any, ...]:
    """Give the variables to the second block, and take its outputs for them, while the first one says so."""
    goes_on, body = blocks.run
    values: tuple[Any, ...] = loop_vars
    for _ in range(limits.MOST_ROUNDS):
        if not bool(goes_on(*values)[0]):
            return values
        values = body(*values)
    raise ValueError(f"the loop did not end after {limits.MOST_ROUNDS} rounds")
