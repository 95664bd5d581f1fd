"""`edgesmith pack RUN --out FILE`: what a run made and what was found of it, one file to be checked offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesmith import records
from edgesmith.artifact import Exported, load_exported, sha256
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.kits.bom import bill
from edgesmith.kits.evidence import check_bundle, write_bundle
from edgesmith.kits.model_card import model_card
from edgesmith.report.html import render
from edgesmith.report.saved import report_file

LISTING = "bundle.json"


@dataclass(frozen=True)
class Packed:
    """One written bundle. signature: as `edgesmith inspect` says it without a key."""

    file: str
    targets: tuple[str, ...]
    files: int
    size_bytes: int
    signature: str


def make_bundle(
    run: Path, out: Path, targets: Sequence[str] = (), licence: str = "", key: Path | None = None
) -> Packed:
    """Write the evidence bundle of a run that has a report; it is read again before it counts as written.

    targets: those whose artefacts go in, all if none is named. licence: an SPDX expression for the weights.

    Raises: MissingResource for a run without report or artefacts, DamagedArtifact for an altered one, UsageError for
    an unknown target, a file that exists or a bad key.
    """
    report = records.read(report_file(run))
    try:
        exported = _artefacts(run, report, targets)
        parts = {name: _files(made) for name, made in exported.items()}
        files = _texts(report, parts, licence) | {name: path for own in parts.values() for name, path in own.items()}
        title, state = str(report["title"]), str(report["verdict"]["state"])
    except (KeyError, TypeError, AttributeError) as error:
        found = f"its report is none ({type(error).__name__}: {error})"
        raise DamagedArtifact(f"pack {run}", found, "run the same `edgesmith run` again") from error
    write_bundle(out, files, title, state, key)
    checked = check_bundle(out)
    signature = "signed" if key else checked.signature
    return Packed(str(out), tuple(exported), checked.files, out.stat().st_size, signature)


def _artefacts(run: Path, report: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Exported]:
    """What the report is about, every file checked."""
    root = run if run.is_dir() else run.parent
    key = report["provenance"].get("steps", {}).get("export", "")
    folder = root / f"export-{key[:8]}"
    if not key or not (folder / LISTING).is_file():
        found = f"no {folder.name}" if key else "the report names no export step"
        raise MissingResource(f"pack {run}", found, "run the same `edgesmith run` again")
    names = list(records.read(folder / LISTING)["exported"])
    if unknown := [name for name in wanted if name not in names]:
        raise UsageError(f"pack {', '.join(unknown)}", "the run did not make it", f"choose from {', '.join(names)}")
    return {name: load_exported(folder / name) for name in (wanted or names)}


def _files(made: Exported) -> dict[str, Path]:
    beside = sorted(path for path in made.root.rglob("*") if path.is_file())
    return {f"artifacts/{made.target}/{path.relative_to(made.root).as_posix()}": path for path in beside}


def _texts(report: Mapping[str, Any], parts: Mapping[str, Mapping[str, Path]], licence: str) -> dict[str, Any]:
    provenance = report["provenance"]
    digests = {target: {name: sha256(path) for name, path in own.items()} for target, own in parts.items()}
    versions = [f"{name}=={version}" for name, version in sorted(provenance.get("versions", {}).items())]
    texts = {
        "README.md": model_card(report, tuple(parts), licence),
        "report.html": render(report),
        "recipe.yaml": provenance.get("recipe", ""),
        "lock.txt": "\n".join(line for line in versions if not line.endswith("==absent")) + "\n",
    }
    plain = {
        "report.json": report,
        "verdicts.json": report["verdicts"],
        "data.json": {"digest": provenance.get("data")},
    }
    return (
        {name: text.encode() for name, text in texts.items()}
        | {name: records.as_bytes(value) for name, value in plain.items()}
        | {"bom.cdx.json": bill(report, digests, licence)}
    )
