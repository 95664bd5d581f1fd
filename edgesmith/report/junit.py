"""Verdicts as JUnit XML, which CI systems show: a suite a target, a test case a verdict."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

# What XML 1.0 cannot hold, not even escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAGS = {"fail": "failure", "inconclusive": "error", "not_measured": "skipped"}
_COUNTS = {"failures": "fail", "errors": "inconclusive", "skipped": "not_measured"}


def junit(report: Mapping[str, Any]) -> bytes:
    """The report's verdicts as an XML file: fail is a failure, inconclusive an error, not_measured a skip."""
    verdicts = report["verdicts"]
    root = ET.Element("testsuites", {"name": _clean(report["title"]), **_counted(verdicts)})
    for target in dict.fromkeys(v["target"] for v in verdicts):
        own = [v for v in verdicts if v["target"] == target]
        suite = ET.SubElement(root, "testsuite", {"name": _clean(target), **_counted(own)})
        for verdict in own:
            _case(suite, verdict)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _case(suite: ET.Element, verdict: Mapping[str, Any]) -> None:
    case = ET.SubElement(suite, "testcase", classname=_clean(verdict["target"]), name=_clean(verdict["check"]))
    asked, found = _clean(verdict["asked"]), _clean(verdict["found"])
    more = f"; about {verdict['more']} samples more would decide" if verdict.get("more") else ""
    tag = _TAGS.get(verdict["state"])
    if tag is None:
        ET.SubElement(case, "system-out").text = f"asked for {asked}; found {found}"
        return
    ET.SubElement(case, tag, message=f"{verdict['state']}: {asked}").text = f"found {found}{more}"


def _counted(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    states = [v["state"] for v in verdicts]
    return {"tests": str(len(states)), **{name: str(states.count(state)) for name, state in _COUNTS.items()}}


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", str(text))
