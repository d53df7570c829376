from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.errors import GeometryError
from models.geometry import Plane
from models.volume import Role
from service.ingest.grid import StackPolicy
from service.ingest.records import InstanceRecord
from service.ingest.stacking import Stack, stacks_of, use_findings, volume_of, without
from tests.builders import SAGITTAL, Grid, oblique
from tests.unit.ingest_series.stack_records import (
    COLUMNS,
    ROWS,
    STIR,
    T2,
    expected_affine,
    frame,
    instance,
    stack,
)

POLICY = StackPolicy()
OBLIQUE = Grid(orientation=oblique((5, 12, -9)), spacing=(4.4, 0.9, 0.7))


def only(records: list[InstanceRecord], policy: StackPolicy = POLICY) -> Stack:
    (found,) = stacks_of(records, policy)
    return found


def test_affine_of_an_oblique_stack() -> None:
    found = only(stack(OBLIQUE))
    assert found.findings == ()
    assert found.plane is Plane.SAGITTAL
    assert found.affine is not None
    np.testing.assert_allclose(found.affine, expected_affine(OBLIQUE), atol=1e-9)


def test_order_ignores_instance_numbers() -> None:
    records = stack(OBLIQUE)
    numbers = [7, 3, 12, 1, 9, 2, 11, 5, 4, 10, 8, 6]
    shuffled = [replace(r, instance_number=n) for r, n in zip(records, numbers, strict=True)]
    found = only(shuffled)
    assert [r.file for r, _ in found.slices] == [r.file for r in records]


def test_slices_given_against_the_normal_are_turned() -> None:
    found = only(stack(OBLIQUE, reversed(range(12))))
    assert found.affine is not None
    np.testing.assert_allclose(found.affine, expected_affine(OBLIQUE), atol=1e-9)


def test_one_missing_slice_is_repaired_and_said() -> None:
    found = only(stack(OBLIQUE, [0, 1, 2, 3, 5, 6, 7, 8]))
    assert found.codes == ("missing_slices",)
    assert found.refusal is None
    assert found.count == 9
    assert found.affine is not None
    np.testing.assert_allclose(found.affine, expected_affine(OBLIQUE), atol=1e-9)
    planes = [np.full((ROWS, COLUMNS), i, np.float32) for i in (0, 1, 2, 3, 5, 6, 7, 8)]
    volume = volume_of(found, planes, Role.STIR)
    assert volume.array[:, 0, 0].tolist() == list(range(9))
    assert [uid == "" for uid in volume.sop_instance_uids].index(True) == 4
    assert volume.frame_numbers == (1, 1, 1, 1, 0, 1, 1, 1, 1)


def test_repair_may_be_switched_off() -> None:
    found = only(stack(OBLIQUE, [0, 1, 2, 3, 5, 6, 7]), StackPolicy(max_interpolated_slices=0))
    assert found.refusal is not None
    assert found.refusal.code == "gap_too_large"


@pytest.mark.parametrize("indices", [[0, 1, 2, 3, 6, 7, 8, 9], [0, 1, 3, 4, 5, 7, 8, 9]])
def test_two_missing_slices_refuse(indices: list[int]) -> None:
    found = only(stack(OBLIQUE, indices))
    assert found.refusal is not None
    assert found.refusal.code == "gap_too_large"
    with pytest.raises(GeometryError):
        volume_of(found, [np.zeros((ROWS, COLUMNS), np.float32)] * 8, Role.STIR)


def test_uneven_spacing_refuses() -> None:
    found = only(stack(OBLIQUE, [0, 1, 2, 3.3, 4, 5, 6, 7]))
    assert found.refusal is not None
    assert found.refusal.code == "uneven_spacing"


def test_position_noise_of_scanners_is_no_fault() -> None:
    rng = np.random.default_rng(3)
    found = only(stack(OBLIQUE, np.arange(12) + rng.normal(scale=0.06 / 4.4, size=12)))
    assert found.findings == ()


