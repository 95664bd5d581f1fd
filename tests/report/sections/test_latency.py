from __future__ import annotations

import numpy as np
import pytest

from edgesmith.report.sections.latency import POINTS, section
from tests.report.sample import report
from tests.report.test_chart import spec


def test_the_lines_are_the_shares_of_the_runs() -> None:
    part = section({**report(), "latency": {"ort-fp32": [3.0, 1.0, 2.0, 4.0]}})
    assert part is not None
    found = spec(part.body)
    assert found["data"][0]["x"] == [1.0, 2.0, 3.0, 4.0] and found["data"][0]["y"] == [0.25, 0.5, 0.75, 1.0]


def test_many_runs_are_thinned_but_for_the_slowest() -> None:
    values = np.append(np.linspace(1.0, 1.1, 5000), [50.0, 60.0])
    part = section({**report(), "latency": {"ort-fp32": values.tolist()}})
    assert part is not None
    found = spec(part.body)
    x = found["data"][0]["x"]
    assert len(x) < POINTS + 12 and x[-2:] == [50.0, 60.0]
    assert found["layout"]["xaxis"]["range"][1] == pytest.approx(1.1 * 1.08, rel=0.01)  # a hiccup squeezes nothing
    assert "5,002" in part.body


def test_without_a_measurement_there_is_no_such_part() -> None:
    assert section(report(bench=None)) is None
