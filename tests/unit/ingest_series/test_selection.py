from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.volume import Role
from service.ingest.grid import StackPolicy
from service.ingest.records import FramePhysics
from service.ingest.selection import Candidate, Selection, abstentions_for, choose, screen
from service.ingest.sequences import SeriesRole, role_of
from service.ingest.stacking import Stack, stacks_of, volume_of
from tests.builders import Grid
from tests.unit.ingest_series.stack_records import STIR, T1, T2, stack

POLICY = StackPolicy()
GRID = Grid()
WATER = replace(T2, image_type=("ORIGINAL", "PRIMARY", "M", "DIXON", "WATER"))
FAT = replace(T2, image_type=("ORIGINAL", "PRIMARY", "M", "DIXON", "FAT"))


def one_stack(
    grid: Grid = GRID, physics: FramePhysics = STIR, series: str = "1.2.3", **changes: object
) -> Stack:
    sized = {"rows": 256, "columns": 224, **changes}
    (found,) = stacks_of(stack(grid, range(12), physics, series, **sized), POLICY)
    return found


def candidate(
    physics: FramePhysics,
    grid: Grid = GRID,
    series: str = "1.2.3",
    quality: float = 1.0,
    confidence: float | None = None,
    **changes: object,
) -> Candidate:
    found = one_stack(grid, physics, series, **changes)
    role = role_of(found.physics, frozenset(), found.count)
    if confidence is not None:
        role = replace(role, confidence=confidence)
    rows, columns = found.instance.rows, found.instance.columns
    planes = [np.zeros((rows, columns), np.float32)] * found.count
    return Candidate(found, role, volume_of(found, planes, role.role, role.limits), quality)


def codes(selection: Selection) -> dict[int, str]:
    return {index: refusal.code for index, refusal in sorted(selection.refused.items())}


def test_stir_is_the_reference_and_all_needed_roles_are_used() -> None:
    chosen = choose([candidate(T1), candidate(T2), candidate(STIR)])
    assert chosen.volumes is not None
    assert chosen.volumes.reference.role is Role.STIR
    assert set(chosen.volumes.by_role) == {"stir", "t1", "t2"}
    assert codes(chosen) == {}


def test_doubtful_stir_gives_way_to_a_sure_dixon_water() -> None:
    chosen = choose([candidate(STIR, confidence=0.4), candidate(WATER)])
    assert chosen.volumes is not None
    assert chosen.volumes.reference.role is Role.DIXON_WATER


def test_fat_image_needs_its_water_image() -> None:
    paired = choose([candidate(WATER), candidate(FAT), candidate(STIR)])
    assert paired.volumes is not None
    assert set(paired.volumes.by_role) == {"stir", "dixon_water", "dixon_fat"}
    alone = choose([candidate(STIR), candidate(FAT)])
    assert codes(alone) == {1: "no_partner"}
    finer = replace(GRID, spacing=(4.4, 0.8, 0.6))
    stranger = choose([candidate(WATER), candidate(FAT, finer)])
    assert codes(stranger) == {1: "no_partner"}


def test_the_cleaner_repeat_wins_and_else_the_later() -> None:
    spoilt = choose([candidate(STIR, quality=10), candidate(STIR, quality=4)])
    assert spoilt.used == {0}
    assert codes(spoilt) == {1: "lower_quality_repeat"}
    alike = choose([candidate(STIR, quality=10), candidate(STIR, quality=9.8)])
    assert alike.used == {1}


def test_original_before_derived_and_larger_before_smaller() -> None:
    derived = replace(STIR, image_type=("DERIVED", "SECONDARY", "M"))
    assert choose([candidate(derived), candidate(STIR)]).used == {1}
    small = candidate(STIR, rows=200)
    large = candidate(STIR)
    chosen = choose([large, small])
    assert chosen.used == {0}
    assert codes(chosen) == {1: "other_series_preferred"}


def test_other_frame_of_reference_is_not_combined() -> None:
    chosen = choose([candidate(STIR), candidate(T1, frame_of_reference_uid="1.10")])
    assert codes(chosen) == {1: "different_frame_of_reference"}


