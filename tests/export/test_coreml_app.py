import json

import numpy as np
import pytest
import torch
from torch import nn

from edgesmith.errors import UsageError
from edgesmith.export.coreml import ct
from edgesmith.export.coreml_app import AppOptions, write_app
from edgesmith.runtimes.mil.model import load
from edgesmith.tensors import Preprocessing
from tests.models import tiny

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def spec_of(package):
    return ct.models.MLModel(str(package), skip_model_load=True).get_spec()


class Flat(nn.Module):
    """A convolution and a mean: any height, width and batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x).relu().mean((2, 3))


@pytest.mark.parametrize("color", ["rgb", "bgr", "gray"])
def test_a_picture_goes_through_the_preprocessing_inside(tmp_path, color):
    channels = 1 if color == "gray" else 3
    how = Preprocessing((8, 8), MEAN[:channels], STD[:channels], color)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = nn.Sequential(net, nn.Softmax(1))
    options = AppOptions(picture=how, labels=("a", "b", "c", "d"), precision="fp32")
    package = write_app(net, {"input": torch.zeros(1, channels, 8, 8)}, tmp_path / "net.mlpackage", options)
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    if color == "gray":
        picture[...] = picture[..., :1]  # a grey picture, so that its luminance is exact
    with torch.no_grad():
        expected = net(torch.from_numpy(how.apply(picture[None])))[0].numpy()
    answer = load(package)(input=picture if color != "gray" else picture[..., 0])
    (shares,) = [value for value in answer.values() if isinstance(value, dict)]
    np.testing.assert_allclose([shares[label] for label in "abcd"], expected, rtol=1e-4)
    assert "abcd"[expected.argmax()] in answer.values()
    assert json.loads(spec_of(package).description.metadata.userDefined["preprocessing"])["color"] == color


def test_metadata_precision_and_system(tmp_path):
    about = {"author": "A. Person", "licence": "MIT", "version": "1.2", "description": "Sees things."}
    package = write_app(
        tiny("depthwise"), {"x": torch.zeros(1, 3, 8, 8)}, tmp_path / "a.mlpackage", AppOptions(**about)
    )
    metadata = spec_of(package).description.metadata
    found = [metadata.author, metadata.license, metadata.versionString, metadata.shortDescription]
    assert found == list(about.values())
    for system, number in (("iOS15", 6), ("iOS18", 9)):
        options = AppOptions(system=system, precision="fp32")
        package = write_app(
            tiny("depthwise"), {"x": torch.zeros(1, 3, 8, 8)}, tmp_path / f"{system}.mlpackage", options
        )
        assert spec_of(package).specificationVersion == number


@pytest.mark.parametrize(
    "given",
    [
        {"shapes": {"x": ((1, 3, 8, 8), (1, 3, 12, 16))}},
        {"ranges": {"x": {2: (4, 32), 3: (4, 32)}}},
    ],
    ids=["enumerated", "range"],
)
def test_flexible_shapes(tmp_path, given):
    net = Flat().eval()
    options = AppOptions(precision="fp32", **given)
    model = load(write_app(net, {"x": torch.zeros(1, 3, 8, 8)}, tmp_path / "a.mlpackage", options))
    for size in ((8, 8), (12, 16)):
        x = torch.rand(1, 3, *size)
        (found,) = model(x=x.numpy()).values()
        np.testing.assert_allclose(found, net(x).detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="input 'x'"):
        model(x=np.zeros((1, 3, 40, 8), np.float32))


def test_options_that_do_not_fit_are_refused(tmp_path):
    example = {"x": torch.zeros(1, 3, 8, 8)}
    for options in (
        AppOptions(picture=Preprocessing((9, 8), MEAN, STD)),
        AppOptions(shapes={"y": ((1, 3, 8, 8),)}),
        AppOptions(shapes={"x": ((1, 3, 8, 8),)}, ranges={"x": {2: (1, 9)}}),
        AppOptions(shapes={"x": ((3, 8, 8),)}),
    ):
        with pytest.raises(UsageError):
            write_app(tiny("depthwise"), example, tmp_path / "a.mlpackage", options)
    assert not list(tmp_path.iterdir())
