import io
import tarfile

import pytest

from edgesmith.data.archive import picture_names, pictures
from edgesmith.errors import DamagedArtifact, UntrustedFile


def pack(path, members) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_tar_and_folder_give_the_same(tmp_path) -> None:
    pack(tmp_path / "a.tar", [("b/2.jpg", b"two"), ("a/1.png", b"one"), ("notes.txt", b"no")])
    for name, content in (("b/2.jpg", b"two"), ("a/1.png", b"one")):
        (tmp_path / "f" / name).parent.mkdir(parents=True)
        (tmp_path / "f" / name).write_bytes(content)
    for source in (tmp_path / "a.tar", tmp_path / "f"):
        assert picture_names(source) == ["a/1.png", "b/2.jpg"]
        assert dict(pictures(source, {"b/2.jpg"})) == {"b/2.jpg": b"two"}


@pytest.mark.parametrize("name", ["../out.jpg", "/etc/out.jpg", "a/../../out.jpg"])
def test_a_member_that_points_outside_is_refused(tmp_path, name) -> None:
    pack(tmp_path / "a.tar", [(name, b"x")])
    with pytest.raises(UntrustedFile, match=r"out\.jpg"):
        picture_names(tmp_path / "a.tar")


def test_a_link_is_refused(tmp_path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(UntrustedFile, match="link"):
        picture_names(tmp_path / "a.tar")


def test_what_is_no_archive_is_damaged(tmp_path) -> None:
    (tmp_path / "a.tar").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(DamagedArtifact):
        picture_names(tmp_path / "a.tar")
