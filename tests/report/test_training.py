import math
from dataclasses import dataclass

from edgesmith.report.training import curves


@dataclass(frozen=True)
class Epoch:
    epoch: int
    loss: float
    phase: str = "train"
    done: bool = True


def test_records_and_gaps():
    found = curves([Epoch(1, 2.0), Epoch(2, math.nan), Epoch(3, 1.0)])
    assert found == {"x": [1, 2, 3], "series": {"loss": [2.0, None, 1.0]}}


def test_mappings_without_epoch_numbers_and_nothing():
    assert curves([{"a": 1}, {"b": 2}]) == {"x": [0, 1], "series": {"a": [1, None], "b": [None, 2]}}
    assert curves([]) == {"x": [], "series": {}}
