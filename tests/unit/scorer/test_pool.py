"""What the training pool asks of a crop: faint edema is not asked for, and noise is smooth."""

from __future__ import annotations

import numpy as np
import pytest

from models.scorer.crops import CHANNELS

pytest.importorskip("torch")
pytestmark = pytest.mark.train


def _contrast_of(brightness: float, *, wet: bool) -> float:
    from training.scorer.pool import _contrast

    crops = np.zeros((1, len(CHANNELS), 4, 16, 16), np.float32)
    crops[:, -2:, :, 4:12, 4:12] = 1.0
    own = np.zeros((1, 4, 8, 8), np.float32)
    own[:, :, 2:6, 2:6] = 1.0
    edema = np.zeros((1, 1, 4, 8, 8), np.float32)
    if wet:
        edema[:, :, :, 2:4, 2:6] = 1.0
    crops[:, CHANNELS.index("fluid"), :, 4:8, 4:12] = brightness
    return float(_contrast(crops, own, edema)[0])


def test_contrast_is_that_of_edema_to_the_marrow_around_it() -> None:
    assert _contrast_of(0.35, wet=True) == pytest.approx(0.35, abs=1e-5)
    assert _contrast_of(0.1, wet=True) == pytest.approx(0.1, abs=1e-5)


def test_a_dry_body_is_always_asked_for() -> None:
    assert _contrast_of(0.1, wet=False) == np.inf


def test_waves_are_smooth_and_of_about_unit_variance() -> None:
    from training.scorer.augment import _waves

    rng = np.random.default_rng(0)
    waves = np.stack([_waves((12, 72, 48), rng) for _ in range(60)])
    assert waves.std() == pytest.approx(0.8, abs=0.3)
    assert np.abs(np.diff(waves, axis=2)).mean() < 0.2 * waves.std()
