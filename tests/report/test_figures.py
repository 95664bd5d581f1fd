from edgesmith.report import figures
from tests.report.sample import report


def test_each_plot_has_its_numbers_behind_it():
    page = figures.overview(report())
    assert page.count("<svg") == page.count("<details") == page.count("<table") == 2


def test_only_what_there_is_is_drawn():
    assert figures.overview(report(bench=None)) == ""
    without_labels = figures.overview(report(accuracies=[], agreements=[]))
    assert without_labels.count("<svg") == 1
    assert figures.training({}) == "" and figures.training({"s": {"x": [], "series": {}}}) == ""


def test_bookkeeping_is_in_the_table_but_not_drawn():
    curves = {"x": [0, 1], "series": {"loss": [1.0, 0.5], "seconds": [3.0, 3.0], "once": [None, 1.0]}}
    page = figures.training({"fit": curves})
    assert page.count("<svg") == 1
    assert "seconds" in page and "once" in page
