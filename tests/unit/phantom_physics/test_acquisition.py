"""Where things land, and what a scan does to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import GeometryError
from models.geometry import to_index, to_lps
from models.localiser.classes import Structure
from models.volume import Role, Volume
from tests.unit.phantom_physics.toy import PITCH, SHAPE, block_grid
from training.phantom.draw import draw_contrast
from training.phantom.painting.tissues import Tissue, TissueGrid
from training.phantom.scanner.acquisition import (
    LabelledVolume,
    acquire,
    fraction_on,
    place_slices,
    truth_on,
    with_spacing,
)
from training.phantom.scanner.conditions import Conditions, SaturationBand, draw_conditions
from training.phantom.scanner.contrast import random_contrast
from training.phantom.scanner.mix import TRAIN
from training.phantom.scanner.physics import DixonPart
from training.phantom.scanner.protocols import Protocol, Site, sample_protocol
from training.phantom.scanner.sampling import (
    SliceGeometry,
    box,
    filtered,
    point_spread,
    slice_profile,
    stretched,
)
from training.phantom.scanner.static_field import StaticField
from training.phantom.scanner.vendors import VENDORS

SITE = Site("siemens", 1.5)


def quiet(protocol: Protocol) -> Protocol:
    """No noise, shading, shift or filter: what is left is contrast and geometry."""
    return replace(
        protocol, snr=1e6, shift_px=0.0, filter_strength=0.0, coil_per_cm=0.0, acceleration=1.0
    )


def calm(protocol: Protocol) -> Conditions:
    """No nuisance at all."""
    drawn = draw_conditions(protocol, np.random.default_rng(1))
    return replace(
        drawn,
        tissue_gain=np.ones(len(Tissue)),
        shift_mm=(0.0, 0.0, 0.0),
        turn_deg=0.0,
        corrected=True,
        coil_per_cm=0.0,
        coil_ridge=0.0,
        field_modes=np.zeros((3, 3, 3)),
        noise_modes=np.zeros((3, 3)),
        noise_bands=0.0,
        static_field=None,
        inversion_loss=0.0,
        inversion_modes=None,
        swapped=0.0,
        saturation=None,
        texture=0.0,
        csf_ghost=0.0,
        breathing_ghost=0.0,
        vessel_ghost=0.0,
        csf_void=0.0,
        blur_mm=0.0,
        wrap=0.0,
        metal=0.0,
        slice_gain=0.0,
        cross_talk=0.0,
        window=0.4,
    )


def stir(seed: int = 3) -> Protocol:
    protocol = quiet(sample_protocol(Role.STIR, np.random.default_rng(seed), SITE))
    return replace(
        protocol, acquired_mm=(1.0, 1.0), pixel_mm=0.9, thickness_mm=3.0, gap_mm=0.4, slices=9
    )


def scan(grid: TissueGrid, protocol: Protocol, conditions: Conditions | None = None) -> Volume:
    rng = np.random.default_rng(2)
    return acquire(grid, protocol, rng, conditions=conditions or calm(protocol))


def test_a_small_bright_thing_lands_at_its_place_in_the_patient() -> None:
    grid = block_grid()
    tissue = np.full(SHAPE, Tissue.AIR, dtype=np.uint8)
    where = np.array([13, 37, 58])
    tissue[12:15, 36:39, 57:60] = Tissue.CSF
    zero = np.zeros(SHAPE, dtype=np.uint8)
    lonely = replace(grid, tissue=tissue, fat_percent=zero, free_water=zero, structure=zero)
    protocol = replace(stir(), phase_axis=2)
    volume = scan(lonely, protocol)
    weight = np.where(volume.array > 0.2 * volume.array.max(), volume.array, 0.0)
    centre = [np.average(index, weights=weight) for index in np.indices(volume.shape)]
    distance = to_lps(volume.affine, centre) - to_lps(grid.affine, where)
    steps = distance @ (grid.affine[:3, :3] / np.asarray(PITCH.mm))
    assert np.abs(steps[1:]).max() < 0.3
    assert abs(steps[0]) < 1.2


def test_motion_moves_the_image_and_not_the_header() -> None:
    grid, protocol = block_grid(), stir()
    still = scan(grid, protocol)
    moved = scan(grid, protocol, replace(calm(protocol), shift_mm=(0.0, 0.0, 2 * 0.9)))
    assert np.array_equal(still.affine, moved.affine)
    inner = (slice(2, -2), slice(10, -10))
    same = np.corrcoef(still.array[inner][:, :, :-2].ravel(), moved.array[inner][:, :, 2:].ravel())
    assert same[0, 1] > 0.999


def test_chemical_shift_moves_fat_along_the_readout_only() -> None:
    grid = block_grid()
    base = replace(stir(), role=Role.T1)
    t1 = sample_protocol(Role.T1, np.random.default_rng(0), SITE).sequence
    base = replace(base, sequence=t1, phase_axis=1)
    plain = scan(grid, base).array
    shifted = scan(grid, replace(base, shift_px=2.0)).array
    assert np.abs(shifted - plain).max() > 0.1 * plain.max()
    muscle_row = plain[4, 40]
    assert shifted[4, 40] != pytest.approx(muscle_row)


def test_edema_is_seen_on_stir_in_the_right_body() -> None:
    grid, protocol = block_grid(edema=200), stir()
    volume = scan(grid, protocol)
    _, body = truth_on(grid, volume)
    medians = [float(np.median(volume.array[body == number])) for number in (1, 2, 3)]
    assert medians[0] == pytest.approx(medians[2], rel=0.03)
    assert 1.3 < medians[1] / medians[0] < 4.5


def image_of(
    grid: TissueGrid,
    rng: np.random.Generator,
    role: Role | None = None,
    spacing_mm: tuple[float, float] = (4.0, 1.0),
) -> LabelledVolume:
    """Any image of a grid, with its labels."""
    protocol, table = draw_contrast(rng)
    if role is not None:
        protocol, table = sample_protocol(role, rng), None
    protocol = with_spacing(protocol, spacing_mm[1], spacing_mm[0])
    volume = acquire(grid, protocol, rng, table=table)
    return LabelledVolume(volume, *truth_on(grid, volume), protocol)


def test_same_generator_same_volume_and_another_differs() -> None:
    grid = block_grid()
    volumes = [image_of(grid, np.random.default_rng(seed)).volume for seed in (4, 4, 5)]
    assert np.array_equal(volumes[0].array, volumes[1].array)
    assert volumes[0].array.shape != volumes[2].array.shape or not np.array_equal(
        volumes[0].array, volumes[2].array
    )


@pytest.mark.parametrize("role", [Role.STIR, Role.T1, Role.T2, Role.T2_FS, Role.DIXON_WATER])
def test_stored_values_are_whole_and_twelve_bit(role: Role) -> None:
    labelled = image_of(block_grid(), np.random.default_rng(8), role=role)
    array = labelled.volume.array
    assert labelled.volume.role is role
    assert array.dtype == np.float32
    assert array.min() >= 0
    assert array.max() <= 4095
    assert np.array_equal(array, np.rint(array))
    assert np.unique(array).size > 20
    assert labelled.structure.shape == labelled.body.shape == array.shape


def test_asked_spacing_is_given() -> None:
    labelled = image_of(block_grid(), np.random.default_rng(1), spacing_mm=(4.4, 1.25))
    assert labelled.volume.spacing.mm == pytest.approx((4.4, 1.25, 1.25))


def test_random_contrast_is_drawn_at_its_share_and_is_nobodys_role() -> None:
    roles = [
        draw_contrast(np.random.default_rng(seed), replace(TRAIN, random_contrast_share=share))[
            0
        ].role
        for share in (1.0, 0.0)
        for seed in range(4)
    ]
    assert set(roles[:4]) == {Role.OTHER}
    assert Role.OTHER not in roles[4:]


def test_in_and_opposed_phase_images_are_drawn_too() -> None:
    plain = replace(TRAIN, random_contrast_share=0.0)
    drawn = [draw_contrast(np.random.default_rng(seed), plain) for seed in range(300)]
    parts = [protocol.sequence.dixon_part for protocol, _ in drawn]
    for part, role in ((DixonPart.IN_PHASE, Role.T2), (DixonPart.OUT_OF_PHASE, Role.OTHER)):
        assert 1 <= parts.count(part) <= 20
        assert {p.role for p, _ in drawn if p.sequence.dixon_part is part} == {role}
    assert all(table is None for _, table in drawn)


def test_random_contrast_keeps_voids_dark_and_bodies_apart_from_discs() -> None:
    for seed in range(20):
        table = random_contrast(np.random.default_rng(seed))
        assert table.at(Tissue.AIR) <= 0.06
        level = table.combined[:, 0, 0]
        assert abs(level[Tissue.MARROW] - level[Tissue.NUCLEUS]) > 0.1


def test_truth_is_what_fills_the_most_of_a_voxel() -> None:
    grid = block_grid()
    affine = grid.affine.copy()
    affine[:3, 0] *= 2
    affine[:3, 3] = to_lps(grid.affine, (0.5, 0.0, 0.0))
    volume = Volume(np.zeros((15, 90, 80), dtype=np.float32), affine, Role.STIR)
    structure, body = truth_on(grid, volume)
    assert np.array_equal(structure, grid.structure[::2])
    assert np.array_equal(body, grid.body[::2])


def test_bodies_are_labelled_exactly_where_the_structure_is_a_body() -> None:
    labelled = image_of(block_grid(), np.random.default_rng(11))
    bone = np.isin(labelled.structure, (Structure.BODY, Structure.SACRUM_S1))
    assert np.array_equal(bone, labelled.body > 0)
    assert set(np.unique(labelled.body)) == {0, 1, 2, 3}


def test_fraction_is_the_mean_over_the_voxel() -> None:
    grid = block_grid()
    affine = grid.affine.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] = to_lps(grid.affine, (0.5, 0.5, 0.5))
    volume = Volume(np.zeros((15, 45, 40), dtype=np.float32), affine, Role.STIR)
    fraction = fraction_on(grid.body == 2, grid, volume)
    assert fraction.sum() * 8 == pytest.approx((grid.body == 2).sum(), rel=1e-4)
    assert fraction.max() == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(
    offset=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    pitch=st.tuples(st.floats(2.0, 6.0), st.floats(0.6, 1.6), st.floats(0.6, 1.6)),
)
def test_truth_stays_at_its_place_for_any_slices(
    offset: tuple[float, float, float], pitch: tuple[float, float, float]
) -> None:
    grid = block_grid()
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] / np.asarray(PITCH.mm) * np.asarray(pitch)
    affine[:3, 3] = to_lps(grid.affine, offset)
    shape = tuple(int(n * old / new) for n, old, new in zip(SHAPE, PITCH.mm, pitch, strict=True))
    volume = Volume(np.zeros(shape, dtype=np.float32), affine, Role.T2)
    _, body = truth_on(grid, volume)
    for number in (1, 2):
        found = to_lps(affine, np.argwhere(body == number).mean(axis=0))
        drawn = to_lps(grid.affine, np.argwhere(grid.body == number).mean(axis=0))
        steps = (found - drawn) @ (grid.affine[:3, :3] / np.asarray(PITCH.mm))
        assert np.all(np.abs(steps) < 0.5 * np.asarray(pitch) + 0.4)


def test_slices_that_do_not_follow_the_grid_are_refused() -> None:
    grid = block_grid()
    straight = np.diag([3.0, 1.0, 1.0, 1.0])
    with pytest.raises(GeometryError):
        acquire(
            grid,
            stir(),
            np.random.default_rng(0),
            slices=SliceGeometry((5, 40, 40), straight, 3.0),
        )


def test_slices_stay_inside_the_tissue() -> None:
    grid = block_grid()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        protocol = sample_protocol(Role.T2, rng)
        where = place_slices(grid, protocol, rng)
        corners = np.array([[0, 0, 0], np.asarray(where.shape) - 1])
        index = to_index(grid.affine, to_lps(where.affine, corners))
        assert np.all(index > -1.0)
        assert np.all(index < np.asarray(SHAPE))


def test_noise_grows_as_snr_falls() -> None:
    grid = block_grid()
    clean = scan(grid, stir())
    bone = truth_on(grid, clean)[1] > 0
    level = clean.array[bone].mean()
    spread = {}
    for snr in (60.0, 15.0):
        noisy = scan(grid, replace(stir(), snr=snr))
        spread[snr] = float(np.std(noisy.array[bone] - clean.array[bone]) / level)
    assert spread[60.0] == pytest.approx(1 / 60, rel=0.25)
    assert spread[15.0] == pytest.approx(1 / 15, rel=0.25)


def test_a_saturation_band_stays_in_front_of_the_spine() -> None:
    grid, protocol = block_grid(), stir()
    banded = replace(calm(protocol), saturation=SaturationBand(0.5, 0.6, 0.2, 0.9))
    volume = scan(grid, protocol, banded)
    plain = scan(grid, protocol)
    _, body = truth_on(grid, volume)
    ratio = volume.array[body > 0].mean() / plain.array[body > 0].mean()
    assert ratio > 0.9
    assert (volume.array < 0.5 * plain.array).mean() > 0.02


def test_failing_fat_suppression_brings_fat_back_in_places() -> None:
    grid = block_grid()
    protocol = quiet(sample_protocol(Role.T2_FS, np.random.default_rng(4), SITE))
    protocol = replace(protocol, pixel_mm=0.9, thickness_mm=3.0)
    conditions = calm(protocol)
    ends = StaticField(0.0, 2, np.zeros((3, 3, 3)), 2e4, 0.0, 1.2)
    failing = replace(conditions, static_field=ends)
    lit, dark = (scan(grid, protocol, c).array for c in (failing, conditions))
    fatty, rows = slice(2, 10), lit.shape[1]
    assert lit[:, :3, fatty].mean() > 1.5 * dark[:, :3, fatty].mean()
    middle = slice(rows // 2 - 3, rows // 2 + 3)
    assert lit[:, middle, fatty].mean() == pytest.approx(dark[:, middle, fatty].mean(), rel=0.05)


def test_sampling_weights_sum_to_one_inside() -> None:
    positions = np.linspace(12.0, 60.0, 40)
    for band in (
        slice_profile(positions, 80, 2.4, 0.1),
        point_spread(positions, 80, 1.4, 0.2),
        box(positions, 80, 1.3),
        filtered(point_spread(positions, 80, 1.4, 0.2), -0.6),
    ):
        matrix = band.dense(80)
        assert matrix.shape == (40, 80)
        assert matrix.sum(axis=1) == pytest.approx(np.ones(40), abs=2e-3)


def test_stretching_is_linear_interpolation_that_keeps_both_ends() -> None:
    band = stretched(9, 300)
    values = np.random.default_rng(4).normal(size=9)
    expected = np.interp(np.linspace(0.0, 8.0, 300), np.arange(9), values)
    assert np.allclose(band.dense(9) @ values, expected, atol=1e-6)
    assert (stretched(5, 5).dense(5) == np.eye(5)).all()


def test_every_vendor_and_role_has_a_protocol() -> None:
    for vendor in VENDORS:
        for role in (Role.STIR, Role.T1, Role.T2, Role.T2_FS, Role.DIXON_WATER, Role.DIXON_FAT):
            for field_t in (0.35, 1.5, 3.0):
                rng = np.random.default_rng(3)
                protocol = sample_protocol(role, rng, Site(vendor, field_t))
                assert protocol.role is role
                assert protocol.sequence.field_t == field_t
                if role is Role.STIR:
                    assert 80 <= (protocol.sequence.inversion_ms or 0) <= 260
    with pytest.raises(ValueError, match="no protocol"):
        sample_protocol(Role.LOCALIZER, np.random.default_rng(0))
