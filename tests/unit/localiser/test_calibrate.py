"""Settings of the naming, fitted to what was counted."""

from __future__ import annotations

import numpy as np
import pytest

from models.findings import BodySize
from models.localiser.evidence import LevelSettings
from models.localiser.exactness import SizeSpread
from models.localiser.localiser import size_spread
from models.manifest import SECTION

pytestmark = pytest.mark.train


def test_ribs_count_for_no_more_than_on_real_scans() -> None:
    from training.localiser.calibrate import Body, Counted, fitted

    usual = LevelSettings()
    bodies = [
        *(Body("T8", 1.5, 0.0) for _ in range(18)),
        *(Body("T8", 0.0, 0.0) for _ in range(2)),
        *(Body("T12", 0.9, 0.0) for _ in range(1)),
        *(Body("T12", 0.0, 0.0) for _ in range(17)),
        *(Body("L1", 0.1, 0.0) for _ in range(8)),
        Body("L1", 2.0, 0.0),
        Body("T12", np.nan, 0.0),
    ]
    settings = fitted(Counted(tuple(bodies), ()), usual)

    assert settings.rib_ml >= usual.rib_ml
    assert settings.rib_thoracic == usual.rib_thoracic  # 19 of 22 would be more
    assert settings.rib_last == pytest.approx(2 / 20, abs=1e-3)
    assert settings.rib_lumbar == pytest.approx(2 / 11, abs=1e-3)


def test_too_few_bodies_change_nothing() -> None:
    from training.localiser.calibrate import Body, Counted, fitted

    few = Counted((Body("T12", 0.6, 0.0),), (0.9,))

    assert fitted(few, LevelSettings()) == LevelSettings()


def test_the_least_confidence_is_that_of_the_least_sure_scans() -> None:
    from training.localiser.calibrate import Counted, fitted

    settings = fitted(Counted((), tuple(np.linspace(0.8, 0.99, 200))), LevelSettings())

    assert settings.least_confidence == pytest.approx(0.801, abs=0.002)


def test_exactness_comes_from_the_bundle_and_grows_with_the_voxel() -> None:
    stored = {"height_mm": 0.5, "depth_mm": 0.6, "width_mm": 2.0, "volume": 0.05}
    spread = size_spread({SECTION: {"calibration": {"size_spread": stored}}})
    size = BodySize(20.0, 32.0, 44.0, 25.0, 24.0, 26.0)

    assert spread == SizeSpread(**stored)
    assert size_spread({}) is None
    fine, coarse = spread.of(size, 0.6, 4.0), spread.of(size, 1.5, 6.0)
    assert fine == BodySize(1.0, 0.6, 2.0, 0.5, 0.5, 0.5)
    assert coarse is not None
    assert coarse.height_middle_mm == pytest.approx(0.75)
    assert coarse.width_mm == pytest.approx(3.0)
    assert spread.of(None, 1.0, 4.0) is None
