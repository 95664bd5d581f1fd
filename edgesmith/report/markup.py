"""Pieces of the page: tables, numbers with their interval, states, parts that fold. Cells are HTML, labels are text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from edgesmith.report import wording


def table(head: Sequence[str], rows: Iterable[Sequence[str]], label: str, numeric_from: int = 1, kind: str = "") -> str:
    """A table in a box of its own that scrolls and takes the keyboard. Cells are HTML; the header is text."""
    side = [' class="n"' if i >= numeric_from else "" for i in range(len(head))]
    header = "".join(f'<th scope="col"{s}>{escape(text)}</th>' for s, text in zip(side, head))
    body = "".join(f'<tr><th scope="row">{row[0]}</th>{_cells(row, side)}</tr>' for row in rows)
    return (
        f'<div class="scroll {kind}" role="region" aria-label="{escape(label)}" tabindex="0">'
        f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(row: Sequence[str], side: Sequence[str]) -> str:
    """The cells after the row's name; the last of a row that is too short takes the columns that are left."""
    spans = [""] * (len(row) - 2) + [f' colspan="{len(side) - len(row) + 1}"' if len(row) < len(side) else ""]
    return "".join(f"<td{s}{span}>{text}</td>" for s, span, text in zip(side[1:], spans, row[1:]))


def cell(value: Mapping[str, Any] | None, show: Callable[[float | None], str]) -> str:
    """A number above its interval; why it is missing otherwise."""
    if not value:
        return '<span class="soft">–</span>'
    if value.get("same"):
        return '<span class="soft">itself</span>'
    if "not_measured" in value:
        return f'<span class="soft" title="{escape(value["not_measured"])}">not measured</span>'
    ends = wording.ends(value, show)
    return escape(show(value["value"])) + (f'<small class="soft">{escape(ends)}</small>' if ends else "")


def small(text: str) -> str:
    """A second line in small print; nothing for no text."""
    return f'<small class="soft">{escape(text)}</small>' if text else ""


def note(text: str) -> str:
    """A line under a figure; nothing for no text. Takes HTML."""
    return f'<p class="again">{text}</p>' if text else ""


def chip(state: str) -> str:
    """A state as a mark and a word, so that colour alone never carries it."""
    mark, word = wording.STATE_MARK[state], wording.STATE_WORD[state]
    return f'<span class="chip s-{escape(state)}"><span aria-hidden="true">{mark}</span>{word}</span>'


def verbatim(text: str, label: str) -> str:
    """Text as it was written, in a box of its own."""
    return f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><pre>{escape(text)}</pre></div>'


@dataclass(frozen=True)
class Part:
    """A section of the page. name: of its anchor. what: beside the title, in small print. is_open: not folded away."""

    name: str
    title: str
    body: str
    what: str = ""
    is_open: bool = True


def shown(part: Part) -> str:
    """A section that can be folded away."""
    state = " open" if part.is_open else ""
    return (
        f'<details class="part" id="{part.name}"{state}><summary><h2>{escape(part.title)}</h2> '
        f'<span class="soft">{escape(part.what)}</span></summary>{part.body}</details>'
    )
