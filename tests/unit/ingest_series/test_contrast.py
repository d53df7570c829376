"""The pixel check on a back made of air, fat, muscle and a spine, with a surface coil behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.geometry import Spacing, affine_lps
from models.volume import Role, Volume, reorder
from service.ingest.contrast import (
    FatRim,
    agreed,
    fat_rim,
    is_inverted,
    noise_quality,
    plainest_other,
)
from service.ingest.sequences import SeriesRole

SHAPE = (11, 160, 240)


def back(fat: float, *, skin_mm: float = 40.0, noise: float = 5.0, coil: float = 1.5) -> Volume:
    """Sagittal slab: marrow and muscle of 100, fat 25 mm thick, air behind the skin.

    Args:
        fat: Signal of fat before the coil.
        skin_mm: Air between the skin and the edge of the field of view.
        noise: Standard deviation.
        coil: How much the signal at the skin exceeds that 100 mm inside.
    """
    rng = np.random.default_rng(7)
    columns_mm = np.arange(SHAPE[2]) * 0.9
    skin = columns_mm[-1] - skin_mm
    depth = skin - columns_mm
    signal = np.where(depth < 0, 0.0, np.where(depth < 25, fat, 100.0))
    signal = signal * (1 + (coil - 1) * np.exp(-np.maximum(depth, 0) / 50))
    array = np.abs(signal[None, None] + rng.normal(scale=noise, size=SHAPE)).astype(np.float32)
    affine = affine_lps(Spacing(4.4, 0.8, 0.9), [[0, 1, 0], [0, 0, -1]], (0, 0, 0))
    return Volume(array, affine, Role.OTHER)


def rim_of(volume: Volume) -> FatRim:
    rim = fat_rim(volume)
    assert rim is not None
    return rim


def series(role: Role, confidence: float = 0.97, warnings: tuple[str, ...] = ()) -> SeriesRole:
    return SeriesRole(role, confidence, ("header",), warnings)


@pytest.mark.parametrize("coil", [1.0, 1.5, 2.0])
def test_fat_is_told_from_suppressed_fat(coil: float) -> None:
    assert rim_of(back(260, coil=coil)).bright
    assert rim_of(back(15, coil=coil)).dark


def test_stored_order_does_not_matter() -> None:
    volume = back(260)
    turned = Volume(
        np.ascontiguousarray(reorder(volume.array, (0, 1, 2), (True, False, True))),
        volume.affine
        @ np.array([[-1, 0, 0, 10], [0, 1, 0, 0], [0, 0, -1, SHAPE[2] - 1], [0, 0, 0, 1.0]]),
        Role.OTHER,
    )
    assert rim_of(turned).ratio == pytest.approx(rim_of(volume).ratio, rel=1e-6)


def test_skin_outside_the_field_of_view_says_nothing() -> None:
    assert fat_rim(back(260, skin_mm=-30.0)) is None


def test_agreement_adds_evidence_and_confidence() -> None:
    found = agreed(series(Role.STIR), rim_of(back(15)))
    assert found.evidence == ("header", "fat_dark_in_pixels")
    assert found.confidence > 0.97
    plain = agreed(series(Role.T1), rim_of(back(260)))
    assert plain.evidence == ("header", "fat_bright_in_pixels")


def test_suppression_that_pixels_deny_is_never_silent() -> None:
    found = agreed(series(Role.STIR), rim_of(back(260)))
    assert found.role is Role.STIR
    assert found.confidence <= 0.4
    assert found.warnings == ("fat_suppression_not_seen",)
    assert found.limits == ("fat_suppression_not_seen",)


def test_weak_header_gives_way_to_pixels() -> None:
    assert agreed(series(Role.STIR, 0.4), rim_of(back(260))).role is Role.T2
    assert agreed(series(Role.T2, 0.4), rim_of(back(15))).role is Role.T2_FS


def test_dark_fat_alone_does_not_make_a_t2_fluid_sensitive() -> None:
    found = agreed(series(Role.T2), rim_of(back(15)))
    assert found.role is Role.T2
    assert found.warnings == ("fat_dark_without_suppression",)
    claimed = series(Role.T2, warnings=("name_says_stir_physics_does_not",))
    assert agreed(claimed, rim_of(back(15))).role is Role.T2_FS


def test_another_series_of_the_study_settles_the_middle() -> None:
    middle, plain = FatRim(1.5, 300), FatRim(2.8, 300)
    assert agreed(series(Role.STIR), middle).evidence == ("header",)
    settled = agreed(series(Role.STIR), middle, plain)
    assert settled.evidence == ("header", "fat_dark_in_pixels")
    assert plainest_other("a", {"a": middle, "b": plain, "c": None}) == plain


@pytest.mark.parametrize(
    ("ratio", "evidence", "limits"),
    [
        (1.7, ("header", "fat_dark_in_pixels"), ()),
        (2.2, ("header",), ()),
        (2.8, ("header", "fat_bright_in_pixels"), ("fat_suppression_not_seen",)),
    ],
)
def test_fat_near_the_coil_is_held_against_the_same_fat_beside_it(
    ratio: float, evidence: tuple[str, ...], limits: tuple[str, ...]
) -> None:
    rim, plain = FatRim(ratio + 0.2, 300), FatRim(3.0, 300)
    found = agreed(series(Role.STIR), rim, plain)
    assert (found.role, found.evidence, found.limits) == (Role.STIR, evidence, limits)
    # A header that is not sure gives way as before.
    weak = agreed(series(Role.STIR, 0.4), rim, plain)
    assert weak.role is Role.T2
    alone = agreed(series(Role.STIR), rim)
    assert alone.limits == ("fat_suppression_not_seen",)


def test_nothing_to_see_changes_nothing() -> None:
    assert agreed(series(Role.STIR), None) == series(Role.STIR)


def test_ghosts_lower_the_quality() -> None:
    clean, ghosted = back(260, noise=3.0), back(260, noise=3.0).array.copy()
    ghosted += 0.2 * np.roll(ghosted, 60, axis=2)
    spoilt = Volume(ghosted, clean.affine.copy(), Role.OTHER)
    assert noise_quality(clean) > 1.1 * noise_quality(spoilt)


@pytest.mark.parametrize("fat", [15.0, 100.0, 260.0])
def test_air_that_is_bright_tells_of_a_turned_over_image(fat: float) -> None:
    plain = back(fat)
    turned = replace(plain, array=plain.array.max() - plain.array)
    assert not is_inverted(plain)
    assert is_inverted(turned)


def test_an_image_without_air_or_contrast_is_not_called_turned_over() -> None:
    inside = back(260, skin_mm=0.0)
    assert not is_inverted(inside)
    grey = replace(inside, array=np.full(SHAPE, 700.0, np.float32))
    assert not is_inverted(grey)
    even = np.random.default_rng(1).uniform(0, 4000, SHAPE).astype(np.float32)
    assert not is_inverted(replace(inside, array=even))
