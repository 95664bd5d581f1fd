"""One self-contained page from a report: no network, every text escaped, no script but the two that it brings along."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from edgesmith import records
from edgesmith.report import wording
from edgesmith.report.markup import Part, shown
from edgesmith.report.sections import (
    accuracies,
    agreements,
    corrections,
    drift,
    drops,
    energy,
    gaps,
    latency,
    layers,
    pareto,
    placement,
    provenance,
    search,
    targets,
    training,
    verdicts,
)

Report = Mapping[str, Any]
Section = Callable[[Report], Part | None]  # None where the report has nothing for it
SECTIONS: tuple[Section, ...] = (
    targets.section,
    verdicts.section,
    pareto.section,
    latency.section,
    layers.section,
    drift.section,
    placement.section,
    energy.section,
    accuracies.section,
    agreements.section,
    corrections.section,
    drops.section,
    training.section,
    search.section,
    gaps.section,
    provenance.section,
)
SCRIPTS = ("vendor/plotly-basic.min.js", "page.js")  # plotly.js is under the MIT licence, beside it


def render(report: Report) -> str:
    """The page as text. The report is what collect() made, or the same read back from JSON."""
    verdict, date = report["verdict"], report["provenance"].get("date", "")
    parts = [part for section in SECTIONS if (part := section(report)) is not None]
    title, details = report["title"], _details(verdict["details"])
    return fill(title, verdict["state"], verdict["word"], verdict["line"], parts, _facts(report), details, date)


def fill(
    title: str, state: str, word: str, line: str, parts: Sequence[Part], facts: str, details: str = "", date: str = ""
) -> str:
    """The frame of a page around its parts. facts and details are HTML, the others text."""
    scripts, hashes = _scripts()
    return Template(_file("template.html")).substitute(
        title=escape(title),
        date=escape(f", {date}" if date else ""),
        state=escape(state),
        word=escape(word),
        line=escape(line),
        details=details,
        facts=facts,
        links="".join(f'<li><a href="#{part.name}">{escape(part.title)}</a></li>' for part in parts),
        sections="\n".join(shown(part) for part in parts),
        hashes=hashes,
        scripts=scripts,
    )


def write(path: Path, report: Report) -> None:
    """Write the page, whole or not at all."""
    records.write_bytes(path, render(report).encode())


@cache
def _file(name: str) -> str:
    return resources.files("edgesmith.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _scripts() -> tuple[str, str]:
    """The scripts as elements, and their digests: the page's policy lets nothing else run."""
    texts = [_file(name) for name in SCRIPTS]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return "".join(f"<script>{text}</script>" for text in texts), " ".join(f"'sha256-{d}'" for d in digests)


def _details(found: Sequence[str]) -> str:
    """The verdicts that decided, the first four of them; the rest stands in the table of verdicts."""
    lines = [wording.question(text) for text in found[:4]]
    lines += [f"and {len(found) - 4} more, below"] if len(found) > 4 else []
    return f'<ul class="decided">{"".join(f"<li>{escape(text)}</li>" for text in lines)}</ul>' if lines else ""


def _facts(report: Report) -> str:
    device, drift = report["device"], report["sentinel_drift"]
    found = [("Reference", report["reference"] or "none")]
    if device:
        memory = f"{device['memory_bytes'] / 2**30:.0f} GiB"
        found += [
            ("Device", device["name"]),
            ("Processor", f"{device['cpu']}, {device['cores']} cores, {device['instruction_set']}"),
            ("Memory", memory),
            ("System", f"{device['os']}, Python {device['python']}"),
        ]
        found += [("Accelerator", device["accelerator"])] if device.get("accelerator") else []
        found += [("Clock governor", device["governor"])] if device.get("governor") else []
        found.append(("Machine's own drift", wording.percent(drift) if drift is not None else "not measured"))
    return f'<dl class="facts">{"".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in found)}</dl>'
