import numpy as np
import pytest

from edgesmith.data.alignment import (
    TEMPLATE,
    align,
    alignment,
    five_points,
    read_landmarks,
    similarity,
    warp,
)
from edgesmith.errors import DamagedArtifact, MissingResource, UsageError


def picture(height: int = 112, width: int = 112) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def moved(points: np.ndarray, scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + shift


def test_a_quarter_turn_twice_as_big_by_hand() -> None:
    # (x, y) -> (-2y + 5, 2x - 1): the unit square's corners are enough to know it.
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    target = np.array([(5, -1), (5, 1), (3, 1), (3, -1)])
    assert np.allclose(similarity(square, target), [[0, -2, 5], [2, 0, -1]])


def test_least_squares_by_hand_where_no_transform_fits() -> None:
    # Three points on a line, the middle one pulled off it by 3. A similarity z -> a z + b of the complex plane has
    # a = sum conj(z)(w - mean w) / sum |z|^2 = (1 * (1 - i) + 1 * (1 + i)) / 2 = 1, and b = mean w = i.
    source, target = np.array([(-1, 0), (0, 0), (1, 0)]), np.array([(-1, 0), (0, 3), (1, 0)])
    assert np.allclose(similarity(source, target), [[1, 0, 0], [0, 1, 1]])


@pytest.mark.parametrize(("scale", "degrees"), [(0.4, 0), (1.0, 30), (3.0, -75), (1.7, 180)])
def test_the_transform_undoes_any_rotation_scale_and_shift(scale, degrees) -> None:
    points = moved(TEMPLATE, scale, degrees, (200.0, -31.0))
    transform = alignment(points)
    assert np.allclose(transform[:, :2] @ points.T + transform[:, 2:], TEMPLATE.T)
    assert np.isclose(np.linalg.det(transform[:, :2]), scale**-2)


def test_mirrored_order_is_an_error_and_never_a_mirror_transform() -> None:
    mirrored = TEMPLATE[[1, 0, 2, 4, 3]]
    with pytest.raises(UsageError, match="mirrored"):
        alignment(moved(mirrored, 2.0, 20, (5, 5)))
    with pytest.raises(UsageError, match="mirrored"):
        alignment(TEMPLATE * (-1, 1))
    assert np.linalg.det(similarity(TEMPLATE * (-1, 1), TEMPLATE)[:, :2]) > 0
    assert np.linalg.det(alignment(mirrored, refuse_mirrored=False)[:, :2]) > 0


def test_a_profile_whose_eyes_nearly_meet_is_not_taken_for_mirrored() -> None:
    profile = np.array([(40.0, 50), (44, 50), (60, 70), (42, 92), (45, 92)])
    assert alignment(profile).shape == (2, 3)


def test_a_face_on_the_template_stays_as_it_is() -> None:
    image = picture()
    assert np.array_equal(align(image, TEMPLATE), image)


def test_bilinear_values_and_black_border_by_hand() -> None:
    image = np.array([[0, 100], [200, 40]], np.uint8)[..., None].repeat(3, 2)
    right = warp(image, np.array([[1, 0, 0.25], [0, 1, 0.0]]), (2, 3))[..., 0]  # everything a quarter to the right
    # 0.75 * own + 0.25 * left neighbour, the neighbour of the first column and the pixel after the last being black
    assert right.tolist() == [[0, 75, 25], [150, 80, 10]]
    middle = warp(image, np.array([[1, 0, -0.5], [0, 1, -0.5]]), (1, 1))
    assert middle[0, 0].tolist() == [85, 85, 85]
    assert not warp(image, np.array([[1, 0, 50.0], [0, 1, 0]]), (2, 3)).any()


def test_the_five_points_land_on_the_template() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    points = moved(TEMPLATE, 1.5, 25, (90.0, 20.0))
    for x, y in np.rint(points).astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    found = align(image, points)
    for x, y in np.rint(TEMPLATE).astype(int):
        assert found[y, x].min() > 200
    assert found[75, 20].max() == 0


def test_68_points_give_the_five() -> None:
    points = np.full((68, 2), 7.0)
    points[36], points[39], points[42], points[45] = (1, 2), (3, 4), (10, 0), (20, 2)
    points[30], points[48], points[54] = (8, 9), (2, 11), (15, 12)
    assert five_points(points).tolist() == [[2, 3], [15, 1], [8, 9], [2, 11], [15, 12]]


@pytest.mark.parametrize("points", [np.zeros((4, 2)), np.zeros((5, 3)), np.full((5, 2), np.nan), TEMPLATE * 0])
def test_other_points_are_refused(points) -> None:
    with pytest.raises(UsageError):
        alignment(points)


def test_landmark_lists_are_read_and_broken_lines_named(tmp_path) -> None:
    line = "a/1.jpg 1 2 3 4 5 6 7 8 9 10"
    (tmp_path / "l.txt").write_text(f"{line} 0.75\n\n{line}\n")
    first, second = read_landmarks(tmp_path / "l.txt")
    assert (first.name, first.score, second.score) == ("a/1.jpg", 0.75, 1.0)
    assert first.points.tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    for bad in (f"{line}\na/2.jpg 1 2", f"{line}\n{line[:-2]} nan", f"{line}\n{line[:-2]}x"):
        (tmp_path / "l.txt").write_text(bad)
        with pytest.raises(DamagedArtifact, match="line 2"):
            read_landmarks(tmp_path / "l.txt")
    with pytest.raises(MissingResource):
        read_landmarks(tmp_path / "none.txt")
