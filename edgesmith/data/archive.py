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
    with opened(source) as tar:
        return sorted(member.name for member in _pictures(tar, source))


def pictures(source: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """(name, file content) of the wanted pictures, in the order of the source."""
    if source.is_dir():
        for name in sorted(wanted):
            yield name, (source / name).read_bytes()
        return
    with opened(source) as tar:
        for member in _pictures(tar, source):
            file = tar.extractfile(member) if member.name in wanted else None
            if file is not None:
                yield member.name, file.read()


def opened(source: Path) -> tarfile.TarFile:
    """A tar archive, to be closed by the caller. Raises: DamagedArtifact."""
    try:
        return tarfile.open(source)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DamagedArtifact(f"read archive {source}", str(error), "fetch it again") from error


def _pictures(tar: tarfile.TarFile, source: Path) -> Iterator[tarfile.TarInfo]:
    return (member for member in plain_files(tar, source) if PurePosixPath(member.name).suffix.lower() in SUFFIXES)


def plain_files(tar: tarfile.TarFile, source: Path) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, in its order. Raises: UntrustedFile for links, paths that point outside, huge files."""
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
            yield member
    except (tarfile.TarError, EOFError) as error:
        raise DamagedArtifact(asked, str(error), "fetch it again") from error
