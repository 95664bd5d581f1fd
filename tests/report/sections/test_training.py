from edgesmith.report.sections.training import section
from tests.report.sample import report
from tests.report.test_chart import spec


def test_bookkeeping_is_in_the_table_but_not_drawn() -> None:
    curves = {"x": [0, 1], "series": {"loss": [1.0, 0.5], "seconds": [3.0, 3.0], "once": [None, 1.0]}}
    part = section({**report(), "training": {"fit": curves}})
    assert part is not None and part.body.count('class="plot"') == 1
    assert "seconds" in part.body and "once" in part.body


def test_a_curve_keeps_its_gaps() -> None:
    curves = {"x": [0, 1, 2], "series": {"loss": [3.0, None, 2.0]}}
    part = section({**report(), "training": {"fit": curves}})
    assert part is not None and spec(part.body)["data"][0]["y"] == [3.0, None, 2.0]


def test_a_run_without_training_has_no_such_part() -> None:
    assert section({**report(), "training": {}}) is None
    assert section({**report(), "training": {"s": {"x": [], "series": {}}}}) is None
