import io

import numpy as np
import pytest
from PIL import Image

from edgesmith.data.images import decode, need_preprocessing, squish
from edgesmith.errors import DamagedArtifact, UsageError


def png(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "RGB"])
def test_every_mode_becomes_rgb(mode) -> None:
    image = decode(png(Image.new("RGB", (5, 4), (200, 100, 50)).convert(mode)))
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8


def test_a_picture_on_its_side_is_turned_upright() -> None:
    picture = Image.new("RGB", (6, 3))
    exif = picture.getexif()
    exif[0x0112] = 6
    assert decode(png(picture, exif=exif)).shape == (6, 3, 3)


@pytest.mark.parametrize("content", [b"", b"no picture", png(Image.new("RGB", (40, 40)))[:60]])
def test_broken_content_names_the_file(content) -> None:
    with pytest.raises(DamagedArtifact, match=r"holiday\.png"):
        decode(content, "holiday.png")


def test_squish_goes_to_height_and_width() -> None:
    image = np.random.default_rng(0).integers(0, 255, (10, 20, 3)).astype(np.uint8)
    assert squish(image, (4, 6)).shape == (4, 6, 3)
    assert squish(image, (10, 20)) is image


def test_no_preprocessing_is_no_silent_default() -> None:
    with pytest.raises(UsageError, match="--mean --std --color"):
        need_preprocessing(None, "x")
