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
from training.phantom.scanner.conditions import SaturationBand, draw_conditions
from training.phantom.scanner.fields import noise_map, smooth_volume
from training.phantom.scanner.protocols import Site, sample_protocol
from training.phantom.scanner.sampling import point_spread, slice_profile


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


def test_scanner_filters_sharpen_or_smooth() -> None:
    grid = block_grid()
    protocol = stir()
    steepness = []
    for strength in (-0.8, 0.0, 0.8):
        image = scan(grid, replace(protocol, filter_strength=strength)).array
        steepness.append(float(np.abs(np.diff(image, axis=1)).max()))
    assert steepness == sorted(steepness)
    assert steepness[2] > 1.1 * steepness[0]


def test_breathing_blurs_along_phase_only() -> None:
    grid = block_grid()
    for phase_axis in (1, 2):
        protocol = replace(stir(), phase_axis=phase_axis)
        sharp = scan(grid, protocol).array
        blurred = scan(grid, protocol, replace(calm(protocol), blur_mm=1.5)).array
        edge = [np.quantile(np.abs(np.diff(image, axis=axis)), 0.999)
                for image in (blurred, sharp) for axis in (1, 2)]  # fmt: skip
        lost = [edge[0] / edge[2], edge[1] / edge[3]]
        assert lost[phase_axis - 1] < 0.9
        assert lost[2 - phase_axis] == pytest.approx(1.0, abs=0.02)


def test_vessels_ghost_along_phase() -> None:
    grid = block_grid()
    vessel = grid.tissue.copy()
    vessel[:, 40:50, 4:12] = Tissue.FLOWING_BLOOD
    with_vessel = replace(grid, tissue=vessel)
    protocol = replace(stir(), phase_axis=1)
    plain, ghosted = (
        scan(with_vessel, protocol, replace(calm(protocol), vessel_ghost=strength)).array
        for strength in (0.0, 0.25)
    )
    changed = np.abs(ghosted - plain).mean(axis=(0, 1))
    assert changed[:14].max() > 5.0 * max(float(changed[30:].max()), 0.01)
    without = scan(grid, protocol, replace(calm(protocol), vessel_ghost=0.25)).array
    assert np.abs(without - scan(grid, protocol).array).max() <= 1.0


def test_a_saturation_band_takes_the_part_it_is_told_to() -> None:
    grid, protocol = block_grid(), stir()
    band = SaturationBand(top=0.02, bottom=0.02, width=0.12, depth=0.8)
    plain = scan(grid, protocol).array
    dark = scan(grid, protocol, replace(calm(protocol), saturation=band)).array
    left = (dark / np.maximum(plain, 1.0)).mean(axis=(0, 1))
    assert left.min() == pytest.approx(0.2, abs=0.06)
    assert left[-10:] == pytest.approx(1.0, abs=0.02)


def test_parallel_imaging_makes_noise_uneven_and_louder_in_bands() -> None:
    protocol = replace(stir(), acceleration=2.0)
    conditions = replace(
        calm(protocol), noise_bands=0.7, noise_modes=np.zeros((3, 3)), corrected=False
    )
    even = np.ones((60, 50), dtype=np.float32)
    for phase_axis in (1, 2):
        level = noise_map(conditions, even, 2.0, phase_axis)
        along = level.mean(axis=2 - phase_axis)
        assert along.max() > 1.25 * along.min()
        # Aliased places are noisier: at the middle and, for two-fold acceleration, at the ends.
        assert along.argmax() in (0, len(along) // 2, len(along) // 2 - 1, len(along) - 1)
    assert noise_map(replace(conditions, noise_bands=0.0), even, 1.0, 1) == pytest.approx(1.0)


def test_transmit_fields_shade_smoothly_and_more_at_high_field() -> None:
    spreads = []
    for field_t in (1.5, 3.0):
        drawn = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            protocol = sample_protocol(Role.T1, rng, Site("siemens", field_t))
            gain = smooth_volume(draw_conditions(protocol, rng).field_modes, (12, 64, 48))
            assert np.abs(np.diff(gain, axis=1)).max() < 0.06
            drawn.append(float(gain.std() / gain.mean()))
        spreads.append(float(np.mean(drawn)))
    assert 0.0 < spreads[0] < spreads[1] < 0.3


def test_partial_volume_mixes_what_a_slice_cuts_and_gaps_are_not_seen() -> None:
    """A slice of 4 mm half in bone and half in muscle; what lies in the gap adds nothing."""
    positions = np.array([40.0, 60.0])
    thick = slice_profile(positions, 100, 10.0, 0.1)
    matrix = thick.dense(100)
    assert matrix.sum(axis=1) == pytest.approx(1.0, abs=1e-3)
    assert matrix[0, 40:].sum() == pytest.approx(0.5, abs=0.06)
    gap = slice(48, 53)
    assert matrix[:, gap].max() < 0.25 * matrix.max()


def test_noise_is_as_coarse_as_the_acquired_matrix() -> None:
    grid = replace(block_grid(), tissue=np.full(block_grid().tissue.shape, Tissue.AIR, np.uint8))
    protocol = replace(stir(), snr=5.0, pixel_mm=0.8)
    likeness = []
    for acquired in (0.8, 1.6):
        coarse = replace(protocol, acquired_mm=(acquired, acquired))
        image = acquire(grid, coarse, np.random.default_rng(3), conditions=calm(coarse)).array
        noise = image[2] - image[2].mean()
        likeness.append(float((noise[:, 1:] * noise[:, :-1]).mean() / (noise**2).mean()))
    assert likeness[0] < 0.35
    assert likeness[1] > likeness[0] + 0.15
