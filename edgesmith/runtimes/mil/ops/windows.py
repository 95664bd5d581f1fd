"""How windows lie over an axis: the padding that a kind of padding means."""

from __future__ import annotations

from collections.abc import Sequence

from edgesmith.errors import EngineFailed

Pads = tuple[tuple[int, int], ...]


def pads_of(
    pad_type: str,
    pad: Sequence[int],
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Pads:
    """The values before and after every axis.

    same: so many that the output has ceil(size / stride) values; where their number is odd, `same` has one more
    after, `same_lower` one more before. Raises: EngineFailed for another kind, or numbers that do not fit.
    """
    kind, rank = pad_type.lower(), len(kernel)
    if not rank == len(sizes) == len(strides) == len(dilations) or min(strides) < 1 or min(dilations) < 1:
        found = f"sizes {tuple(sizes)}, kernel {tuple(kernel)}, strides {tuple(strides)}, dilations {tuple(dilations)}"
        raise EngineFailed("lay windows", found, "convert the model again")
    if kind == "valid" or (kind == "custom" and not pad):
        return ((0, 0),) * rank
    if kind == "custom":
        if len(pad) != 2 * rank or min(pad) < 0:
            raise EngineFailed("pad", f"by {tuple(pad)} on {rank} axes", "two numbers an axis, at least 0")
        return tuple((pad[2 * axis], pad[2 * axis + 1]) for axis in range(rank))
    if kind not in ("same", "same_lower"):
        known = "there are valid, custom, same and same_lower"
        raise EngineFailed("pad", f"as {pad_type!r}", known)
    return tuple(_same(*numbers, kind) for numbers in zip(sizes, kernel, strides, dilations))


def _same(size: int, kernel: int, stride: int, dilation: int, kind: str) -> tuple[int, int]:
    windows = -(-size // stride)
    total = max((windows - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if kind == "same" else (more, less)


def symmetric(pads: Pads) -> bool:
    """Whether every axis has the same padding before as after."""
    return all(first == last for first, last in pads)


def before(pads: Pads) -> tuple[int, ...]:
    """The padding before every axis."""
    return tuple(first for first, _ in pads)


def flat(pads: Pads) -> list[int]:
    """As torch's pad takes it: the last axis first."""
    return [number for pair in reversed(pads) for number in pair]
