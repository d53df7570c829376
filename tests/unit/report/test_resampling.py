import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.report.resampling import resample, to_grey


def ramp() -> Image.Image:
    """Rises by 2 a row and by 3 a column: any interpolation must keep it straight."""
    rows, columns = np.mgrid[:30, :40]
    return Image.fromarray((2 * rows + 3 * columns).astype(np.uint8))


@given(
    row=st.floats(3, 10),
    column=st.floats(3, 15),
    row_scale=st.floats(1.5, 6),
    column_scale=st.floats(1.5, 6),
)
def test_signal_stays_where_it_was(
    row: float, column: float, row_scale: float, column_scale: float
) -> None:
    width, height = 20, 30
    cut = resample(ramp(), (row, column), (row_scale, column_scale), (width, height))
    assert cut.shape == (height, width)
    # Whole numbers are the middles of samples, a corner lies half a step before the first one.
    rows = row + (np.arange(height) + 0.5) / row_scale - 0.5
    columns = column + (np.arange(width) + 0.5) / column_scale - 0.5
    expected = 2 * rows[:, None] + 3 * columns
    inside = (rows < 27)[:, None] & (columns < 37)
    assert np.abs(cut - expected)[inside].max() < 1.1


@pytest.mark.parametrize("corner", [(-10.0, -5.0), (20.0, 33.0)])
def test_outside_the_slice_is_black(corner: tuple[float, float]) -> None:
    white = Image.fromarray(np.full((30, 40), 255, dtype=np.uint8))
    cut = resample(white, corner, (2.0, 3.0), (60, 50))
    row = corner[0] + (np.arange(50) + 0.5) / 2.0
    column = corner[1] + (np.arange(60) + 0.5) / 3.0
    inside = ((row > 0) & (row < 30))[:, None] & ((column > 0) & (column < 40))
    assert np.array_equal(cut, np.where(inside, 255, 0))


def test_rectangle_beside_the_slice_is_black() -> None:
    assert not resample(ramp(), (100.0, 5.0), (2.0, 2.0), (8, 9)).any()
    assert not resample(ramp(), (5.0, -100.0), (2.0, 2.0), (8, 9)).any()


@given(extent=st.integers(1, 50), scale=st.floats(0.3, 7))
def test_whole_slice_fills_its_picture(extent: int, scale: float) -> None:
    white = Image.fromarray(np.full((extent, extent), 255, dtype=np.uint8))
    pixels = max(1, int(extent * scale))
    assert resample(white, (0.0, 0.0), (pixels / extent,) * 2, (pixels, pixels)).min() == 255


def test_window_turns_signal_to_grey() -> None:
    plane = np.array([[-5.0, 10.0, 15.0, 20.0, 99.0]], dtype=np.float32)
    assert np.asarray(to_grey(plane, (10.0, 20.0))).tolist() == [[0, 0, 128, 255, 255]]


def test_window_without_width_does_not_divide_by_zero() -> None:
    assert np.asarray(to_grey(np.zeros((2, 2), np.float32), (0.0, 0.0))).max() == 0
