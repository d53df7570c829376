import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.report.contours import trace


def area(line: NDArray[np.float64]) -> float:
    """Signed area inside a closed line."""
    rows, columns = line.T
    return float(np.sum(rows * np.roll(columns, -1) - columns * np.roll(rows, -1)) / 2)


def test_square_is_outlined_at_its_edges() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[4:12, 7:19] = True
    (line,) = trace(mask)
    assert line.min(axis=0) == pytest.approx([3.5, 6.5])
    assert line.max(axis=0) == pytest.approx([11.5, 18.5])
    assert abs(area(line)) == pytest.approx(8 * 12, rel=0.03)  # corners are rounded


def test_empty_mask_has_no_outline() -> None:
    assert trace(np.zeros((5, 5), dtype=bool)) == []


def test_single_pixel_is_outlined() -> None:
    mask = np.zeros((5, 5), dtype=bool)
    mask[2, 3] = True
    (line,) = trace(mask)
    assert line.mean(axis=0) == pytest.approx([2, 3])


def test_mask_at_the_edge_of_the_image_closes() -> None:
    (line,) = trace(np.ones((6, 6), dtype=bool))
    assert line.min() == pytest.approx(-0.5)


def test_two_parts_give_two_lines_longest_first() -> None:
    mask = np.zeros((30, 30), dtype=bool)
    mask[2:5, 2:5] = True
    mask[10:25, 10:25] = True
    assert [len(line) for line in trace(mask)] == sorted(
        (len(line) for line in trace(mask)), reverse=True
    )
    assert len(trace(mask)) == 2


def test_hole_is_outlined_the_other_way_round() -> None:
    mask = np.ones((30, 30), dtype=bool)
    mask[10:20, 10:20] = False
    outer, inner = trace(mask)
    assert area(outer) * area(inner) < 0
    assert abs(area(inner)) == pytest.approx(100, rel=0.05)


@given(seed=st.integers(0, 10_000), density=st.floats(0.1, 0.9))
def test_lines_are_closed_and_inside_the_grid(seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((9, 13)) < density
    for line in trace(mask):
        steps = np.linalg.norm(np.diff(np.vstack([line, line[:1]]), axis=0), axis=1)
        assert steps.max() <= np.sqrt(2) + 1e-9
        assert line.min() >= -1.0
        assert np.all(line.max(axis=0) <= np.array(mask.shape))
