"""MIL lists of tensors of one shape, as Python lists."""

from __future__ import annotations

from typing import Any

import torch

from edgesmith.runtimes.mil.limits import MOST_ELEMENTS, check_size
from edgesmith.runtimes.mil.registry import Ints, List, Tensor, op
from edgesmith.runtimes.mil.types import CARRIER

# Elements of one list: what a program writes to beyond its end makes it longer.
LONGEST = 1 << 20


@op("make_list")
def make_list(elem_shape: Any, init_length: int = 1, dynamic_length: bool = True, dtype: str = "fp32") -> List:
    """A list of zeros; where an element's size is a name, not known before the first write, of empty tensors."""
    given = elem_shape if isinstance(elem_shape, tuple) else (elem_shape,)
    sizes = [0 if isinstance(size, str) else size for size in given]
    check_size([init_length, *sizes])
    return [torch.zeros(sizes, dtype=CARRIER[dtype])] * _length(init_length)


@op("list_length")
def list_length(ls: List) -> Tensor:
    """How many elements it has."""
    return torch.tensor(len(ls), dtype=torch.int32)


@op("list_write")
def list_write(ls: List, index: int, value: Tensor) -> List:
    """Another list with this element; it grows where the index lies behind its end."""
    return _written(ls, [(index, value)])


@op("list_read")
def list_read(ls: List, index: int) -> Tensor:
    """One element."""
    return ls[_inside(ls, index)]


@op("list_gather")
def list_gather(ls: List, indices: Ints) -> Tensor:
    """These elements in one tensor."""
    check_size([len(indices), *(ls[0].shape if ls else ())])
    return torch.stack([ls[_inside(ls, index)] for index in indices])


@op("list_scatter")
def list_scatter(ls: List, indices: Ints, value: Tensor) -> List:
    """Another list with the slices of `value` at these places."""
    if len(indices) != len(value):
        raise ValueError(f"{len(indices)} places for {len(value)} elements")
    return _written(ls, list(zip(indices, value)))


def _written(ls: List, writes: list[tuple[int, Tensor]]) -> List:
    if not writes:
        return ls
    last = max(index for index, _ in writes)
    if min(index for index, _ in writes) < 0:
        raise IndexError("a negative place in a list")
    longer = [torch.zeros_like(writes[0][1])] * (_length(last + 1) - len(ls))
    made = [*ls, *longer]
    for index, value in writes:
        made[index] = value
    return made


def _length(length: int) -> int:
    if not 0 <= length <= LONGEST:
        raise ValueError(f"a list of {length} elements; at most {LONGEST} of {MOST_ELEMENTS} numbers are made")
    return length


def _inside(ls: List, index: int) -> int:
    if not 0 <= index < len(ls):
        raise IndexError(f"element {index} of a list of {len(ls)}")
    return index
