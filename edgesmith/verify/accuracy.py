"""How well each target does on labelled data, and how much worse than the original, with intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgesmith.errors import UsageError
from edgesmith.results import Accuracy
from edgesmith.tensors import Arrays
from edgesmith.verify import PROTOCOLS
from edgesmith.verify.protocol import EvaluationProtocol
from edgesmith.verify.rearranged import paired


def judge(protocol: str, arrays: Arrays, outputs: Mapping[str, np.ndarray], reference: str) -> tuple[Accuracy, ...]:
    """Accuracy of every target under a protocol of PROTOCOLS; `drop` against `reference`, whose own drop is None.

    Raises: UsageError for an unknown protocol, an absent reference or outputs of another shape than it judges.
    """
    row: EvaluationProtocol = PROTOCOLS.get(protocol)
    if row.shape is None:
        return ()
    if reference not in outputs:
        raise UsageError(f"drop against {reference}", f"outputs of {sorted(outputs)}", "run the reference too")
    wanted = row.shape(arrays)
    for target, output in outputs.items():
        if output.ndim != len(wanted):
            todo = "leave the labels out: without them agreement with the original is judged"
            found = f"its output has shape {output.shape}, not {_text(('N', *wanted[1:]))}"
            raise UsageError(f"{protocol} of {target}", found, todo)
        if any(isinstance(size, int) and size != found for size, found in zip(wanted, output.shape)):
            todo = "run it on the whole split" if len(output) != wanted[0] else "give the labels of this very model"
            raise UsageError(f"outputs of {target} as {_text(wanted)}", f"{output.shape}", todo)
    return row.judge(arrays, outputs, reference)


def judge_all(protocol: str, arrays: Arrays, outputs: Mapping[str, Arrays], reference: str) -> tuple[Accuracy, ...]:
    """As `judge`, for all outputs of every target: the second ones too, where the protocol judges them.

    First and second are the reference's; another target's are taken by their names. A target without such an output,
    or with one of another shape, is left out: agreement.py says what is wrong with it. Raises: as `judge`.
    """
    row: EvaluationProtocol = PROTOCOLS.get(protocol)
    found = judge(protocol, arrays, _numbered(0, outputs, reference), reference)
    second = _numbered(1, outputs, reference)
    if row.second is None or reference not in second:
        return found
    return (*found, *row.second(arrays, second, reference))


def _numbered(place: int, outputs: Mapping[str, Arrays], reference: str) -> dict[str, np.ndarray]:
    names = list(outputs.get(reference, {}))
    if len(names) <= place:
        return {}
    wanted = outputs[reference]
    found = {target: paired(wanted, own).get(names[place]) for target, own in outputs.items()}
    shape = wanted[names[place]].shape
    return {target: array for target, array in found.items() if array is not None and array.shape == shape}


def headline(protocol: str) -> str:
    """The metric that a protocol is known by, "" for none. Raises: UsageError for an unknown protocol."""
    return str(PROTOCOLS.get(protocol).headline)


def _text(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
