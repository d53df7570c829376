from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the [train] extra")

from models.findings import Call, StudyVolumes
from models.scorer.scorer import Scorer
from models.volume import Role
from tests.unit.scorer.test_scorer import METADATA, BrightIsWet
from tests.unit.scorer.toy_spine import Toy
from training.evaluate_real.inserted import (
    CONTRASTS,
    Inserted,
    insert,
    inserted_of,
    inserted_table,
    summarise_inserted,
)
from training.evaluate_real.studies import Truth

TOY = Toy()
VOLUME = TOY.volume(Role.STIR)
LABELS = TOY.labels()
VERTEBRA = TOY.localisation().vertebrae[2]


@pytest.mark.parametrize("contrast", [1.3, 2.2])
def test_edema_has_the_contrast_and_the_extent_that_is_said(contrast: float) -> None:
    body = LABELS == 3
    wet, extent = insert(VOLUME, body, VERTEBRA, contrast, seed=3)
    ratio = wet.array[body] / np.maximum(VOLUME.array[body], 1e-6)
    assert np.array_equal(wet.array[~body], VOLUME.array[~body])
    raised = ratio > 1.0 + (contrast - 1.0) / 2.0
    assert raised.mean() == pytest.approx(extent, abs=0.12)
    assert np.median(ratio[ratio > 1.0 + 0.7 * (contrast - 1.0)]) == pytest.approx(
        contrast, rel=0.15
    )
    assert 0.15 < extent < 0.85


def test_the_same_seed_gives_the_same_lesion_at_every_contrast() -> None:
    body = LABELS == 3
    extents = {insert(VOLUME, body, VERTEBRA, contrast, seed=9)[1] for contrast in CONTRASTS}
    assert len(extents) == 1
    assert insert(VOLUME, body, VERTEBRA, 1.5, seed=10)[1] not in extents


def test_lesions_are_scored_in_bodies_without_edema_and_summed_up() -> None:
    mask = LABELS.astype(np.uint8)
    truth = Truth("toy", "STIR", "1.2", Path("truth.nii.gz"), {"L1": True})
    study = StudyVolumes(VOLUME, {"stir": VOLUME})
    found = TOY.localisation()
    results = list(inserted_of(truth, study, found, mask, Scorer(BrightIsWet(), METADATA)))
    assert [one.contrast for one in results] == list(CONTRASTS)
    assert results[-1].call is Call.PRESENT or results[-1].extent < 0.5
    assert results[0].call is not Call.PRESENT


def test_sensitivity_is_counted_by_contrast() -> None:
    results = [
        Inserted("a", 1.5, 0.5, 0.9, Call.PRESENT, 0.4),
        Inserted("b", 1.5, 0.3, 0.4, Call.INDETERMINATE, 0.2),
        Inserted("a", 1.1, 0.5, 0.1, Call.ABSENT, 0.0),
    ]
    figures = summarise_inserted(results)
    low, high = figures["curve"]
    assert (low["contrast"], low["called_present"], low["extent_error_points"]) == (1.1, 0, None)
    assert (high["sensitivity"], high["indeterminate"]) == (0.5, 1)
    assert high["extent_error_points"] == pytest.approx(10.0)
    assert "1.5" in inserted_table(figures)
