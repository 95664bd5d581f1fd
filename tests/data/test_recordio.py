import struct

import pytest

from edgesmith.data.recordio import MAGIC, Record, open_records, packed, write_records
from edgesmith.errors import DamagedArtifact, MissingResource


def test_the_bytes_are_those_of_the_format_by_hand(tmp_path) -> None:
    # magic, flag 0 and length 27, header (0 labels, label 7, id 5, id2 0), "abc", one zero to a multiple of 4
    payload = struct.pack("<IfQQ", 0, 7.0, 5, 0) + b"abc"
    content = bytes.fromhex("0a23d7ce") + struct.pack("<I", 27) + payload + b"\0"
    (tmp_path / "a.rec").write_bytes(content + content)
    (tmp_path / "a.idx").write_text("3\t0\n9\t36\n")
    records = open_records(tmp_path / "a.rec")
    assert records.read(9) == records.read(3) == Record((7.0,), 5, b"abc") and len(records) == 2
    assert packed([7.0], b"abc", 5) == content


def test_several_labels_stand_before_the_picture(tmp_path) -> None:
    write_records(tmp_path / "a.rec", [((3.0, 12.0), b""), ((1.0,), b"one"), ((0.5, 2.0, 4.0), b"three")])
    records = open_records(tmp_path / "a.rec")
    assert [records.read_row(row).labels for row in range(3)] == [(3.0, 12.0), (1.0,), (0.5, 2.0, 4.0)]
    assert [records.read(key).image for key in (0, 1, 2)] == [b"", b"one", b"three"]
    with records.path.open("rb") as file:
        assert [records.label(row, file) for row in range(3)] == [3.0, 1.0, 0.5]


@pytest.mark.parametrize("image", [MAGIC, b"1234" + MAGIC + b"5678" + MAGIC, b"12" + MAGIC, MAGIC * 3 + b"x"])
def test_a_payload_with_the_magic_number_is_cut_there_and_joined_again(tmp_path, image) -> None:
    write_records(tmp_path / "a.rec", [((1.0,), image), ((2.0,), b"next")])
    records = open_records(tmp_path / "a.rec")
    assert records.read(0).image == image and records.read(1).image == b"next"
    aligned = any(image[at : at + 4] == MAGIC for at in range(0, len(image), 4))
    assert (tmp_path / "a.rec").read_bytes().count(MAGIC) == 2 + image.count(MAGIC)
    assert (packed([1.0], image)[7] >> 5 == 1) == aligned  # the first part says that more come


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"xxxx" + content[4:],
        lambda content: content[:-8],
        lambda content: content[:4] + struct.pack("<I", 2 << 29 | 27) + content[8:],
        lambda content: content[:4] + struct.pack("<I", 7 << 29 | 27) + content[8:],
        lambda content: content[:4] + struct.pack("<I", 4) + content[8:],
        lambda content: content[:4] + struct.pack("<I", (1 << 29) - 1) + content[8:],
        lambda content: content[:8] + struct.pack("<I", 4000) + content[12:],
        lambda content: content[:4] + struct.pack("<I", 1 << 29 | 27) + content[8:],
    ],
)
def test_damage_is_found_and_the_record_named(tmp_path, spoil) -> None:
    write_records(tmp_path / "a.rec", [((1.0,), b"abc")])
    (tmp_path / "a.rec").write_bytes(spoil((tmp_path / "a.rec").read_bytes()))
    with pytest.raises(DamagedArtifact, match="record 0"):
        open_records(tmp_path / "a.rec").read(0)


@pytest.mark.parametrize("index", ["0\tx\n", "0\n", "0\t999\n", "0\t-1\n", "1\t0\t2\n", "0\t0\n1\n"])
def test_a_broken_index_is_damaged(tmp_path, index) -> None:
    write_records(tmp_path / "a.rec", [((1.0,), b"abc")])
    (tmp_path / "a.idx").write_text(index)
    with pytest.raises(DamagedArtifact):
        open_records(tmp_path / "a.rec")


def test_absent_files_and_keys(tmp_path) -> None:
    write_records(tmp_path / "a.rec", [((1.0,), b"abc")])
    with pytest.raises(DamagedArtifact, match="key 4"):
        open_records(tmp_path / "a.rec").read(4)
    (tmp_path / "a.idx").unlink()
    with pytest.raises(MissingResource, match=r"a\.idx"):
        open_records(tmp_path / "a.rec")
