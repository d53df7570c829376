from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.report.png import png

SHAPES = [(1, 1), (1, 7), (5, 1), (13, 9)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colours", [(), (3,)])
def test_pillow_reads_the_same_pixels(shape: tuple[int, int], colours: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, *colours), dtype=np.uint8)
    image = Image.open(BytesIO(png(pixels)))
    assert image.mode == ("RGB" if colours else "L")
    assert np.array_equal(np.asarray(image), pixels)


@given(seed=st.integers(0, 1000), count=st.integers(1, 256))
def test_palette_gives_colour_and_opacity(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    palette = rng.integers(0, 256, (count, 4), dtype=np.uint8)
    pixels = rng.integers(0, count, (6, 11), dtype=np.uint8)
    image = Image.open(BytesIO(png(pixels, palette))).convert("RGBA")
    assert np.array_equal(np.asarray(image), palette[pixels])


def test_file_is_whole_and_carries_nothing_else() -> None:
    image = Image.open(BytesIO(png(np.zeros((4, 4), dtype=np.uint8))))
    image.verify()  # checks every chunk's sum
    assert image.info == {}


def test_smooth_picture_is_packed() -> None:
    rows, columns = np.mgrid[:200, :300]
    smooth = (rows + columns // 4).astype(np.uint8)
    assert len(png(smooth)) < smooth.size / 50
