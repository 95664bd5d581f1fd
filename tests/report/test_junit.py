import xml.etree.ElementTree as ET

from edgesmith.report.junit import junit


def verdict(check, target, state, found="x"):
    return {"check": check, "target": target, "state": state, "asked": "a <= 1 & b", "found": found, "more": 7}


def test_every_verdict_is_a_case_in_the_state_it_has():
    verdicts = [
        verdict("runs", "a", "pass"),
        verdict("cosine", "a", "fail", 'NaN in <"output">\x00'),
        verdict("p50_ms", "b", "inconclusive"),
        verdict("speedup", "b", "not_measured"),
    ]
    root = ET.fromstring(junit({"title": "a <title>\x1b", "verdicts": verdicts}))
    assert root.attrib == {
        "name": "a <title>\ufffd",
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    assert [suite.get("name") for suite in root] == ["a", "b"]
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert cases["runs"].find("failure") is None and "found x" in cases["runs"].find("system-out").text
    failure = cases["cosine"].find("failure")
    assert failure.get("message") == "fail: a <= 1 & b" and 'NaN in <"output">\ufffd' in failure.text
    assert "7 samples" in cases["p50_ms"].find("error").text and cases["speedup"].find("skipped") is not None
