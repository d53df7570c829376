"""What the network is asked to outline, by kind of image."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

from models.localiser.classes import Structure
from models.volume import Role
from training.localiser.outlines import WATER_WIDTH, asked_for

pytestmark = pytest.mark.train


def blocks(muscle_from: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A body over slices 10 to 29, and something else from a slice on."""
    body = np.zeros((40, 12, 12), np.uint8)
    body[10:30, 3:9, 3:9] = 4
    structure = np.where(body > 0, np.uint8(Structure.BODY), np.uint8(Structure.BACKGROUND))
    structure[muscle_from:, 3:9, 3:9] = Structure.POSTERIOR_ELEMENTS
    return structure, body


def test_bodies_are_wider_on_water_images_alone() -> None:
    structure, body = blocks()
    for role, width in ((Role.T2, 20), (Role.STIR, 20), (Role.DIXON_WATER, 20 * WATER_WIDTH)):
        asked, bodies = asked_for(structure, body, role, {"L4": 4})
        slices = np.flatnonzero((bodies == 4).any(axis=(1, 2)))
        assert len(slices) == pytest.approx(width, abs=1)
        assert slices.mean() == pytest.approx(19.5, abs=0.5)
        assert np.array_equal(asked == Structure.BODY, bodies == 4)
        assert (bodies[slices] == 4).sum(axis=(1, 2)).tolist() == [36] * len(slices)


def test_nothing_that_is_there_is_painted_over() -> None:
    structure, body = blocks(muscle_from=30)
    asked, bodies = asked_for(structure, body, Role.DIXON_WATER, {"L4": 4})
    assert np.array_equal(asked[30:], structure[30:])
    assert not bodies[30:].any()
    assert (bodies[8:10] == 4).any()


def test_c2_is_a_class_of_its_own() -> None:
    structure, body = blocks()
    asked, _ = asked_for(structure, body, Role.T1, {"C2": 4})
    assert set(np.unique(asked)) == {Structure.BACKGROUND, Structure.C2}
