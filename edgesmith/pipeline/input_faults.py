"""Whether a target that broke a limit was given an input that it was not made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgesmith.artifact import Exported
from edgesmith.bench.feeds import run_all
from edgesmith.errors import EngineFailed, MissingPackage, MissingResource
from edgesmith.pipeline.sources import Inputs
from edgesmith.results import Verdict
from edgesmith.runtimes import RUNTIMES
from edgesmith.runtimes.session import RunOptions
from edgesmith.tensors import Arrays, Preprocessing
from edgesmith.verify.preprocessing import InputFault, find_tensor_fault

CHECK = "input"
BROKEN_BY_INPUTS = ("agreement", "cosine", "accuracy_drop")


def input_faults(
    verdicts: Sequence[Verdict],
    exported: Mapping[str, Exported],
    inputs: Inputs,
    reference: Arrays,
    say: Callable[[str], None],
    original: str = "torch-fp32",
) -> tuple[Verdict, ...]:
    """A failed verdict "input" for each target whose limit breaks because of its input; no verdict for any other.

    Only models of one input are looked at, on this machine. reference: what the original answered to `inputs`.
    """
    failed = [(v.target, v.check) for v in verdicts if v.state == "fail" and v.target in exported]
    broken = {target for target, check in failed if check in BROKEN_BY_INPUTS}
    broken |= {target for target, check in failed if check == "runs" and _refuses(exported[target], exported, original)}
    found = []
    for target in sorted(broken):
        say(f"{target}: is it the input? ...")
        fault = _fault(exported[target], inputs, reference, _known(exported, original))
        if fault is not None:
            found.append(Verdict(CHECK, target, "fail", "the input is what it was made for", str(fault)))
    return tuple(found)


def _refuses(made: Exported, exported: Mapping[str, Exported], original: str) -> bool:
    """Whether its one input has another shape than the original's: then it was refused, and did not crash."""
    if original not in exported or len(made.inputs) != 1 or len(exported[original].inputs) != 1:
        return False
    own, wanted = made.inputs[0].shape, exported[original].inputs[0].shape
    return len(own) == len(wanted) and own[1:] != wanted[1:]


def _known(exported: Mapping[str, Exported], original: str) -> Preprocessing | None:
    return exported[original].preprocessing if original in exported else None


def _fault(made: Exported, inputs: Inputs, reference: Arrays, known: Preprocessing | None) -> InputFault | None:
    if len(made.inputs) != 1 or len(inputs.arrays) != 1 or not reference:
        return None
    tensor, name = next(iter(inputs.arrays.values())), made.inputs[0].name
    if inputs.images:
        if known is None:
            return None
        tensor = known.apply(tensor)
    try:
        with RUNTIMES.get(made.runtime).open(made, RunOptions()) as session:
            return find_tensor_fault(
                lambda feed: run_all(session.run, made, feed, "tensors", 8), reference, tensor, known, name
            )
    except (EngineFailed, MissingPackage, MissingResource):  # it ran elsewhere: nothing can be said here
        return None
