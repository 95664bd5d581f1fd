"""How much a program may ask for: a hostile or damaged one must end in an error, not in an exhausted machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgesmith.errors import EngineFailed

# Elements of one tensor: 2 GiB in float32.
MOST_ELEMENTS = 1 << 29
# Rounds of one while_loop.
MOST_ROUNDS = 1_000_000
# Blocks inside blocks.
DEEPEST = 20


def check_size(shape: Sequence[int]) -> None:
    """Refuse to make a tensor of this shape. Raises: EngineFailed when it is negative or too large."""
    if any(size < 0 for size in shape) or math.prod(shape) > MOST_ELEMENTS:
        found = f"{tuple(shape)}"
        raise EngineFailed("make a tensor", found, f"sizes are at least 0, and at most {MOST_ELEMENTS} elements")
