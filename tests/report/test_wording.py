import pytest

from edgesmith.report import wording


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (wording.number, 0.01234, "0.0123"),
        (wording.number, -1234.5, "−1234"),
        (wording.number, 3.2e-7, "3.20e-07"),
        (wording.number, 0.0, "0"),
        (wording.number, None, "–"),
        (wording.milliseconds, 0.0421, "0.042"),
        (wording.milliseconds, 2.414, "2.41"),
        (wording.milliseconds, 12.71, "12.7"),
        (wording.milliseconds, 135.2, "135"),
        (wording.percent, 0.9736, "97.4 %"),
        (wording.points, 0.0025, "+0.25"),
        (wording.points, -0.0025, "−0.25"),
        (wording.points, 0.000001, "0.00"),
        (wording.times, 5.304, "5.30×"),
        (wording.size, 4_810_000, "4.81 MB"),
        (wording.size, 210_000_000, "210 MB"),
        (wording.size, 1_410, "1.4 KB"),
        (wording.size, 12, "12 B"),
        (wording.size, None, "–"),
    ],
)
def test_numbers_as_people_read_them(show, value: float | None, text: str):
    assert show(value) == text


def test_intervals():
    assert wording.ends({"low": 0.962, "high": 0.983}, wording.percent) == "96.2–98.3 %"
    assert wording.ends({"low": 2.4, "high": 2.5}, wording.times) == "2.40–2.50×"
    assert wording.ends({"low": -0.004, "high": 0.009}, wording.points) == "−0.40 to +0.90"
    assert wording.ends({"low": None, "high": 2.0}, wording.milliseconds) == "…–2.00"
    assert wording.ends({"low": None, "high": None}, wording.milliseconds) == ""


def test_metrics_and_questions():
    assert wording.metric(0.99913, "cosine") == "0.99913"
    assert wording.metric(0.5, "top1") == "50.0 %"
    assert wording.question("a <= 1, b >= 2") == "a ≤ 1, b ≥ 2"
    assert wording.metric_name("tar_all@1e-4") == "TAR, all pairs, FAR 1e-4"
    assert wording.metric_name("cosine") == "Cosine"
    assert wording.metric_name("far_kept@1e-3") == "FAR at the original's threshold of FAR 1e-3"
    assert wording.metric(0.001216, "far_kept@1e-3") == "0.1216 %"
