"""Pictures of a folder or of a tar archive, one after the other, nothing unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgesmith.data.images import SUFFIXES
from edgesmith.errors import DamagedArtifact, UntrustedFile

MEMBER_BYTES = 64 << 20


def picture_names(source: Path) -> list[str]:
    """Names of all pictures, "person/file.jpg", sorted. Raises: UntrustedFile, DamagedArtifact."""
    if source.is_dir():
        paths = (path for path in source.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
        return sorted(path.relative_to(source).as_posix() for path in paths)
    with _opened(source) as tar:
        return sorted(member.name for member in _members(tar, source))


def pictures(source: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """(name, file content) of the wanted pictures, in the order of the source."""
    if source.is_dir():
        for name in sorted(wanted):
            yield name, (source / name).read_bytes()
        return
    with _opened(source) as tar:
        for member in _members(tar, source):
            file = tar.extractfile(member) if member.name in wanted else None
            if file is not None:
                yield member.name, file.read()


def _opened(source: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(source)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DamagedArtifact(f"read archive {source}", str(error), "fetch it again") from error


def _members(tar: tarfile.TarFile, source: Path) -> Iterator[tarfile.TarInfo]:
    asked = f"read archive {source}"
    try:
        for member in tar:
            if member.isdir():
                continue
            parts = PurePosixPath(member.name).parts
            if not member.isreg() or member.name.startswith("/") or ".." in parts:
                raise UntrustedFile(asked, f"member {member.name!r} is a link, or points outside", "repack plain files")
            if member.size > MEMBER_BYTES:
                raise UntrustedFile(asked, f"member {member.name!r} has {member.size} bytes", "repack plain pictures")
            if PurePosixPath(member.name).suffix.lower() in SUFFIXES:
                yield member
    except (tarfile.TarError, EOFError) as error:
        raise DamagedArtifact(asked, str(error), "fetch it again") from error
