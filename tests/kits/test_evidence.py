"""Bundles: the same bytes each time; whatever is altered is named; what would harm is refused unread."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesmith.errors import DamagedArtifact, MissingResource, UsageError
from edgesmith.kits import signing
from edgesmith.kits.evidence import MANIFEST, SIGNATURE, check_bundle, write_bundle

FILES = {"a.txt": b"first", "artifacts/x/model.bin": bytes(range(256)) * 64}


def bundle(folder: Path, key: Path | None = None, name: str = "m.edgesmith.zip") -> Path:
    write_bundle(folder / name, FILES, "Small", "pass", key)
    return folder / name


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The same zip with members changed, as somebody with a zip program would."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    out = path.with_name(f"changed-{path.name}")
    with zipfile.ZipFile(out, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return out


def test_a_bundle_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    found = check_bundle(bundle(tmp_path))
    assert (found.title, found.state, found.files) == ("Small", "pass", 2)
    assert found.signature.startswith("none")
    assert (
        bundle(tmp_path).name
        if False
        else bundle(tmp_path, name="again.zip").read_bytes() == (tmp_path / "m.edgesmith.zip").read_bytes()
    )


def test_a_signature_is_checked_by_the_key_of_its_maker(tmp_path: Path) -> None:
    public = signing.new_key(tmp_path / "mine")
    other = signing.new_key(tmp_path / "other")
    path = bundle(tmp_path, tmp_path / "mine")
    assert check_bundle(path).signature.startswith("not checked")
    assert check_bundle(path, public).signature.startswith("good")
    with pytest.raises(DamagedArtifact, match="none of its 1 signatures"):
        check_bundle(path, other)
    with pytest.raises(DamagedArtifact, match="not signed"):
        check_bundle(bundle(tmp_path, name="unsigned.zip"), public)
    with pytest.raises(DamagedArtifact, match="not signed"):
        check_bundle(rewritten(path, lambda members: members.pop(SIGNATURE)), public)


def test_all_that_was_altered_is_named(tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["a.txt"] = b"other"
        members.pop("artifacts/x/model.bin")
        members["new.txt"] = b""

    with pytest.raises(DamagedArtifact) as error:
        check_bundle(rewritten(bundle(tmp_path), change))
    for part in ("a.txt was altered", "artifacts/x/model.bin is missing", "new.txt was added"):
        assert part in error.value.found


def test_a_forged_manifest_passes_without_a_key_and_fails_with_it(tmp_path: Path) -> None:
    public = signing.new_key(tmp_path / "mine")

    def forge(members: dict[str, bytes]) -> None:
        write_bundle(tmp_path / "forged.zip", FILES | {"a.txt": b"forged"}, "Small", "pass", None)
        with zipfile.ZipFile(tmp_path / "forged.zip") as forged:
            members.update({name: forged.read(name) for name in forged.namelist()})

    path = rewritten(bundle(tmp_path, tmp_path / "mine"), forge)
    assert check_bundle(path).signature.startswith("not checked")
    with pytest.raises(DamagedArtifact, match=r"manifest\.json was altered"):
        check_bundle(path, public)


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    public = signing.new_key(tmp_path / "mine")
    path = bundle(tmp_path, tmp_path / "mine")
    whole, same = path.read_bytes(), 0
    with zipfile.ZipFile(path) as archive:
        before = {name: archive.read(name) for name in archive.namelist()}
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            check_bundle(path, public)
        except DamagedArtifact:
            continue
        with zipfile.ZipFile(path) as archive:  # dates and the like may change; what is read may not
            assert {name: archive.read(name) for name in archive.namelist()} == before
        same += 1
    assert same < len(whole) / 7 / 2


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_what_would_land_outside_is_refused(tmp_path: Path, name: str) -> None:
    path = rewritten(bundle(tmp_path), lambda members: members.update({name: b"x"}))
    with pytest.raises(DamagedArtifact, match="outside its folder"):
        check_bundle(path)


def test_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb, bomb.open("zeros", "w") as member:
        for _ in range(80):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 200_000
    with pytest.raises(DamagedArtifact, match="a zip bomb"):
        check_bundle(path)


def test_links_doubles_and_strange_packing_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DamagedArtifact, match="is a link"):
        check_bundle(tmp_path / "link.zip")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", "2")
    with pytest.raises(DamagedArtifact, match="twice"):
        check_bundle(tmp_path / "twice.zip")
    with zipfile.ZipFile(tmp_path / "bz2.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", "1")
    with pytest.raises(DamagedArtifact, match="never use"):
        check_bundle(tmp_path / "bz2.zip")


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(DamagedArtifact, match="no whole zip"):
        check_bundle(tmp_path / "text.zip")
    whole = bundle(tmp_path).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedArtifact, match="no whole zip"):
        check_bundle(tmp_path / "cut.zip")
    with pytest.raises(DamagedArtifact, match="no evidence bundle"):
        check_bundle(rewritten(bundle(tmp_path, name="n.zip"), lambda members: members.pop(MANIFEST)))
    for content in (b"", b"[]", json.dumps({"_type": "x", "subject": [], "predicateType": ""}).encode()):
        with pytest.raises(DamagedArtifact, match=r"manifest\.json was altered"):
            check_bundle(rewritten(tmp_path / "n.zip", lambda members, c=content: members.update({MANIFEST: c})))  # type: ignore[misc]
    with pytest.raises(MissingResource):
        check_bundle(tmp_path / "absent.zip")


def test_nothing_is_written_over_and_nothing_is_left_behind(tmp_path: Path) -> None:
    before = bundle(tmp_path).read_bytes()
    with pytest.raises(UsageError, match="exists"):
        bundle(tmp_path)
    assert (tmp_path / "m.edgesmith.zip").read_bytes() == before
    with pytest.raises(MissingResource):
        write_bundle(tmp_path / "no" / "m.zip", FILES, "Small", "pass", None)
    (tmp_path / "nokey").write_text("hello")
    with pytest.raises(UsageError, match="no private key"):
        bundle(tmp_path, tmp_path / "nokey", "unsigned.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.edgesmith.zip", "nokey"]
