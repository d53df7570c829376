"""Which parts are one body."""

from __future__ import annotations

import numpy as np
import pytest

from models.localiser.chain import rejoined
from models.localiser.instances import Candidate


@pytest.mark.parametrize(
    ("cut", "bodies"), [((False, False), 4), ((True, True), 4), ((True, False), 5)]
)
def test_two_near_parts_are_one_body_unless_the_image_cuts_one_of_them(
    cut: tuple[bool, bool], bodies: int
) -> None:
    rows, volumes = (2.0, 12.0, 46.0, 80.0, 114.0), (2.0, 24.0, 26.0, 28.0, 30.0)
    edges = (*cut, False, False, False)
    chain = [
        Candidate(n, np.array([5.0, row, 50.0]), volume, 0.0, 0.9, edge)
        for n, (row, volume, edge) in enumerate(zip(rows, volumes, edges, strict=True), start=1)
    ]
    labels = np.array([[[1, 2, 3, 4, 5]]], np.uint8)

    joined = rejoined(labels, chain, np.array([4.0, 1.0, 1.0]))

    assert len(joined) == bodies
    assert len(np.unique(labels)) == bodies
