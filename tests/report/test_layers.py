from edgesmith.report.layers import layer_table, rows
from edgesmith.results import Interval, LayerTime, LayerTimes, Measurement

TIMES = LayerTimes(
    (
        LayerTime("conv", "Conv", Interval(0.5, 0.4, 0.6), 0.5, ("relu",)),
        LayerTime("", "Reorder", Interval(0.5, None, None), 0.5),
    ),
    Interval(1.2, 1.1, 1.3),
    50,
    0.5,
    "a profiler",
)


def test_a_row_a_layer_in_the_order_of_execution():
    _, lines, title = layer_table(Measurement("a", "measured", layers=TIMES))
    assert lines[0] == ("conv", "Conv", "0.5000 [0.4000, 0.6000]", "50.0%", "relu")
    assert lines[1][0] == "(no layer)" and lines[1][2] == "0.5000"
    assert "a profiler, 50 runs, 50%" in title and "1.2000 [1.1000, 1.3000]" in title


def test_why_there_are_none_is_said():
    _, lines, title = layer_table(Measurement("a", "measured", notes=("times by layer are not known: no profiler",)))
    assert lines == [] and title.endswith("not known: no profiler")


def test_as_data():
    assert rows(Measurement("a", "measured", layers=TIMES))["rows"][0]["members"] == ["relu"]
    assert rows(Measurement("a", "measured")) == {}
