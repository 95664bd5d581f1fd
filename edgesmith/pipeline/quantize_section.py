"""The section `quantize` of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field

from edgesmith.compress.quantize.corrections import Corrections
from edgesmith.quant import RangeMethod

_STRICT = {"extra": "forbid"}
Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Quantize:
    """samples: how many of the calibration split are used, in batches of `batch`.

    ranges: how the ends of grids are chosen; auto tries all and keeps the best by held-out calibration samples.
    keep_float, max_drop, max_ms, measure_latency, bisect: what the plans are to hold (Wishes in quantizing.py). A
    drop is judged on the evaluation split, whose headline metric it is of.
    corrections: switches by name (Corrections in compress/quantize/corrections.py), `{equalise: false}`; the keys
    adaround and reestimate_batchnorm switch these two on as well. effects: whether to measure what each is worth.
    """

    __pydantic_config__ = _STRICT
    samples: Positive = 300
    batch: Positive = 50
    keep_float: tuple[str, ...] = ()
    max_drop: Annotated[float, Field(ge=0)] | None = None
    max_ms: Annotated[float, Field(gt=0)] | None = None
    measure_latency: bool = False
    ranges: Literal["auto"] | RangeMethod = "mse"
    adaround: bool = False
    reestimate_batchnorm: bool = False
    corrections: Corrections = field(default_factory=Corrections)
    effects: bool = True
    bisect: bool = False

    @property
    def all_corrections(self) -> Corrections:
        """The switches, with the two that have keys of their own."""
        return replace(self.corrections, **{n: True for n in ("adaround", "reestimate_batchnorm") if getattr(self, n)})

    @property
    def measures(self) -> bool:
        """Whether the plans depend on what was measured on the device."""
        return self.max_drop is not None or self.max_ms is not None
