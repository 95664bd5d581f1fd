"""An evidence bundle: one zip with a manifest of the sha256 of every other file, and perhaps a signature of that.

The manifest is an in-toto statement (in-toto.io/Statement/v1), the signature a DSSE envelope around it. Checksums
detect damage; whoever can change a file can change them too, and only the signature detects that.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import edgesmith
from edgesmith.artifact import building_file
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.plugins import missing_package

MANIFEST = "manifest.json"
SIGNATURE = "manifest.dsse.json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:edgesmith:evidence:1"
# Weights hardly shrink and JSON does by 20; what promises to grow more than this is made to fill a disk.
MOST_GROWTH = 200
FREE_BYTES = 1 << 26
MOST_FILES = 10_000
MOST_MANIFEST_BYTES = 1 << 24
_CHUNK = 1 << 20
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises on bytes that are no zip, or no longer.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError,
    OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What a bundle holds, after every file matched its manifest.

    state: the verdict of the run. signature: by which key it is signed, or why nobody can tell.
    """

    title: str
    state: str
    edgesmith: str
    files: int
    bytes: int
    signature: str


def write_bundle(out: Path, files: Mapping[str, bytes | Path], title: str, state: str, key: Path | None) -> None:
    """Write files (name in the zip -> content, or the file it lies in) with their manifest; the same give the same zip.

    Raises: UsageError where `out` exists or the key is none, MissingResource on a full disk or without a folder.
    """
    if out.exists():
        raise UsageError(f"write {out}", "it exists already", "name a file that does not exist")
    if not out.parent.is_dir():
        raise MissingResource(f"write {out}", f"no folder {out.parent}", "make it first")
    manifest = _manifest(files, title, state)
    last: dict[str, bytes | Path] = {MANIFEST: manifest}
    if key is not None:
        last[SIGNATURE] = _signing().sign(manifest, key)
    with building_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in [*sorted(files.items()), *last.items()]:
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for chunk in _chunks(content):
                    member.write(chunk)


def check_bundle(path: Path, key: Path | None = None) -> Evidence:
    """Read a bundle without unpacking it, and hold every file against the manifest.

    Raises: DamagedArtifact naming everything that was altered, added, taken out or that would land outside the folder,
    or where it is not signed by `key`; MissingResource.
    """
    asked = f"inspect {path}"
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_unsafe(asked, archive, path.stat().st_size)
            signature = _signature(asked, archive, key)
            stated = _stated(asked, _read(asked, archive, MANIFEST))
            _compare(asked, archive, stated["digests"])
            total = sum(member.file_size for member in archive.infolist())
    except FileNotFoundError as error:
        raise MissingResource(asked, "no such file", "check the path") from error
    except _BROKEN as error:
        raise DamagedArtifact(asked, f"it is no whole zip ({error})", "ask for it again") from error
    facts = stated["predicate"]
    told = {name: str(facts.get(name, "")) for name in ("title", "state", "edgesmith")}
    return Evidence(**told, files=len(stated["digests"]), bytes=total, signature=signature)


def _chunks(content: bytes | Path) -> Any:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _digest(chunks: Any) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _manifest(files: Mapping[str, bytes | Path], title: str, state: str) -> bytes:
    subject = [{"name": name, "digest": {"sha256": _digest(_chunks(files[name]))}} for name in sorted(files)]
    predicate = {"title": title, "state": state, "edgesmith": edgesmith.__version__}
    statement = {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE, "predicate": predicate}
    return (json.dumps(statement, indent=1) + "\n").encode()


def _refuse_unsafe(asked: str, archive: zipfile.ZipFile, size: int) -> None:
    """Nothing is unpacked here, but the next one may unpack it: what would harm him is refused."""
    todo = "do not unpack it; ask its maker what it is"
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(names) > MOST_FILES:
        raise DamagedArtifact(asked, f"it holds {len(names)} files", todo)
    promised = sum(member.file_size for member in members)
    if promised > max(FREE_BYTES, MOST_GROWTH * size):
        raise DamagedArtifact(asked, f"its {size:,} bytes would become {promised:,}: a zip bomb", todo)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DamagedArtifact(asked, f"it holds {twice[0]!r} twice", todo)
    for member in members:
        if not _is_inside(member.orig_filename):
            raise DamagedArtifact(asked, f"{member.orig_filename!r} would be written outside its folder", todo)
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise DamagedArtifact(asked, f"{member.filename!r} is a link", todo)
        if member.compress_type not in _KINDS or member.flag_bits & 1:
            raise DamagedArtifact(asked, f"{member.filename!r} is packed in a way that we never use", todo)


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    plain = not any(character in name for character in "\\:\0")
    return bool(parts) and plain and not name.startswith("/") and ".." not in parts


def _read(asked: str, archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        if archive.getinfo(name).file_size > MOST_MANIFEST_BYTES:
            raise DamagedArtifact(asked, f"its {name} is too large to be ours", "ask for it again")
        return archive.read(name)
    except KeyError as error:
        raise DamagedArtifact(asked, f"no {name}: it is no evidence bundle", "name one of `edgesmith pack`") from error
    except _BROKEN as error:
        raise DamagedArtifact(asked, f"{name} was altered ({error})", "ask for it again") from error


def _signature(asked: str, archive: zipfile.ZipFile, key: Path | None) -> str:
    if SIGNATURE not in archive.namelist():
        if key is not None:
            raise DamagedArtifact(asked, "it is not signed", f"ask for a bundle that is signed by {key}")
        return "none: checksums detect damage, not tampering"
    if key is None:
        return "not checked: give the public key of its maker by --key"
    signing = _signing()
    envelope = _read(asked, archive, SIGNATURE)
    owner = signing.verify(envelope, key)
    if signing.signed_payload(envelope) != _read(asked, archive, MANIFEST):
        raise DamagedArtifact(asked, f"{MANIFEST} was altered: it is not what was signed", "ask for it again")
    return f"good, by key {owner}"


def _stated(asked: str, manifest: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(manifest)
        digests = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
        known = statement["_type"] == STATEMENT and statement["predicateType"] == PREDICATE
        if not known or len(digests) != len(statement["subject"]):
            raise ValueError("a statement of another kind")
        return {"digests": digests, "predicate": dict(statement["predicate"])}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedArtifact(asked, f"{MANIFEST} was altered ({error})", "ask for it again") from error


def _compare(asked: str, archive: zipfile.ZipFile, digests: Mapping[str, str]) -> None:
    there = set(archive.namelist()) - {MANIFEST, SIGNATURE}
    problems = [f"{name} is missing" for name in sorted(set(digests) - there)]
    problems += [f"{name} was added" for name in sorted(there - set(digests))]
    for name in sorted(there & set(digests)):
        try:
            with archive.open(name) as file:
                same = _digest(iter(lambda: file.read(_CHUNK), b"")) == digests[name]
        except _BROKEN:
            same = False
        if not same:
            problems.append(f"{name} was altered")
    if problems:
        raise DamagedArtifact(asked, "; ".join(problems), "do not use it; ask for it again")


def _signing() -> Any:
    """The signing library, which a bundle without a signature does not need."""
    try:
        from edgesmith.kits import signing
    except ModuleNotFoundError as error:
        raise missing_package(error, "sign, or check a signature") from error
    return signing
