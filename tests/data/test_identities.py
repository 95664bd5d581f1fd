import numpy as np

from edgesmith.data.identities import identity_centres, nearest, strangers

RNG = np.random.default_rng(0)
AXES = np.eye(16)


def faces(counts, noise: float = 0.05):
    """Embeddings of any length around one axis a person, and who it is."""
    person = np.repeat(np.arange(len(counts)), counts)
    z = AXES[person] + noise * RNG.normal(size=(len(person), 16))
    return z * RNG.uniform(0.5, 20, (len(z), 1)), person


def test_a_centre_is_the_normalised_mean_of_unit_embeddings() -> None:
    z, person = np.array([[2.0, 0.0], [0.0, 9.0], [3.0, 0.0]]), np.array([0, 0, 1])
    half = np.sqrt(0.5)
    assert np.allclose(identity_centres(z, person), [[half, half], [1, 0]])
    assert np.allclose(identity_centres(z, person, np.array([True, False, False])), [[1, 0], [0, 0]])


def test_pictures_of_somebody_else_are_found_whatever_their_length() -> None:
    z, person = faces([8, 6, 5, 1])
    z[[0, 9]] = 100 * AXES[[10, 11]]  # long ones, first in their folder
    z[15] = AXES[1]  # another person of the set
    found = strangers(z, person, 0.5)
    assert np.flatnonzero(found).tolist() == [0, 9, 15]


def test_two_wrong_pictures_alike_do_not_outvote_three_right_ones() -> None:
    z, person = faces([5])
    z[:2] = AXES[12]
    assert strangers(z, person, 0.5).tolist() == [True, True, False, False, False]


def test_nearest_is_the_highest_cosine() -> None:
    first, second = RNG.normal(size=(7, 5)), RNG.normal(size=(11, 5))
    table = first @ second.T / np.outer(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    assert np.allclose(nearest(first, second, block=3), table.max(1))
