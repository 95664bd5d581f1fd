import pickle
from pathlib import Path

import numpy as np
import pytest

from edgesmith.data.verification_bin import read_bin
from edgesmith.errors import DamagedArtifact, MissingResource, UntrustedFile

# What Python 2 wrote for ([b"ab", b"c"], [True]) with protocol 2: byte strings are its plain strings.
PYTHON2 = b"\x80\x02]q\x01(U\x02abq\x02U\x01cq\x03e]q\x04\x88a\x86q\x05."


class Calls:
    """Writes a file when it is unpickled without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def write(folder: Path, content: bytes) -> Path:
    (folder / "a.bin").write_bytes(content)
    return folder / "a.bin"


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pairs_come_back(tmp_path, protocol) -> None:
    pictures = [bytes([index]) * 300 for index in range(6)]
    found = read_bin(write(tmp_path, pickle.dumps((pictures, [True, False, True]), protocol)))
    assert found.pictures == tuple(pictures) and found.same.tolist() == [True, False, True]


def test_the_public_files_are_python_2s(tmp_path) -> None:
    found = read_bin(write(tmp_path, PYTHON2))
    assert found.pictures == (b"ab", b"c") and found.same.tolist() == [True]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_file_that_calls_code_is_refused_and_nothing_runs(tmp_path, protocol) -> None:
    mark = tmp_path / "ran"
    path = write(tmp_path, pickle.dumps(([b"a", Calls(mark)], [True]), protocol))
    with pytest.raises(UntrustedFile):
        read_bin(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # the very file does run code for whoever trusts it
    assert mark.exists()


@pytest.mark.parametrize("made", [np.zeros(3), ([np.zeros(3, np.uint8)] * 2, [True]), {"a": 1}, ([b"a", b"b"], [1])])
def test_anything_but_bytes_lists_and_booleans_is_refused(tmp_path, made) -> None:
    with pytest.raises(UntrustedFile):
        read_bin(write(tmp_path, pickle.dumps(made, 4)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"JPEG",
        PYTHON2[:-1],
        PYTHON2[:9],
        b"\x80\x02e.",  # appends to nothing
        b"\x80\x02h\x05.",  # reads an empty slot
        b"\x80\x02]r\xff\xff\xff\x7f.",  # names slot 2**31
        pickle.dumps([b"a", b"b"], 4),
        pickle.dumps(([b"a", b"b", b"c"], [True]), 4),
        pickle.dumps(([], []), 4),
        pickle.dumps(([[b"a"], b"b"], [True]), 4),
        pickle.dumps(([b"a", b"b"], [b"1"]), 4),
    ],
)
def test_other_contents_are_damaged(tmp_path, content) -> None:
    with pytest.raises(DamagedArtifact):
        read_bin(write(tmp_path, content))


def test_an_absent_file(tmp_path) -> None:
    with pytest.raises(MissingResource):
        read_bin(tmp_path / "none.bin")
