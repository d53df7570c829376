import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.geometry import to_index, to_lps
from models.scorer.resampling import pooled, resample, sample_points
from tests.unit.scorer.toy_spine import oblique_affine

SHAPE = (9, 40, 30)


def ramp(affine: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """A linear function of LPS mm: trilinear interpolation must return it exactly."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return value_at(to_lps(affine, grid)).astype(np.float32)


def value_at(points: np.ndarray) -> np.ndarray:
    return 300.0 + points @ np.array([1.0, 0.7, -0.4])


def turned(affine: np.ndarray, degrees: float, axis: int) -> np.ndarray:
    """The grid turned about its own axis through its middle, at half the pitch in plane."""
    angle = np.radians(degrees)
    plane = [other for other in range(3) if other != axis]
    turn = np.eye(3)
    turn[np.ix_(plane, plane)] = [
        [np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ]
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    grid = np.eye(4)
    grid[:3, :3] = unit @ turn * np.array([4.0, 0.6, 0.7])
    centre = to_lps(affine, (np.array(SHAPE) - 1) / 2)
    grid[:3, 3] = centre - grid[:3, :3] @ np.array([2.0, 9.5, 7.5])
    return grid


@settings(max_examples=25, deadline=None)
@given(degrees=st.floats(-40, 40), axis=st.sampled_from([0, 1, 2]))
def test_linear_functions_of_space_come_back_exactly(degrees: float, axis: int) -> None:
    affine = oblique_affine()
    # Turning out of the plane leaves the fast path; 3 degrees keep the grid inside the stack.
    grid = turned(affine, degrees if axis == 0 else degrees / 13, axis)
    value, inside = resample(ramp(affine, SHAPE), affine, grid, (5, 20, 16))
    index = np.stack(np.meshgrid(*map(np.arange, (5, 20, 16)), indexing="ij"), axis=-1)
    expected = value_at(to_lps(grid, index))
    assert inside.mean() > 0.9
    source = to_index(affine, to_lps(grid, index))
    within = np.all((source >= 0) & (source <= np.array(SHAPE) - 1), axis=-1)
    # A turn small enough to count as parallel may be off by its drift, 0.15 slice or pixel.
    assert np.abs(value - expected)[within].max() < 0.15 * 4.2 * 1.3 + 0.1


def test_parallel_path_equals_general_path() -> None:
    rng = np.random.default_rng(3)
    affine = oblique_affine()
    array = rng.random(SHAPE, dtype=np.float32)
    grid = turned(affine, 17.0, 0)
    fast, inside = resample(array, affine, grid, (5, 20, 16))
    index = np.stack(np.meshgrid(*map(np.arange, (5, 20, 16)), indexing="ij"), axis=-1)
    slow, also = sample_points(array, to_index(affine, to_lps(grid, index)).reshape(-1, 3))
    np.testing.assert_allclose(fast.ravel(), slow, atol=1e-5)
    np.testing.assert_array_equal(inside.ravel(), also)


def test_outside_is_said() -> None:
    affine = oblique_affine()
    grid = turned(affine, 0.0, 0)
    grid[:3, 3] += 500.0
    _, inside = resample(ramp(affine, SHAPE), affine, grid, (5, 20, 16))
    assert not inside.any()


@pytest.mark.parametrize("pitch", [(4.2, 1.9, 1.7), (9.0, 1.0, 2.6)])
def test_pooling_keeps_places(pitch: tuple[float, float, float]) -> None:
    affine = oblique_affine()
    small, moved = pooled(ramp(affine, SHAPE), affine, pitch)
    assert small.shape != SHAPE
    np.testing.assert_allclose(small, ramp(moved, small.shape), atol=1e-2)


def test_pooling_of_coarse_volumes_changes_nothing() -> None:
    affine = oblique_affine()
    array = ramp(affine, SHAPE)
    same, unmoved = pooled(array, affine, (4.0, 0.9, 0.8))
    assert same is array
    assert unmoved is affine
