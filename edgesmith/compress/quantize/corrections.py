"""The corrections of a plan, each with a switch.

Folding batch norms has none: an integer layer with a batch norm behind it would be a float layer in every runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from edgesmith.errors import UsageError

Correction = Literal["equalise", "join", "bias", "bias_pass", "dead"]
CORRECTIONS: tuple[Correction, ...] = ("equalise", "join", "bias", "bias_pass", "dead")


@dataclass(frozen=True)
class Corrections:
    """What is done so that a plan loses less.

    equalise: channels fill the grid they share (equalise.py). join: additions on grids of one step (joined.py).
    bias: biases take back the shift of a mean (bias.py). bias_pass: that shift is measured by a pass (bias_pass.py) and
    not computed. dead: a value that calibration never saw move gets a grid of ordinary size (dead.py).
    adaround: how weights are rounded is learned (adaround.py). reestimate_batchnorm: statistics of batch norms are
    measured anew before anything else, in the float net too (batchnorm.py).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # recipes hold one
    equalise: bool = True
    join: bool = True
    bias: bool = True
    bias_pass: bool = True
    dead: bool = True
    adaround: bool = False
    reestimate_batchnorm: bool = False

    @property
    def of_plan(self) -> tuple[Correction, ...]:
        """Those that `derive` applies."""
        return tuple(name for name in CORRECTIONS if getattr(self, name))


USUAL = Corrections()


def switched(on: Collection[str] = (), off: Collection[str] = ()) -> Corrections:
    """The usual corrections with some switched on and some off, by name. Raises: UsageError for an unknown name."""
    both = sorted({*on} & {*off})
    if both:
        raise UsageError(f"correct with and without {both[0]}", "it is both on and off", "give one")
    return checked({**dict.fromkeys(on, True), **dict.fromkeys(off, False)})


def checked(switches: Mapping[str, bool]) -> Corrections:
    """Switches by name as a record. Raises: UsageError for an unknown name, or a value that is not true or false."""
    known = [field.name for field in fields(Corrections)]
    for name, value in switches.items():
        if name not in known:
            raise UsageError(f"the correction {name!r}", "no such correction", f"choose from: {', '.join(known)}")
        if not isinstance(value, bool):
            raise UsageError(f"the correction {name}: {value!r}", "neither on nor off", "give true or false")
    return Corrections(**switches)
