import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edgesmith.report import html
from edgesmith.report.collect import collect
from edgesmith.results import Accuracy, BenchRecord, Interval, Verdict
from tests.report.sample import DEVICE, accuracy, measured, report

EVIL = "<script>alert('x')</script>\"&$title"
VOID = {"meta", "br", "path", "circle", "rect"}


class Reader(HTMLParser):
    """Collects tags, checks that they nest, and keeps the visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data: str) -> None:
        self.text += data


def own(page: str) -> str:
    """The page without the two scripts that come with the package."""
    for script in html._scripts()[0].split("</script>")[:-1]:
        assert page.count(script) == 1
        page = page.replace(f"{script}</script>", "")
    return page


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(own(page))
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_says_what_the_report_says():
    reader = read(html.render(report("fail")))
    for text in (
        "A small run",
        "Fail",
        "1 of 2 required targets",
        "ort-int8",
        "96.0 %",
        "+1.00",
        "no CUDA device here",
    ):
        assert text in reader.text
    assert "no operator for aten.foo" in reader.text and "a.gif: not a picture" in reader.text
    assert "seed: 0" in reader.text and "2.13.0" in reader.text
    assert "accuracy drop ≤ 0.01" in reader.text


@pytest.mark.parametrize("state", ["pass", "fail", "inconclusive", "not_measured"])
def test_it_is_one_file_without_other_scripts_or_network(state: str):
    whole = html.render(report(state))
    page, reader = own(whole), read(whole)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in reader.tags}
    assert not re.search(r"https?://|url\(|@import|//[a-z]", page)
    assert all(not name.startswith("on") for _, attrs in reader.tags for name in attrs)
    assert len(page.encode()) < 1_000_000


def test_nothing_runs_but_the_two_scripts_whose_digests_the_page_names():
    page = html.render(report())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and "default-src 'none'" in policy.group(1)
    assert "script-src 'unsafe" not in policy.group(1)
    bodies = re.findall(r"<script>(.*?)</script>", page, re.S)
    digests = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]
    assert len(bodies) == 2 and re.findall(r"'sha256-([^']+)'", policy.group(1)) == digests


def test_text_never_becomes_markup():
    rows = (measured("torch-fp32", 10.0), measured(EVIL, 2.0))
    found = report(
        title=EVIL,
        required=[EVIL],
        bench=BenchRecord(DEVICE, rows, "torch-fp32", (1.0, 1.0)),
        accuracies=[accuracy("torch-fp32", 0.9), accuracy(EVIL, 0.9, Interval(0.0, -0.1, 0.1))],
        agreements=[],
        verdicts=[Verdict(EVIL, EVIL, "fail", EVIL, EVIL)],
        failures={EVIL + "2": EVIL},
        histories={EVIL: [{"epoch": 0, EVIL: 1.0}, {"epoch": 1, EVIL: 2.0}]},
        skipped=[EVIL],
        provenance={"command": EVIL, "recipe": EVIL, "versions": {EVIL: EVIL}, "note": EVIL, "date": EVIL},
    )
    reader = read(html.render(found))
    assert "script" not in {tag for tag, _ in reader.tags}
    assert reader.text.count(EVIL) > 10  # there as text, dollar sign and all
    assert {attrs.get("class", "").split(" ")[0] for tag, attrs in reader.tags if tag == "tr"} == {""}


def test_it_can_be_made_again_from_json_alone(tmp_path: Path):
    found = report()
    again = json.loads(json.dumps(found))
    html.write(tmp_path / "report.html", again)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html.render(found)


def test_it_can_be_read_without_a_mouse_or_eyes():
    reader = read(html.render(report()))
    boxes = [attrs for tag, attrs in reader.tags if "scroll" in (attrs.get("class") or "")]
    assert boxes and all(attrs["tabindex"] == "0" and attrs["aria-label"] for attrs in boxes)
    plots = [attrs for _, attrs in reader.tags if attrs.get("class") == "plot"]
    assert len(plots) == 4  # accuracy and latency, latencies, two curves
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 40 for attrs in plots)
    assert not any(re.search("NaN|Infinity", attrs["data-plot"] or "") for attrs in plots)
    assert ("html", {"lang": "en"}) in reader.tags
    assert all("scope" in attrs for tag, attrs in reader.tags if tag == "th")
    assert ("a", {"class": "skip", "href": "#targets"}) in reader.tags and "targets" in {
        a.get("id") for _, a in reader.tags
    }
    links = {a["href"] for tag, a in reader.tags if tag == "a"}
    assert links == {f"#{a['id']}" for tag, a in reader.tags if tag == "details" and a.get("id")}


def test_light_dark_print_and_small_screens_are_in_the_sheet():
    page = html.render(report())
    for rule in (
        "prefers-color-scheme: dark",
        "@media print",
        "max-width: 640px",
        "overflow-x: auto",
        "width=device-width",
    ):
        assert rule in page
    light, dark, ink = (set(re.findall(r"--[\w-]+(?=:)", block)) for block in sheets(page))
    assert light == dark and ink < light  # no colour is forgotten in dark; print is light but for its ground


def test_contrast_of_text_in_light_and_dark():
    page = html.render(report())
    light, dark, _ = sheets(page)
    for block in (light, dark):
        colours = dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{3,6})", block))
        for name in ("ink", "soft", "pass", "fail", "inconclusive", "not_measured", "reference"):
            for ground in ("card", "paper", "hover"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


def sheets(page: str) -> list[str]:
    """The colours of light, dark and print."""
    return re.findall(r":root(?::not\(\[data-printing\]\))? \{(.*?)\}", own(page), re.S)


def contrast(first: str, second: str) -> float:
    lights = sorted((luminance(first), luminance(second)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_an_empty_report_is_a_page_too():
    reader = read(html.render(collect(title="nothing")))
    assert "Nothing was required of any target." in reader.text
    assert "plot" not in {attrs.get("class") for _, attrs in reader.tags}


def test_overhead_is_told_under_the_table():
    rows = (measured("torch-fp32", 10.0), measured("ort-int8", 0.1))
    fast = html.render(report(bench=BenchRecord(DEVICE, rows, "torch-fp32", (1.0, 1.0))))
    assert "† p50 under 0.2 ms" in fast
    assert "†" not in own(html.render(report()))


def test_ten_targets_with_many_samples_stay_under_three_megabytes():
    rows = tuple(measured(f"t{i}-fp32", 1.0 + i, blocks=20, size=100) for i in range(10))
    page = html.render(report(bench=BenchRecord(DEVICE, rows, "t0-fp32", (1.0, 1.0))))
    assert len(page.encode()) < 3_000_000


def test_a_target_whose_outputs_are_nan_has_a_row_and_no_point():
    broken = Accuracy("ort-int8", "top1", Interval(float("nan"), None, None), None, 500, {"non_finite": 500.0})
    found = report(accuracies=[accuracy("torch-fp32", 0.97), broken], agreements=[])
    page = html.render(json.loads(json.dumps(found)))
    told = re.search(r'aria-label="Top-1 against p50 latency([^"]*)"', page)
    assert told is not None and "torch-fp32" in told.group(1) and "ort-int8" not in told.group(1)
