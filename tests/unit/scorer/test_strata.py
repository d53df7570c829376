"""The hard kinds of levels that figures are given for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.train


def _level(roles: str, **changes: object) -> dict[str, Any]:
    usual = {"height_loss_percent": 0.0, "field_t": 1.5, "slice_mm": 4.0, "edema_fraction": 0.0}
    return usual | {"mimics": [], "sequence_set": roles} | changes


def test_levels_are_told_apart_by_what_was_acquired_of_their_study() -> None:
    from training.scorer.pool import LevelPool
    from training.scorer.strata import groups_of_levels

    about = [
        _level("stir"),
        _level("stir+t1"),
        _level("dixon_water+dixon_fat"),
        _level("dixon_water+t1+dixon_fat", slice_mm=5.5, field_t=3.0),
        _level("t2_fs+t2", height_loss_percent=15.0, mimics=["modic_1"]),
    ]
    groups = groups_of_levels(LevelPool(Path("no"), about=about))

    assert groups["with_t1"].tolist() == [False, True, False, True, False]
    assert groups["with_dixon_fat"].tolist() == [False, False, True, True, False]
    assert groups["without_either"].tolist() == [True, False, False, False, True]
    assert groups["thick_slices"].tolist() == groups["3_t"].tolist() == [False] * 3 + [True, False]
    assert groups["mild"].tolist() == groups["modic_confounded"].tolist() == [False] * 4 + [True]