def test_tilted_stack_keeps_its_true_slice_step() -> None:
    grid = replace(OBLIQUE, tilt_mm=(0.0, 0.0, 0.5))
    found = only(stack(grid))
    assert found.codes == ("tilted_stack",)
    assert found.refusal is None
    assert found.affine is not None
    np.testing.assert_allclose(found.affine, expected_affine(grid), atol=1e-9)


def test_large_tilt_refuses() -> None:
    found = only(stack(replace(OBLIQUE, tilt_mm=(0.0, 0.0, 3.0))))
    assert found.refusal is not None
    assert found.refusal.code == "tilted_stack"


def test_slice_shifted_in_its_plane_refuses() -> None:
    records = stack(OBLIQUE)
    moved = records[5].frames[0]
    assert moved.position is not None
    shift = np.reshape(OBLIQUE.orientation, (2, 3))[1] * 3.0
    x, y, z = (float(value) for value in np.add(moved.position, shift))
    records[5] = replace(records[5], frames=(replace(moved, position=(x, y, z)),))
    found = only(records)
    assert found.refusal is not None
    assert found.refusal.code == "slices_not_aligned"


def test_whole_repeats_are_separate_stacks() -> None:
    records = stack(OBLIQUE) + stack(OBLIQUE, first_number=13)
    first, second = stacks_of(records, POLICY)
    assert [len(s.slices) for s in (first, second)] == [12, 12]
    assert first.codes == second.codes == ("duplicate_positions",)
    assert [r.instance_number for r, _ in first.slices] == list(range(1, 13))


def test_single_duplicate_is_dropped_and_said() -> None:
    records = [*stack(OBLIQUE), instance(frame(OBLIQUE, 4), 13)]
    found = only(records)
    assert found.codes == ("duplicate_positions",)
    assert [r.instance_number for r, _ in found.dropped] == [13]
    assert found.refusal is None


def test_mixed_stacks_of_one_series_are_split() -> None:
    water = replace(STIR, image_type=("ORIGINAL", "PRIMARY", "W"))
    fat = replace(STIR, image_type=("ORIGINAL", "PRIMARY", "F"))
    late = replace(STIR, echo_time_ms=100)
    axial = Grid(orientation=(1, 0, 0, 0, 1, 0), spacing=OBLIQUE.spacing)
    records = [
        *stack(OBLIQUE, physics=water),
        *stack(OBLIQUE, physics=fat, first_number=13),
        *stack(OBLIQUE, physics=late, first_number=25),
        *stack(axial, range(5), first_number=37),
    ]
    found = stacks_of(records, POLICY)
    assert sorted(len(s.slices) for s in found) == [5, 12, 12, 12]
    assert all(s.refusal is None for s in found)
    assert {s.planes_in_series for s in found} == {2}
    assert all("duplicate_positions" not in s.codes for s in found)


def test_stations_of_one_series_are_split() -> None:
    lower = replace(OBLIQUE, origin=(-30.0, -80.0, -150.0))
    found = stacks_of([*stack(OBLIQUE), *stack(lower, first_number=13)], POLICY)
    assert [len(s.slices) for s in found] == [12, 12]
    assert all(s.findings == () for s in found)


def test_frames_of_an_enhanced_object_are_stacked_alike() -> None:
    frames = [frame(OBLIQUE, i, number=i + 1) for i in (3, 1, 4, 0, 2, 6, 5, 7)]
    found = only([replace(instance(frames[0], 1), frames=tuple(frames))])
    assert found.affine is not None
    np.testing.assert_allclose(found.affine, expected_affine(OBLIQUE), atol=1e-9)
    planes = [np.full((ROWS, COLUMNS), f.number, np.float32) for _, f in found.slices]
    assert volume_of(found, planes, Role.STIR).frame_numbers == tuple(range(1, 9))


def test_missing_geometry_is_refused_not_guessed() -> None:
    records = [instance(frame(OBLIQUE, i, position=None), i + 1) for i in range(8)]
    found = only(records)
    assert found.affine is None
    assert found.refusal is not None
    assert found.refusal.code == "geometry_missing"


