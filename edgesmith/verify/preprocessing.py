"""Is an artefact far off because its input is not what it was made for? Feed variants of the input and see what heals.

An artefact that was made for pictures with blue first answers rightly as soon as blue comes first. So the variant whose
answers are the original's names the mistake. Only a decisive recovery counts: an error that falls to a fraction of what
it was, in nearly every sample, and ends small; a faultless artefact answers worst to its own input changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgesmith import metrics
from edgesmith.errors import EngineFailed, UsageError
from edgesmith.tensors import Arrays, Preprocessing
from edgesmith.verify.input_variants import Kind, Variant, double_variants, reshaped_variants, single_variants

Run = Callable[[Arrays], Arrays]
SCREENED = 4  # pictures that all variants are tried on
TRIED = 32  # pictures that the likely ones are judged on
LIKELY = 3
GAIN_DB = 6.0
# A scale that is wrong in the first layer can be made up for in part by another scale of the input: numbers in another
# order cannot do that by accident, so less is asked of them.
HEALED_DB = {"colour": 3.0, "layout": 3.0}
HEALED_BY_SCALE_DB = 8.0
NEARLY_EVERY = 0.9
SAME = 1.1  # times the least error: what the samples cannot tell apart is named together
TWO_DB = 3.0
EXACT_DB = 60.0  # nothing is off


@dataclass(frozen=True)
class InputFault:
    """An artefact that answers rightly to another input. before, after: mean cosine to the original's outputs.

    gain_db: how much smaller the squared error becomes.
    """

    kind: Kind
    expects: str
    before: float
    after: float
    gain_db: float
    samples: int

    def __str__(self) -> str:
        before = "none, it refuses the original's" if math.isnan(self.before) else f"{self.before:.4f}"
        found = f"cosine {self.after:.4f} instead of {before}"
        return f"its input is at fault ({self.kind}): with {self.expects}, {found}, n = {self.samples}"


def find_input_fault(
    run: Run, reference: Arrays, images: np.ndarray, preprocessing: Preprocessing, input_name: str
) -> InputFault | None:
    """What another input the artefact seems to be made for, or None: nothing is off, or no variant heals it.

    run: feeds any number of rows and answers outputs by name. reference: the original's outputs for these images.
    Shape: uint8 RGB (N, H, W, 3). Raises: UsageError for a reference that holds NaN or has other rows.
    """
    return find_tensor_fault(run, reference, preprocessing.apply(images), preprocessing, input_name)


def find_tensor_fault(
    run: Run, reference: Arrays, tensor: np.ndarray, preprocessing: Preprocessing | None, input_name: str
) -> InputFault | None:
    """The same for an input that is ready. preprocessing: how it was made, where that is known.

    Shape: (N, C, H, W) or (N, H, W, C); for others there are no variants. Raises: UsageError.
    """
    trial = _Trial(run, _checked(reference, len(tensor)), tensor, input_name)
    every = trial.rows(TRIED)
    own = trial.likeness(None, every)
    if own.db > EXACT_DB:
        return None
    refused = reshaped_variants(tensor) if own.db == -math.inf else []
    one = _healing(trial, [*single_variants(tensor, preprocessing), *refused], own, every)
    if one is not None and one.kind == "layout":
        return one
    two = _healing(trial, double_variants(tensor, preprocessing), own, every)
    # Two mistakes are said only where one does not explain nearly as much.
    return two if two is not None and (one is None or two.gain_db > one.gain_db + TWO_DB) else one


def _healing(trial: _Trial, variants: Sequence[Variant], own: _Likeness, rows: np.ndarray) -> InputFault | None:
    few = trial.rows(SCREENED)
    screened = [(trial.likeness(variant, few).error.sum(), variant) for variant in variants if trial.changes(variant)]
    likely = [variant for _, variant in sorted(screened, key=lambda pair: pair[0])[:LIKELY]]
    judged = [(trial.likeness(variant, rows), variant) for variant in likely]
    best, variant = min(judged, key=lambda pair: pair[0].error.sum(), default=(None, None))
    if best is None or variant is None or best.db == -math.inf:
        return None
    gain = metrics.sqnr_db(min(own.error.sum(), 1e12), best.error.sum())
    better = float((best.error < own.error).mean())
    if gain < GAIN_DB or best.db < HEALED_DB.get(variant.kind, HEALED_BY_SCALE_DB) or better < NEARLY_EVERY:
        return None
    same = [v.expects for one, v in judged if v.kind == variant.kind and one.error.sum() <= SAME * best.error.sum()]
    return InputFault(variant.kind, " or ".join(same), own.cosine, best.cosine, gain, len(rows))


@dataclass(frozen=True)
class _Likeness:
    """error: squared, a sample, over all outputs, each in units of how much the original's varies between samples."""

    error: np.ndarray
    cosine: float

    @property
    def db(self) -> float:
        total = float(self.error.sum())
        return metrics.sqnr_db(len(self.error), total) if math.isfinite(total) else -math.inf


@dataclass(frozen=True)
class _Trial:
    """An artefact, an input and what the original answered to it."""

    run: Run
    reference: Arrays
    tensor: np.ndarray
    input_name: str

    def rows(self, most: int) -> np.ndarray:
        """At most so many samples, spread evenly."""
        return np.unique(np.linspace(0, len(self.tensor) - 1, min(most, len(self.tensor))).astype(int))

    def changes(self, variant: Variant) -> bool:
        """Whether a variant is another input at all."""
        one = self.tensor[:1].astype(np.float64)
        other = variant.of(self.tensor[:1])
        return other.shape != one.shape or bool(np.abs(other - one).max() > 1e-3 * np.abs(one).max())

    def likeness(self, variant: Variant | None, rows: np.ndarray) -> _Likeness:
        """How near the answers to a variant are to the original's; a variant that is refused is infinitely far."""
        nothing = _Likeness(np.full(len(rows), math.inf), math.nan)
        tensor = self.tensor[rows]
        try:
            fed = np.ascontiguousarray(tensor if variant is None else variant.of(tensor))
            answer = self.run({self.input_name: fed})
        except (UsageError, EngineFailed):
            return nothing
        error, cosines = np.zeros(len(rows)), []
        for (name, wanted), position in zip(self.reference.items(), range(len(self.reference))):
            given = answer.get(name, list(answer.values())[position] if len(answer) == len(self.reference) else None)
            if given is None or given.shape != wanted[rows].shape or not np.isfinite(given).all():
                return nothing
            first, second = (array.reshape(len(rows), -1).astype(np.float64) for array in (wanted[rows], given))
            error += ((first - second) ** 2).sum(1) / _spread(wanted)
            cosines.append(metrics.cosine(first, second))
        return _Likeness(error / len(self.reference), float(np.mean(cosines)))


def _spread(wanted: np.ndarray) -> float:
    """Mean squared distance of the original's answers from their mean; their size where they do not vary."""
    flat = wanted.reshape(len(wanted), -1).astype(np.float64)
    varies = float(((flat - flat.mean(0)) ** 2).sum(1).mean())
    size = float((flat**2).sum(1).mean())
    return varies if varies > 1e-9 * size else size or 1.0


def _checked(reference: Arrays, count: int) -> Arrays:
    asked = "find what the input should be"
    if not reference or count == 0:
        raise UsageError(asked, "no outputs of the original, or no samples", "run the original first")
    for name, array in reference.items():
        if len(array) != count:
            raise UsageError(asked, f"{len(array)} rows of {name!r} for {count} inputs", "run it on the same samples")
        if not np.isfinite(array).all():
            raise UsageError(asked, f"the original's {name!r} holds NaN", "check the inputs")
    return reference
