"""The working grid and the network's two channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.geometry import Spacing, to_lps
from models.localiser.preprocess import finer, linear_taps, local_mean, network_image, prepare
from models.volume import Role, Volume
from tests.unit.localiser.chain import grid_affine


def test_taps_reproduce_a_straight_line() -> None:
    line = np.arange(50, dtype=np.float32)
    taps = linear_taps(50, 70, 0.2, 0.7)

    expected = np.clip(0.2 + 0.7 * np.arange(70), 0, 49)
    inner = expected < 48
    assert np.allclose(taps.apply(line, 0)[inner], expected[inner], atol=1e-4)


@given(inputs=st.integers(2, 60), outputs=st.integers(1, 60), step=st.floats(0.2, 4.0))
def test_taps_keep_a_constant(inputs: int, outputs: int, step: float) -> None:
    taps = linear_taps(inputs, outputs, 0.3, step)

    assert np.allclose(taps.apply(np.full(inputs, 5.0, np.float32), 0), 5.0, atol=1e-4)


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.tile([0.0, 1.0], 100).astype(np.float32)

    shrunk = linear_taps(200, 100, 0.5, 2.0).apply(stripes, 0)

    assert np.abs(shrunk[2:-2] - 0.5).max() < 0.01


@settings(deadline=None, max_examples=25)
@given(
    spacing=st.tuples(st.floats(2.6, 7.0), st.floats(0.4, 1.6), st.floats(0.4, 1.6)),
    tilt=st.floats(-0.3, 0.3),
)
def test_a_ramp_keeps_its_place(spacing: tuple[float, float, float], tilt: float) -> None:
    shape = (5, 61, 47)
    affine = grid_affine(Spacing(*spacing), shape, np.array([3.0, -20.0, 40.0]), tilt)
    slope = np.array([0.7, 1.3, -2.1])
    points = to_lps(affine, np.indices(shape).reshape(3, -1).T)
    ramp = (points @ slope).reshape(shape).astype(np.float32)

    grid, image = prepare(Volume(ramp, affine, Role.T2))

    expected = (to_lps(grid.affine, np.indices(grid.shape).reshape(3, -1).T) @ slope).reshape(
        grid.shape
    )
    inner = (slice(None), slice(3, -3), slice(3, -3))
    assert np.allclose(image[inner], expected[inner], atol=0.02)
    back, where = grid.bring_back(image)
    assert where == tuple(slice(0, n) for n in shape)
    inside = (slice(None), slice(5, -5), slice(5, -5))
    assert np.allclose(back[inside], ramp[inside], atol=0.02)


@pytest.mark.parametrize("spacing", [Spacing(4.0, 1.0, 1.0), Spacing(4.4, 0.7, 1.3)])
def test_squares_of_pixels_lie_where_their_pixels_do(spacing: Spacing) -> None:
    shape = (5, 61, 47)
    affine = grid_affine(spacing, shape, np.array([3.0, -20.0, 40.0]), 0.2)
    pixels, _ = prepare(Volume(np.zeros(shape, np.float32), affine, Role.T2))
    squares = pixels.coarser(2)

    assert squares.shape == (5, -(-pixels.shape[1] // 2), -(-pixels.shape[2] // 2))
    four = np.array([[1, 4, 6], [1, 4, 7], [1, 5, 6], [1, 5, 7]])
    middle = to_lps(pixels.affine, four).mean(axis=0)
    assert np.allclose(to_lps(squares.affine, np.array([1, 2, 3])), middle)
    assert np.allclose(squares.spacing_mm, pixels.spacing_mm * (1, 2, 2))
    assert pixels.coarser(1) is pixels

    slope = np.array([0.7, 1.3, -2.1])
    ramp = to_lps(squares.affine, np.indices(squares.shape).reshape(3, -1).T) @ slope
    block = ramp.reshape(squares.shape).astype(np.float32)[1:4, 2:20, 3:15]
    back, corner = finer(block, (1, 2, 3), 2, pixels.shape)
    assert corner == (1, 4, 6)
    assert back.shape == (3, 36, 24)
    places = np.indices(back.shape).reshape(3, -1).T + corner
    expected = (to_lps(pixels.affine, places) @ slope).reshape(back.shape)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert np.allclose(back[inner], expected[inner], atol=0.01)
    # The last square may be cut by the edge of the grid.
    last, _ = finer(block[:, :1], (1, squares.shape[1] - 1, 3), 2, pixels.shape)
    assert last.shape[1] == pixels.shape[1] - 2 * (squares.shape[1] - 1)


def test_thin_slices_are_averaged_to_about_four_mm() -> None:
    shape = (48, 40, 40)
    affine = grid_affine(Spacing(1.0, 1.0, 1.0), shape, np.zeros(3))
    ramp = np.broadcast_to(np.arange(48.0, dtype=np.float32)[:, None, None], shape).copy()

    grid, image = prepare(Volume(ramp, affine, Role.T2))

    assert image.shape == (12, 40, 40)
    assert grid.spacing_mm[0] == pytest.approx(4.0)
    assert np.allclose(np.diff(image[2:-2, 20, 20]), 4.0, atol=1e-3)


def test_local_mean_of_a_constant_is_the_constant() -> None:
    assert np.allclose(local_mean(np.full((3, 93, 70), 2.5, np.float32)), 2.5, atol=1e-4)


def test_channels_ignore_gain_and_offset() -> None:
    image = np.random.default_rng(0).gamma(2.0, 100.0, (6, 70, 80)).astype(np.float32)

    assert np.allclose(network_image(image), network_image(image * 7.0 + 50.0), atol=1e-3)


def test_second_channel_hardly_sees_shading() -> None:
    rng = np.random.default_rng(0)
    image = (1.0 + 0.3 * rng.standard_normal((4, 160, 160))).astype(np.float32)
    shading = np.exp(np.linspace(-0.7, 0.7, 160, dtype=np.float32))[None, None, :]

    plain, shaded = (network_image(i)[0, :, 2, 40:120, 40:120] for i in (image, image * shading))

    assert np.abs(shaded[1] - plain[1]).mean() < 0.3 * np.abs(shaded[0] - plain[0]).mean()


def test_padding_is_below_and_right() -> None:
    padded = network_image(np.ones((3, 33, 64), np.float32))

    assert padded.shape == (1, 2, 3, 64, 64)
    assert not padded[:, :, :, 33:].any()