@pytest.mark.parametrize(
    "orientation", [(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)]
)
def test_impossible_orientation_is_refused(orientation: tuple[float, ...]) -> None:
    records = [instance(frame(OBLIQUE, i, orientation=orientation), i + 1) for i in range(8)]
    found = only(records)
    assert found.refusal is not None
    assert found.refusal.code == "orientation_invalid"


def test_pixel_spacing_of_zero_is_refused() -> None:
    found = only([instance(frame(OBLIQUE, i, pixel_spacing=(0.0, 0.7)), i) for i in range(8)])
    assert found.refusal is not None
    assert found.refusal.code == "geometry_invalid"


def test_numbers_hint_at_a_missing_first_slice() -> None:
    assert only(stack(OBLIQUE, range(14))[1:]).codes == ("end_slices_may_be_missing",)


@pytest.mark.parametrize("left_out", [1, 12])
def test_a_gap_inside_explains_its_number(left_out: int) -> None:
    records = stack(OBLIQUE, range(14))
    del records[left_out]
    assert only(records).codes == ("missing_slices",)


def test_every_second_slice_missing_disagrees_with_the_header() -> None:
    records = [
        instance(frame(OBLIQUE, i, spacing_between_slices_mm=4.4), i // 2 + 1)
        for i in range(0, 24, 2)
    ]
    assert only(records).codes == ("pitch_disagrees_with_header",)


def test_numbering_through_an_examination_is_no_hint() -> None:
    assert only(stack(OBLIQUE, first_number=201)).codes == ()


@pytest.mark.parametrize(
    ("records", "code"),
    [
        (stack(OBLIQUE, [0]), "single_slice"),
        (stack(OBLIQUE, range(6)), "too_few_slices"),
        (stack(replace(OBLIQUE, spacing=(9.0, 0.9, 0.7))), "pitch_too_large"),
        (stack(OBLIQUE, rows=64, columns=42), "matrix_too_small"),
    ],
)
def test_unfit_for_a_spine(records: list[InstanceRecord], code: str) -> None:
    found = only(records)
    assert found.refusal is None
    assert [f.code for f in use_findings(found, POLICY)] == [code]


def test_small_and_rectangular_fields_of_view_are_fit() -> None:
    small = replace(OBLIQUE, spacing=(3.0, 0.6, 0.5))
    assert use_findings(only(stack(small, rows=320, columns=120)), POLICY) == ()


def test_unread_slice_becomes_a_missing_one() -> None:
    found = only(stack(OBLIQUE))
    left = without(found, [found.slices[4]], POLICY)
    assert left is not None
    assert left.codes == ("missing_slices", "unreadable_slices")
    assert left.count == 12
    two = without(found, [found.slices[4], found.slices[7]], POLICY)
    assert two is not None
    assert two.refusal is not None
    assert without(found, found.slices, POLICY) is None


def test_second_picture_takes_the_place_of_an_unread_one() -> None:
    found = only([*stack(OBLIQUE), instance(frame(OBLIQUE, 4), 13)])
    left = without(found, [found.slices[4]], POLICY)
    assert left is not None
    assert left.codes == ("unreadable_slices",)
    assert left.slices[4][0].instance_number == 13


def test_spacing_in_the_last_digits_does_not_split() -> None:
    records = stack(OBLIQUE)
    changed = records[3].frames[0]
    records[3] = replace(records[3], frames=(replace(changed, pixel_spacing=(0.9000004, 0.7)),))
    assert len(only(records).slices) == 12


def test_every_frame_is_in_one_stack() -> None:
    records = [*stack(OBLIQUE), *stack(OBLIQUE, range(5), T2, first_number=13)]
    records.append(instance(frame(OBLIQUE, 0, position=None), 99))
    found = stacks_of(records, POLICY)
    files = [r.file for s in found for r, _ in (*s.slices, *s.dropped)]
    assert sorted(files) == sorted(r.file for r in records)


def test_sagittal_default_grid_is_sagittal() -> None:
    assert only(stack(Grid(orientation=SAGITTAL))).plane is Plane.SAGITTAL
