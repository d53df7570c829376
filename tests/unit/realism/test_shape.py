"""The shape ruler gives back the sizes of drawn bodies."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.realism.bodies import DEPTH, GAP, HEIGHT, LEVELS, PITCH, boxes
from training.realism.shape import DISC_ROWS, measure_shapes


def _tilted(angles: dict[int, float], *, dish: float = 0.0) -> np.ndarray:
    """Bodies of 40 x 30 x 24 mm on a 1 mm grid, each leaning forward by degrees at its top."""
    labels = np.zeros((60, 60 + 38 * len(angles), 90), np.uint8)
    k, i, j = (np.arange(n, dtype=float) for n in labels.shape)
    for place, (index, degrees) in enumerate(angles.items()):
        lean = np.radians(degrees)
        down = (i - 30 - 38 * place)[None, :, None]
        back = (j - 45)[None, None, :]
        z = np.cos(lean) * down - np.sin(lean) * back
        y = np.sin(lean) * down + np.cos(lean) * back
        top = -12 + dish * np.exp(-((y / 8) ** 2))
        inside = (np.abs(k - 30)[:, None, None] <= 20) & (np.abs(y) <= 15) & (z >= top) & (z <= 12)
        labels[inside] = index
    return labels


def test_sizes_of_a_box() -> None:
    shapes = measure_shapes(boxes(), PITCH, LEVELS)
    sizes = shapes.bodies["L2"]

    for row in ("height ant", "height mid", "height post"):
        assert sizes[row] == pytest.approx(HEIGHT, abs=0.3)
    assert sizes["depth"] == pytest.approx(DEPTH, abs=0.3)
    assert sizes["width"] == 9 * PITCH[0]
    assert sizes["volume mL"] == pytest.approx(9 * 4 * HEIGHT * DEPTH / 1000)
    assert sizes["concavity sup"] < 0.1
    assert tuple(shapes.discs["L1/L2"]) == DISC_ROWS
    assert shapes.discs["L1/L2"]["disc mid"] == pytest.approx(GAP, abs=0.3)
    assert shapes.discs["L1/L2"]["centroid distance"] == pytest.approx(HEIGHT + GAP)
    assert set(shapes.discs) == {"L1/L2", "L2/L3", "L3/L4"}


@pytest.mark.parametrize("degrees", [-25.0, 0.0, 12.0, 35.0])
def test_a_leaning_body_has_the_same_sizes(degrees: float) -> None:
    sizes = measure_shapes(_tilted({1: degrees}), (1.0, 1.0, 1.0), {1: "L3"}).bodies["L3"]

    assert sizes["height mid"] == pytest.approx(24.0, abs=1.0)
    assert sizes["depth"] == pytest.approx(30.5, abs=0.8)
    assert sizes["ant/post"] == pytest.approx(1.0, abs=0.04)
    assert sizes["width"] == 41.0


def test_concavity_of_a_dished_endplate() -> None:
    sizes = measure_shapes(_tilted({1: 0.0}, dish=4.0), (1.0, 1.0, 1.0), {1: "L3"}).bodies["L3"]

    assert sizes["concavity sup"] == pytest.approx(3.8, abs=1.0)
    assert sizes["concavity inf"] < 0.2
    assert sizes["mid/post"] < 0.92


def test_angles_are_positive_in_lordosis() -> None:
    names = {1: "L1", 2: "L2", 3: "L3", 4: "L4", 5: "L5"}
    # Each lower body leans further forward at its top: open anteriorly.
    shapes = measure_shapes(_tilted({n: -6.0 * (n - 3) for n in names}), (1.0, 1.0, 1.0), names)

    assert abs(shapes.lordosis["L1 sup - L5 sup"]) == pytest.approx(24.0, abs=2.0)
    for disc in shapes.discs.values():
        assert abs(disc["endplate angle"]) == pytest.approx(6.0, abs=1.5)
        assert np.sign(disc["disc wedge"]) == np.sign(disc["disc ant"] - disc["disc post"])
        assert np.sign(disc["endplate angle"]) == np.sign(disc["disc wedge"])


def test_specks_are_no_bodies() -> None:
    labels = np.zeros((10, 40, 40), np.uint8)
    labels[5, 20:22, 20:22] = 3
    assert measure_shapes(labels, (4.0, 1.0, 1.0), {3: "L1"}).bodies == {}
