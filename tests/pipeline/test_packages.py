"""Core ML packages made by anyone, run where there is no Core ML."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from edgesmith.errors import MissingResource, UsageError
from edgesmith.export.coreml import ct
from edgesmith.pipeline.predict import predict
from tests.models import tiny

pytestmark = pytest.mark.needs(host="linux")
LABELS = ["cat", "dog", "cow", "owl"]


class Means(torch.nn.Module):
    """The probabilities of the mean of every colour, and of 0."""

    def forward(self, image):
        means = image.mean((2, 3))
        return torch.softmax(torch.cat([means, means[:, :1] * 0], 1), 1)


def converted(folder, module, inputs, **more):
    example = torch.zeros(1, 3, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), (example,)).run_decompositions({})
        model = ct.convert(
            program, inputs=inputs, minimum_deployment_target=ct.target.iOS17, skip_model_load=True, **more
        )
    path = folder / "model.mlpackage"
    model.save(str(path))
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A package that takes a BGR picture, scales it to 0 .. 1 and names what it sees."""
    image = ct.ImageType(name="image", shape=(1, 3, 8, 8), scale=1 / 255, color_layout=ct.colorlayout.BGR)
    config = ct.ClassifierConfig(LABELS)
    return converted(tmp_path_factory.mktemp("classifier"), Means(), [image], classifier_config=config)


def test_a_picture_through_a_classifier(classifier, tmp_path):
    # Of another size than 8 x 8, red 255, green 51 and blue 0; in PNG, which loses nothing.
    Image.new("RGB", (30, 20), (255, 51, 0)).save(tmp_path / "a.png")
    answer = predict(classifier, tmp_path / "a.png", 1, 3, "fp32")
    means = np.array([0.0, 0.2, 1.0, 0.0])  # blue first
    expected = np.exp(means) / np.exp(means).sum()
    assert [label for label, _ in answer.classes] == ["cow", "dog", "cat"]
    np.testing.assert_allclose([share for _, share in answer.classes], expected[[2, 1, 0]], rtol=1e-5)


def test_a_single_array_through_a_net(tmp_path):
    torch.manual_seed(0)
    net = tiny("depthwise").eval()
    path = converted(
        tmp_path, net, [ct.TensorType(name="x", shape=(1, 3, 8, 8))], compute_precision=ct.precision.FLOAT32
    )
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    for file in ("x.npy", "x.npz"):
        (found,) = predict(path, tmp_path / file, 1, 5).outputs.values()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_said(classifier, tmp_path):
    with pytest.raises(MissingResource, match="no such file"):
        predict(classifier, tmp_path / "absent.npy", 1, 5)
    np.save(tmp_path / "small.npy", np.zeros((2, 2), np.uint8))
    with pytest.raises(UsageError, match="image bgr"):
        predict(classifier, tmp_path / "small.npy", 1, 5)
    with pytest.raises(UsageError, match="numeric mode 'half'"):
        predict(classifier, tmp_path / "small.npy", 1, 5, "half")