def test_missing_frame_of_reference_limits() -> None:
    chosen = choose([candidate(STIR), candidate(T1, frame_of_reference_uid="")])
    assert chosen.volumes is not None
    assert chosen.volumes.by_role["t1"].limits == ("frame_of_reference_missing",)
    assert chosen.volumes.reference.limits == ()


def test_stations_are_not_mixed() -> None:
    below = replace(GRID, origin=(-30.0, -80.0, -150.0))
    chosen = choose([candidate(STIR), candidate(STIR, below), candidate(T1, below)])
    assert chosen.used == {1, 2}
    assert codes(chosen) == {0: "other_station_not_used"}
    apart = choose([candidate(STIR), candidate(T1, below)])
    assert codes(apart) == {1: "no_overlap_with_reference"}


def test_post_contrast_is_a_last_resort_for_levels() -> None:
    post = replace(T1, contrast_agent=True)
    alone = choose([candidate(post)])
    assert alone.volumes is not None
    assert set(alone.volumes.by_role) == {"t1_post"}
    assert [a.code for a in abstentions_for(alone.volumes)] == [
        "no_fluid_sensitive_series",
        "no_fluid_sensitive_series",
        "no_fluid_sensitive_series",
        "t1_missing",
    ]
    beside = choose([candidate(STIR), candidate(post)])
    assert codes(beside) == {1: "post_contrast"}


def test_abstentions() -> None:
    none = choose([])
    assert [a.code for a in abstentions_for(none.volumes)] == ["no_usable_sagittal_series"]
    full = choose([candidate(STIR), candidate(T1)])
    assert abstentions_for(full.volumes) == ()
    dixon = choose([candidate(WATER), candidate(FAT)])
    assert abstentions_for(dixon.volumes) == ()
    t2 = choose([candidate(T1), candidate(T2)])
    assert {a.scope for a in abstentions_for(t2.volumes)} == {"edema", "acuity", "etiology"}


def screened(found: Stack, role: SeriesRole | None = None) -> str:
    refusal = screen(found, role or role_of(found.physics, frozenset(), found.count), POLICY)
    return refusal.code if refusal else ""


AXIAL = Grid(orientation=(1, 0, 0, 0, 1, 0))
WIDE_HEAD = Grid(spacing=(13.0 / 2, 0.9, 0.8))


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (one_stack(), ""),
        (one_stack(AXIAL), "not_sagittal"),
        (one_stack(rows=64, columns=42), "matrix_too_small"),
        (one_stack(physics=replace(STIR, inversion_time_ms=2500)), "role_not_needed"),
        (one_stack(physics=FramePhysics()), "role_not_recognised"),
        (one_stack(physics=replace(T2, mosaic=True)), "mosaic"),
        (one_stack(body_part="LSPINE"), ""),
        (one_stack(body_part="HEAD"), ""),
        (one_stack(body_part="ABDOMEN"), ""),
        (one_stack(Grid(spacing=(7.0, 0.9, 0.8)), body_part="ABDOMEN", rows=512), ""),
        (one_stack(body_part="KNEE", rows=200, columns=200), "not_a_spine_examination"),
        (one_stack(body_part="KNEE", rows=400), ""),
    ],
)
def test_screen(found: Stack, code: str) -> None:
    assert screened(found) == code


def test_whole_head_is_no_spine() -> None:
    (head,) = stacks_of(
        stack(Grid(spacing=(5.0, 0.9, 0.8)), range(30), T2, body_part="BRAIN"), POLICY
    )
    assert screened(head) == "not_a_spine_examination"
    (unnamed,) = stacks_of(stack(Grid(spacing=(5.0, 0.9, 0.8)), range(32), T2), POLICY)
    assert screened(unnamed) == "not_a_spine_examination"
    (spine,) = stacks_of(
        stack(Grid(spacing=(5.0, 0.9, 0.8)), range(32), T2, body_part="L_SPINE"), POLICY
    )
    assert screened(spine) == ""
