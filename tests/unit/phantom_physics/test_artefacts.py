"""Each artefact alone: where it changes the image, by how much, and where it leaves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.volume import Role
from tests.unit.phantom_physics.test_acquisition import calm, scan, stir
from tests.unit.phantom_physics.toy import block_grid
from training.phantom.painting.tissues import Tissue
from training.phantom.scanner.acquisition import acquire
from training.phantom.scanner.sampling import point_spread


def test_csf_voids_darken_csf_and_nothing_else() -> None:
    grid, protocol = block_grid(), stir()
    plain = scan(grid, protocol).array
    dark = scan(grid, protocol, replace(calm(protocol), csf_void=0.6)).array
    lost = 1.0 - dark / np.maximum(plain, 1.0)
    changed = np.abs(dark - plain) > 2.0
    columns = np.flatnonzero(changed.any(axis=(0, 1)))
    bright = plain > 0.8 * np.percentile(plain[:, :, columns], 95)
    assert np.ptp(columns) * protocol.pixel_mm < 10 * 0.9 + 4.0
    inside = lost[bright & changed]
    assert 0.1 < inside.mean() < 0.5
    assert inside.max() < 0.62


@pytest.mark.parametrize("name", ["csf_ghost", "breathing_ghost"])
def test_ghosts_are_copies_moved_along_phase(name: str) -> None:
    grid = block_grid()
    sizes = []
    for strength in (0.04, 0.08):
        protocol = replace(stir(), phase_axis=2)
        plain = scan(grid, protocol).array
        ghosted = scan(grid, protocol, replace(calm(protocol), **{name: strength})).array
        difference = ghosted - plain
        assert np.abs(difference).mean() > 0.1
        sizes.append(float(np.abs(difference).mean()))
    assert sizes[1] == pytest.approx(2.0 * sizes[0], rel=0.25)
    # Along rows instead, what is added at one place comes from other rows of the same columns.
    protocol = replace(stir(), phase_axis=1)
    rows = scan(grid, protocol, replace(calm(protocol), csf_ghost=0.08)).array
    difference = np.abs(rows - scan(grid, protocol).array).mean(axis=(0, 1))
    assert difference.argmax() in range(int(46 * 0.8), int(58 * 1.2))
    assert difference[:8].max() < 0.1 * difference.max()


def test_a_bare_transform_rings_at_edges_and_a_window_does_not() -> None:
    """Gibbs: 9 % of a step for a bare transform; a Hamming window keeps it under 1 %."""
    step = np.zeros(400)
    step[200:] = 1.0
    overshoot = []
    for window in (0.0, 0.46):
        band = point_spread(np.arange(20.0, 380.0), 400, 4.0, window)
        seen = np.array([
            float(step[start : start + len(weights)] @ weights)
            for start, weights in zip(band.start, band.weights, strict=True)
        ])  # fmt: skip
        overshoot.append(float(seen.max() - 1.0))
    assert 0.05 < overshoot[0] < 0.12
    assert overshoot[1] < 0.015


def test_cross_talk_darkens_every_second_slice() -> None:
    grid, protocol = block_grid(), stir()
    plain = scan(grid, protocol).array.mean(axis=(1, 2))
    seen = scan(grid, protocol, replace(calm(protocol), cross_talk=0.1)).array.mean(axis=(1, 2))
    inner = slice(2, 7)
    ratio = (seen / plain)[inner]
    assert ratio[0::2] == pytest.approx(ratio[0], abs=0.01)
    assert ratio[1::2] == pytest.approx(ratio[1], abs=0.01)
    assert sorted((ratio[0], ratio[1])) == pytest.approx([0.9, 1.0], abs=0.01)


def test_noise_is_rician_where_there_is_no_signal() -> None:
    """Rayleigh: the mean is 1.91 standard deviations, 1.25 of each channel's; never below zero."""
    grid = block_grid()
    empty = replace(grid, tissue=np.full_like(grid.tissue, Tissue.AIR))
    empty.tissue[:, :30] = Tissue.MARROW
    protocol = replace(stir(), snr=5.0, role=Role.STIR)
    volume = acquire(empty, protocol, np.random.default_rng(3), conditions=calm(protocol))
    air = volume.array[2:-2, -20:]
    assert air.min() >= 0.0
    assert air.mean() / air.std() == pytest.approx(1.913, rel=0.06)
