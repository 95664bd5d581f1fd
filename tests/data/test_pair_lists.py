import pytest

from edgesmith.data.pair_lists import Pair, contiguous_folds, read_pairs
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError

PAIRS = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nCy\t1\t2\nCy\t2\tDee\t1\n"


def test_lfws_names_labels_and_folds(tmp_path) -> None:
    (tmp_path / "pairs.txt").write_text(PAIRS)
    found = read_pairs(tmp_path / "pairs.txt")
    assert found[1] == Pair("Ann/Ann_0001.jpg", "Bob/Bob_0001.jpg", False, 0)
    assert found[2] == Pair("Cy/Cy_0001.jpg", "Cy/Cy_0002.jpg", True, 1)


@pytest.mark.parametrize(
    "text", ["", "x\t1\n", "2\t1\nAnn\t1\t2\n", PAIRS.replace("Cy\t1\t2", "Cy\t1"), PAIRS.replace("\t2\n", "\tz\n")]
)
def test_a_broken_list_of_pairs_is_damaged(tmp_path, text) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(DamagedArtifact):
        read_pairs(tmp_path / "pairs.txt")


def test_paths_keep_their_order_and_are_cut_into_blocks(tmp_path) -> None:
    (tmp_path / "l.txt").write_text("./a/1.jpg a/2.jpg 1\n\na/1.jpg b/1.jpg 0\n../c/1.jpg b/1.jpg -1\n")
    assert read_pairs(tmp_path / "l.txt", "paths", folds=2) == [
        Pair("a/1.jpg", "a/2.jpg", True, 0),
        Pair("a/1.jpg", "b/1.jpg", False, 0),
        Pair("c/1.jpg", "b/1.jpg", False, 1),
    ]
    (tmp_path / "l.txt").write_text("a b/1.jpg\ta b/2.jpg\t1\nc d/1.jpg, e/1.jpg, 0\n")
    assert [pair.first for pair in read_pairs(tmp_path / "l.txt", "paths", folds=2)] == ["a b/1.jpg", "c d/1.jpg"]


@pytest.mark.parametrize("line", ["a/1.jpg b/1.jpg", "a/1.jpg b/1.jpg 2", "1 a/1.jpg b/1.jpg", "a b c 1"])
def test_a_line_that_is_no_pair_is_named(tmp_path, line) -> None:
    (tmp_path / "l.txt").write_text(f"a/1.jpg a/2.jpg 1\n{line}\n")
    with pytest.raises(DamagedArtifact, match="line 2"):
        read_pairs(tmp_path / "l.txt", "paths", folds=2)


def test_blocks_are_those_of_kfold_without_shuffling() -> None:
    assert contiguous_folds(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    for count, folds in ((3, 4), (3, 1)):
        with pytest.raises(UsageError, match="folds"):
            contiguous_folds(count, folds)


def cfp(root, same: str = "1,2\n", lists: str = "1 ../Data/Images/001/{0}/01.jpg\n2 ../Data/Images/001/{0}/02.jpg\n"):
    for kind in ("frontal", "profile"):
        (root / f"Pair_list_{kind[0].upper()}.txt").write_text(lists.format(kind))
    for protocol in ("FF", "FP"):
        for fold in ("02", "01", "10"):
            (root / "Split" / protocol / fold).mkdir(parents=True, exist_ok=True)
            (root / "Split" / protocol / fold / "same.txt").write_text(same if fold == "01" else "")
            (root / "Split" / protocol / fold / "diff.txt").write_text("2,1\n")
    return root


def test_cfps_second_number_is_a_profile_in_fp_only(tmp_path) -> None:
    root = cfp(tmp_path)
    first = read_pairs(root, "cfp-fp")[0]
    assert first == Pair("Data/Images/001/frontal/01.jpg", "Data/Images/001/profile/02.jpg", True, 0)
    assert read_pairs(root, "cfp-ff")[0].second == "Data/Images/001/frontal/02.jpg"
    assert [(pair.same, pair.fold) for pair in read_pairs(root, "cfp-fp")] == [
        (True, 0), (False, 0), (False, 1), (False, 2)
    ]  # fmt: skip


def test_broken_cfp_lists(tmp_path) -> None:
    with pytest.raises(MissingResource):
        read_pairs(tmp_path / "none", "cfp-fp")
    with pytest.raises(DamagedArtifact, match="line 1"):
        read_pairs(cfp(tmp_path, same="1,9\n"), "cfp-fp")
    with pytest.raises(DamagedArtifact, match="number path"):
        read_pairs(cfp(tmp_path, lists="x y z\n"), "cfp-ff")
