"""Targets on synthetic studies in oblique stacks: on the truth, and through the localiser."""

from __future__ import annotations

import numpy as np
import pytest

from models.findings import Coverage
from models.morphometry.morphometry import measure_levels
from models.morphometry.result import CUT_SIDEWAYS
from tests.integration.planning.targets import (
    FRACTURES,
    draw_spine,
    misses,
    shipped_localiser,
    through,
    true_localisation,
)

SEED = 7007


@pytest.mark.train
def test_targets_on_the_truth_are_within_two_mm_inside_and_in_the_anterior_third() -> None:
    spine = draw_spine(SEED)
    found = list(misses(spine, true_localisation(spine)))
    assert {miss.shape for miss in found} >= {"whole", *FRACTURES.values()}
    for miss in found:
        assert miss.inside, miss
        assert miss.error_mm < 2.0, miss
        assert miss.depth_part < 1 / 3 + 0.02, miss


@pytest.mark.train
def test_the_localiser_says_where_its_middle_cannot_be_trusted() -> None:
    spine = draw_spine(7000)
    localisation = through(spine, shipped_localiser())
    geometries = measure_levels(localisation, [False] * len(localisation.vertebrae))
    labels = localisation.labels
    cut = [
        geometry
        for vertebra, geometry in zip(localisation.vertebrae, geometries, strict=True)
        if geometry is not None
        and vertebra.coverage is Coverage.COMPLETE
        and (np.any(labels[0] == vertebra.index) or np.any(labels[-1] == vertebra.index))
    ]
    assert cut
    for geometry in cut:
        assert geometry.volume is None
        assert geometry.target is None or CUT_SIDEWAYS in geometry.target.limited_by
