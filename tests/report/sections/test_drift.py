from __future__ import annotations

from typing import Any

from edgesmith.records import to_json
from edgesmith.report.html import render
from edgesmith.report.sections.drift import section
from edgesmith.results import Drift, Suspect, TargetDrift
from tests.report.sample import report
from tests.report.test_chart import spec

EVIL = "<script>alert(1)</script>"


def shown(*found: TargetDrift) -> dict[str, Any]:
    return {**report(), "drift": to_json(found)}


def test_a_target_has_both_errors_its_first_layer_and_the_cause() -> None:
    rows = (
        Drift("stem", "Conv", 40.0, 0.9999, 0.1, 45.0, 0.99999, 0.5),
        Drift("head", "Gemm", 5.0, 0.8, 2.0, 6.0, 0.8, 9.0),
    )
    suspects = (Suspect("head", 9.0, "saturated range", "3 % at the end"),)
    part = section(shown(TargetDrift("ort-int8", "onnxruntime", rows, suspects, 8, ("tapping changed the outputs",))))
    assert part is not None
    assert [trace["y"] for trace in spec(part.body)["data"]] == [[40.0, 5.0], [45.0, 6.0]]
    for text in ("first at head", "saturated range; 3 % at the end", "tapping changed the outputs", "8 samples"):
        assert text in part.body


def test_local_errors_that_were_not_measured_accuse_and_acquit_nobody() -> None:
    part = section(shown(TargetDrift("a", "b", (Drift("stem", "Conv", 40.0, 0.9, 0.1),), (), 8, ("no taps",))))
    assert part is not None and "leaves the original is not measured" in part.body and "explains" not in part.body
    assert len(spec(part.body)["data"]) == 1
    part = section(shown(TargetDrift("a", "b", (), (), 0, ("cannot show what is inside",))))
    assert part is not None and "not measured" in part.body and "data-plot" not in part.body


def test_names_are_escaped_wherever_they_stand() -> None:
    one = TargetDrift(
        "a",
        EVIL,
        (Drift(EVIL, EVIL, 1.0, 0.5, 1.0, 1.0, 0.5, 3.0, (EVIL,)),),
        (Suspect(EVIL, 3.0, EVIL, EVIL),),
        1,
        (EVIL,),
    )
    page = render(shown(one))
    assert EVIL not in page and 'id="drift"' in page


def test_without_a_comparison_there_is_no_such_part() -> None:
    assert section(report()) is None
