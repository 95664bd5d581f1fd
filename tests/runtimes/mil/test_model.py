"""Packages as people have them: pictures, labels, flexible shapes, states, and feeds that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.models.utils import load_spec

from edgesmith.errors import MissingResource, UsageError
from edgesmith.runtimes import mil
from tests.models import tiny
from tests.runtimes.mil.packages import package

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)


def truth(name, x=X):
    with torch.inference_mode():
        return tiny(name)(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def test_it_answers_what_the_module_does(tmp_path):
    (found,) = mil.load(package("float", tmp_path))(image=X).values()
    np.testing.assert_allclose(found, truth("depthwise"), rtol=1e-5, atol=1e-6)


def test_modes_differ_by_what_they_round(tmp_path):
    path = package("half", tmp_path)
    exact, half, rough = (next(iter(mil.load(path, mode)(image=X).values())) for mode in mil.MODES)
    # The output is declared float32, and so are the sums of so small a net: only what lies between is rounded.
    assert 0 < abs(half - exact).max() < 2e-3 and abs(rough - half).max() < 2e-3
    assert abs(exact - truth("depthwise")).max() < 2e-3
    with pytest.raises(UsageError, match=r"'bf16'.*ane-like"):
        mil.load(path, "bf16")


def test_compressed_weights_are_near(tmp_path):
    (found,) = mil.load(package("int8", tmp_path))(image=X).values()
    expected = truth("depthwise")
    assert 1e-6 < abs(found - expected).max() < 0.1


@pytest.mark.parametrize(("kind", "classes"), [("labels", list("abcde")), ("numbers", [3, 1, 4, 15, 9])])
def test_a_classifier_gives_its_label_and_the_probabilities(tmp_path, kind, classes):
    answer = mil.load(package(kind, tmp_path))(image=X)
    label, probabilities = answer["classLabel"], next(v for v in answer.values() if isinstance(v, dict))
    scores = truth("linear")[0]
    assert label == classes[scores.argmax()] and list(probabilities) == classes
    np.testing.assert_allclose(list(probabilities.values()), scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["rgb", "bgr"])
def test_a_picture_is_scaled_by_the_program(tmp_path, kind):
    model = mil.load(package(kind, tmp_path))
    picture = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    ordered = (picture[..., ::-1] if kind == "bgr" else picture).transpose(2, 0, 1)[None].astype(np.float32)
    expected = truth("linear", ordered / 127.5 + np.array([-1, -0.5, 0], np.float32).reshape(1, 3, 1, 1))
    for fed in (picture, ordered):
        (found,) = model(image=fed).values()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert model.inputs["image"].color == kind
    with pytest.raises(UsageError, match=r"\(H, W, 3\)"):
        model(image=picture[..., :2])


@pytest.mark.parametrize(("kind", "good", "bad"), [("range", (5, 12), (3, 8)), ("enumerated", (4, 6), (6, 4))])
def test_flexible_shapes_are_held(tmp_path, kind, good, bad):
    model = mil.load(package(kind, tmp_path))
    x = np.random.default_rng(2).standard_normal((1, 3, *good)).astype(np.float32)
    (found,) = model(image=x).values()
    np.testing.assert_allclose(found, truth("conv-bn-relu", x), rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="image"):
        model(image=np.zeros((1, 3, *bad), np.float32))


def test_a_state_is_kept_between_the_calls_it_is_given_to(tmp_path):
    model, x = mil.load(package("state", tmp_path)), np.array([[1, 2, 3, 4]], np.float32)
    state = model.make_state()
    assert list(state) == ["total"] == list(model.states)
    for calls in (1, 2, 3):
        (found,) = model(x=x, state=state).values()
        np.testing.assert_array_equal(found, 2 * calls * x)
    (fresh,) = model(x=x).values()
    np.testing.assert_array_equal(fresh, 2 * x)
    with pytest.raises(UsageError, match="make_state"):
        model(x=x, state={})


@pytest.mark.parametrize(
    "feed",
    [
        {}, {"picture": X}, {"image": X, "more": X}, {"image": X[0]}, {"image": X[..., 1:]}, {"image": X > 0},
        {"image": X.astype(object)}, {"image": "text"}, {"image": None}, {"image": X.astype(complex)},
    ],
)  # fmt: skip
def test_a_feed_that_does_not_fit_is_a_usage_error(tmp_path, feed):
    with pytest.raises(UsageError):
        mil.load(package("float", tmp_path))(**feed)


def test_tensors_of_the_program_can_be_seen_and_replaced(tmp_path):
    model = mil.load(package("float", tmp_path))
    (output,) = model.outputs
    (block,) = load_spec(str(tmp_path / "model.mlpackage")).mlProgram.functions["main"].block_specializations.values()
    place = next(one.outputs[0].name for one in block.operations if one.type == "conv")
    assert place in model.tensors
    plain = model.run({"image": X}, taps=[place])
    assert set(plain) == {output, place}
    same = model.run({"image": X}, inject={place: plain[place]})
    moved = model.run({"image": X}, inject={place: plain[place] + 1})
    np.testing.assert_array_equal(same[output], plain[output])
    assert abs(moved[output] - plain[output]).max() > 1e-3
    with pytest.raises(UsageError, match="nothing-like-it"):
        model.run({"image": X}, taps=["nothing-like-it"])


def test_a_function_or_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"'other'.*main"):
        mil.load(package("float", tmp_path), function="other")
    with pytest.raises(MissingResource):
        mil.load(tmp_path / "nothing.mlpackage")
