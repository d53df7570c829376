"""The static field: dipoles of air as in the textbook, shims, and what goes wrong because of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.volume import Role
from training.phantom.draw import grid_under, target_of
from training.phantom.painting.tissues import Tissue, TissueGrid
from training.phantom.scanner.acquisition import acquire, place_slices
from training.phantom.scanner.conditions import draw_conditions
from training.phantom.scanner.physics import Suppression
from training.phantom.scanner.protocols import Protocol, Site, sample_protocol
from training.phantom.scanner.sampling import SliceGeometry
from training.phantom.scanner.static_field import (
    AIR_PPM,
    StaticField,
    draw_static_field,
    farthest,
    out_of_band,
    static_field_map,
)
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene

EVEN = StaticField(1.0, 1, np.zeros((3, 3, 3)), 0.0, 0.0, 1.2)
SPACING = (8.0, 8.0, 8.0)


def bubble(radius_mm: float = 40.0) -> np.ndarray:
    """Fat with a ball of gas in the middle, (slice, row, column) at `SPACING`."""
    tissue = np.full((25, 41, 41), Tissue.FAT, dtype=np.uint8)
    at = [np.arange(count) - count // 2 for count in tissue.shape]
    distance = 8.0 * np.sqrt(at[0][:, None, None] ** 2 + at[1][:, None] ** 2 + at[2] ** 2)
    tissue[distance < radius_mm] = Tissue.GAS
    return tissue


def planned(scene: Scene, protocol: Protocol) -> tuple[SliceGeometry, TissueGrid]:
    slices = place_slices(target_of(scene), protocol, np.random.default_rng(1))
    return slices, paint(scene, grid_under(slices, protocol.acquired_mm)).finish()


def field_in(tissue: TissueGrid, field: StaticField) -> np.ndarray:
    pitch = np.linalg.norm(tissue.affine[:3, :3], axis=0)
    return static_field_map(
        field, tissue.tissue, (float(pitch[0]), float(pitch[1]), float(pitch[2]))
    )


def test_a_ball_of_air_bends_the_field_as_a_dipole_does() -> None:
    ppm = static_field_map(EVEN, bubble(), SPACING)
    k, i, j = (count // 2 for count in ppm.shape)
    filled_mm3 = np.count_nonzero(bubble() == Tissue.GAS) * 8.0**3
    radius = (3.0 * filled_mm3 / (4.0 * np.pi)) ** (1.0 / 3.0)
    moment = AIR_PPM / 3.0 * (radius / 64.0) ** 3
    above, beside = ppm[k, i - 8, j], ppm[k, i, j - 8]
    # Along the magnet twice as strong as across it and of the other sign; the shim takes a little.
    assert above - beside == pytest.approx(3.0 * moment, rel=0.12)
    assert above > 0.0 > beside
    assert abs(ppm[k, i, j]) < 0.5 * moment + 0.2


def test_a_better_shim_leaves_less() -> None:
    scene = sample_scene(5, SceneRequest(region="thoracolumbar"))
    protocol = sample_protocol(Role.T2_FS, np.random.default_rng(1), Site("ge", 1.5))
    _, tissue = planned(scene, protocol)
    left = {}
    for order in (1, 2):
        ppm = field_in(tissue, EVEN._replace(order=order))
        middle = ppm[:, ppm.shape[1] // 4 : -ppm.shape[1] // 4, ppm.shape[2] // 4 : -12]
        left[order] = float(np.std(middle))
    assert 0.02 < left[2] < left[1] < 3.0


def test_a_pulse_misses_fat_and_hits_water_off_its_band() -> None:
    ppm = np.array([0.0, 1.0, -1.0, 2.0, -2.0, -3.4], dtype=np.float32)
    missed, hit = out_of_band(ppm, 1.4)
    assert missed == pytest.approx([0, 0.06, 0.06, 1, 1, 1], abs=0.08)
    assert hit == pytest.approx([0, 0, 0, 0, 0.5, 1], abs=0.02)


def test_bands_are_as_wide_in_hertz_at_low_field() -> None:
    wide, usual = (
        np.mean(
            [
                draw_static_field(
                    Suppression.CHESS, field_t, 1.0, np.random.default_rng(seed)
                ).band_ppm
                for seed in range(50)
            ]
        )
        for field_t in (0.3, 1.5)
    )
    assert wide == pytest.approx(usual / 0.3, rel=0.01)


def test_swaps_begin_where_the_field_is_farthest_off() -> None:
    rng = np.random.default_rng(0)
    ppm = rng.normal(0.0, 1.0, (4, 30, 30)).astype(np.float32)
    inside = np.ones(ppm.shape, dtype=bool)
    share = farthest(ppm, inside, 0.1)
    assert share.mean() == pytest.approx(0.1, abs=0.03)
    assert np.abs(ppm[share > 0.5]).min() > np.abs(ppm[share < 0.2]).max() - 0.5


def test_in_an_even_field_no_part_is_swapped_before_another() -> None:
    scene = sample_scene(3, SceneRequest(region="lumbar", healthy=True))
    protocol = sample_protocol(Role.DIXON_WATER, np.random.default_rng(1), Site("siemens", 1.5))
    slices, tissue = planned(scene, protocol)
    drawn = draw_conditions(protocol, np.random.default_rng(3))
    plain, part, whole = (
        acquire(
            tissue,
            protocol,
            np.random.default_rng(4),
            slices=slices,
            conditions=replace(drawn, swapped=swapped, static_field=None),
        ).array
        for swapped in (0.0, 0.3, 1.0)
    )
    assert np.abs(part - plain).mean() < 1.0
    assert np.abs(whole - plain).mean() > 10.0


def test_a_swap_of_a_part_spares_the_shimmed_middle() -> None:
    scene = sample_scene(3, SceneRequest(region="lumbar", healthy=True))
    protocol = sample_protocol(Role.DIXON_WATER, np.random.default_rng(1), Site("siemens", 1.5))
    slices, tissue = planned(scene, protocol)
    drawn = draw_conditions(protocol, np.random.default_rng(3))
    images = {
        part: acquire(
            tissue,
            protocol,
            np.random.default_rng(4),
            slices=slices,
            conditions=replace(drawn, swapped=part),
        ).array
        for part in (0.0, 0.08)
    }
    changed = np.abs(images[0.08] - images[0.0]) > 0.2 * images[0.0].mean()
    rows, columns = changed.shape[1:]
    middle = changed[:, rows // 3 : -rows // 3, columns // 2 - 20 : columns // 2 + 20]
    assert 0.002 < changed.mean() < 0.2
    assert middle.mean() < 0.5 * changed.mean()


@pytest.mark.parametrize(
    ("suppression", "least", "most"), [("chess", 0.3, 0.75), ("spair", 0.12, 0.6)]
)
def test_suppression_fails_as_often_as_it_does(suppression: str, least: float, most: float) -> None:
    failed = []
    for seed in range(12):
        scene = sample_scene(seed)
        site = Site("siemens", 1.5)
        protocol = sample_protocol(Role.T2_FS, np.random.default_rng(seed), site)
        _, tissue = planned(scene, protocol)
        for turn in range(4):
            rng = np.random.default_rng([seed, turn])
            field = draw_static_field(Suppression(suppression), 1.5, 1.0, rng)
            ppm = field_in(tissue, field)
            places = [
                np.rint(np.linspace(0, count - 1, few)).astype(int)
                for count, few in zip(tissue.tissue.shape, ppm.shape, strict=True)
            ]
            fatty = tissue.tissue[np.ix_(*places)] == Tissue.FAT
            failed.append(out_of_band(ppm, field.band_ppm)[0][fatty].mean() > 0.03)
    assert least < np.mean(failed) < most
