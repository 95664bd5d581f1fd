"""Two runs side by side as one self-contained page: verdicts, accuracy, times, sizes, and where they were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgesmith.report.compare import HEADER, Change, compare
from edgesmith.report.html import fill
from edgesmith.report.markup import Part, table

Report = Mapping[str, Any]
DECIDED = ("changed", "added", "gone")
CHIPS = {"changed": "inconclusive", "not comparable": "not_measured", "added": "reference", "gone": "fail"}
ABOUT = "more than noise is what the 95 % interval of the difference decides"


def render(before: Report, after: Report) -> str:
    """The page as text; both reports are what collect() made, or the same read back from JSON."""
    changes = compare(before, after)
    decided = [change for change in changes if change.kind in DECIDED]
    unlike = sum(change.kind == "not comparable" for change in changes)
    line = f"{len(decided)} of {len(changes)} numbers are more than noise; {unlike} cannot be compared."
    parts = [Part("changes", "What changed", _table(decided), ABOUT)] if decided else []
    parts.append(Part("all", "Every number", _table(changes), is_open=not decided))
    parts.append(Part("environment", "Where they were taken", _environment(before, after), "what differs is marked"))
    title, state = f"{before['title']} and {after['title']}", "inconclusive" if decided else "pass"
    facts = "".join(f"<div><dt>{word}</dt><dd>{_name(report)}</dd></div>" for word, report in _runs(before, after))
    word = "Changed" if decided else "Nothing beyond noise"
    return fill(title, state, word, line, parts, f'<dl class="facts">{facts}</dl>')


def _runs(before: Report, after: Report) -> tuple[tuple[str, Report], ...]:
    return ("Before", before), ("After", after)


def _name(report: Report) -> str:
    date = report["provenance"].get("date", "")
    return escape(f"{report['title']}, {date}" if date else report["title"])


def _table(changes: Sequence[Change]) -> str:
    rows = []
    for c in changes:
        state = CHIPS.get(c.kind, "")
        kind = f'<span class="chip s-{state}">{c.kind}</span>' if state else f'<span class="soft">{c.kind}</span>'
        rows.append([*map(escape, (c.target, c.what, c.before, c.after)), _wrapped(c.change), kind])
    head = [text[:1].upper() + text[1:] for text in HEADER]
    return table(head, rows, "Changes", 9)


def _wrapped(text: str) -> str:
    return f'<div class="wrap">{escape(text)}</div>' if len(text) > 40 else escape(text)


def _environment(before: Report, after: Report) -> str:
    """Facts of the machine, versions of packages, and whether recipe and data are the same."""
    rows = []
    for name, one, two in (fact for fact in _facts(before, after) if fact[1:] != ("–", "–")):
        same = one == two
        mark = '<span class="soft">same</span>' if same else '<span class="chip s-inconclusive">differs</span>'
        rows.append([escape(name), _wrapped(one), _wrapped(two), mark])
    return table(("Fact", "Before", "After", ""), rows, "Where they were taken", 9)


def _facts(before: Report, after: Report) -> list[tuple[str, str, str]]:
    one, two = ({k: _text(v) for k, v in (report.get("device") or {}).items()} for report in (before, after))
    found = [(f"device: {k.replace('_', ' ')}", one.get(k, "–"), two.get(k, "–")) for k in dict.fromkeys([*one, *two])]
    old, new = before["provenance"], after["provenance"]
    versions = [report.get("versions") or {} for report in (old, new)]
    for name in dict.fromkeys([*versions[0], *versions[1]]):
        found.append((f"version of {name}", _text(versions[0].get(name)), _text(versions[1].get(name))))
    found += [(name, _text(old.get(name)), _text(new.get(name))) for name in ("command", "data", "recipe")]
    return found


def _text(value: Any) -> str:
    return "–" if value is None else str(value)
