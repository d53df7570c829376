"""Laws of stacking: order, gaps, repeats and mixtures never move a slice."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.geometry import to_lps
from models.volume import Role
from service.ingest.grid import StackPolicy
from service.ingest.records import InstanceRecord
from service.ingest.stacking import Stack, stacks_of, volume_of
from tests.builders import Grid
from tests.property.strategies import grids
from tests.unit.ingest_series.stack_records import STIR, T1, frame, instance, stack

POLICY = StackPolicy()
counts = st.integers(7, 24)


def first_voxels(found: Stack) -> dict[str, np.ndarray]:
    """File of every kept slice to where the stack's affine puts its first voxel."""
    assert found.affine is not None
    return {
        record.file: to_lps(found.affine, (place, 0, 0))
        for (record, _), place in zip(found.slices, found.places, strict=True)
    }


def assert_slices_are_where_they_were(found: Stack, atol: float = 1e-3) -> None:
    for (record, own), place in zip(found.slices, found.places, strict=True):
        assert found.affine is not None
        assert own.position is not None
        np.testing.assert_allclose(
            to_lps(found.affine, (place, 0, 0)), own.position, atol=atol, err_msg=record.file
        )


@given(grid=grids(), count=counts, order=st.randoms(use_true_random=False))
def test_order_of_files_changes_nothing(grid: Grid, count: int, order: random.Random) -> None:
    records = stack(grid, range(count))
    (one,), (other,) = (
        stacks_of(records, POLICY),
        stacks_of(order.sample(records, k=count), POLICY),
    )
    assert one.affine is not None
    assert other.affine is not None
    assert (one.slices, one.places, one.findings) == (other.slices, other.places, other.findings)
    assert np.array_equal(one.affine, other.affine)


@given(grid=grids(), count=counts, numbers=st.randoms(use_true_random=False))
def test_instance_numbers_change_no_place(grid: Grid, count: int, numbers: random.Random) -> None:
    records = stack(grid, range(count))
    shuffled = numbers.sample(range(1, count + 1), k=count)
    renumbered = [replace(r, instance_number=n) for r, n in zip(records, shuffled, strict=True)]
    (one,), (other,) = stacks_of(records, POLICY), stacks_of(renumbered, POLICY)
    places, moved = first_voxels(one), first_voxels(other)
    assert places.keys() == moved.keys()
    assert all(np.array_equal(places[file], moved[file]) for file in places)


@given(grid=grids(), count=counts, against=st.booleans())
def test_rows_and_columns_keep_their_own_spacing(grid: Grid, count: int, against: bool) -> None:
    places = reversed(range(count)) if against else range(count)
    (found,) = stacks_of(stack(grid, places), POLICY)
    assert found.findings == ()
    assert found.affine is not None
    assert_slices_are_where_they_were(found)
    row, column = np.reshape(grid.orientation, (2, 3))
    origin = np.asarray(grid.position(0))
    # One row further moves along the column direction by the first value of Pixel Spacing.
    wanted = origin + 10 * column * grid.spacing[1] + 3 * row * grid.spacing[2]
    np.testing.assert_allclose(to_lps(found.affine, (0, 10, 3)), wanted, atol=1e-6)


@given(grid=grids(), count=st.integers(8, 24), data=st.data())
def test_a_missing_slice_moves_no_other(grid: Grid, count: int, data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, count - 1))
    (found,) = stacks_of(stack(grid, [i for i in range(count) if i != gone]), POLICY)
    assert_slices_are_where_they_were(found)
    interior = 0 < gone < count - 1
    assert ("missing_slices" in found.codes) is interior
    assert found.count == (count if interior else count - 1)


@given(grid=grids(), count=st.integers(9, 24), data=st.data())
def test_more_missing_slices_refuse(grid: Grid, count: int, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(1, count - 2), min_size=2, max_size=count // 3))
    (found,) = stacks_of(stack(grid, [i for i in range(count) if i not in gone]), POLICY)
    assert found.refusal is not None
    assert found.refusal.code == "gap_too_large"


@given(grid=grids(), count=counts, data=st.data())
def test_duplicates_move_nothing(grid: Grid, count: int, data: st.DataObject) -> None:
    doubled = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=count - 1))
    again = [instance(frame(grid, i), 100 + i) for i in sorted(doubled)]
    (found,) = stacks_of([*stack(grid, range(count)), *again], POLICY)
    assert "duplicate_positions" in found.codes
    assert len(found.slices) == count
    assert len(found.dropped) == len(doubled)
    assert_slices_are_where_they_were(found)


@given(
    grid=grids(),
    counts=st.tuples(counts, counts, counts),
    order=st.randoms(use_true_random=False),
)
def test_mixed_stacks_come_apart(
    grid: Grid, counts: tuple[int, int, int], order: random.Random
) -> None:
    row, column = np.reshape(grid.orientation, (2, 3))
    other_plane = replace(grid, orientation=(*row.tolist(), *np.cross(row, column).tolist()))
    records: list[InstanceRecord] = [
        *stack(grid, range(counts[0]), STIR),
        *stack(grid, range(counts[1]), T1, first_number=101),
        *stack(other_plane, range(counts[2]), STIR, first_number=201),
    ]
    found = stacks_of(order.sample(records, k=len(records)), POLICY)
    assert sorted(len(s.slices) for s in found) == sorted(counts)
    for one in found:
        assert one.refusal is None
        assert_slices_are_where_they_were(one)


@given(grid=grids(), count=counts, tilt=st.floats(-1.0, 1.0))
def test_a_tilt_is_kept(grid: Grid, count: int, tilt: float) -> None:
    _, column = np.reshape(grid.orientation, (2, 3))
    x, y, z = (float(v) for v in column * tilt)
    sheared = replace(grid, tilt_mm=(x, y, z))
    (found,) = stacks_of(stack(sheared, range(count)), POLICY)
    assert found.affine is not None
    assert_slices_are_where_they_were(found)
    assert ("tilted_stack" in found.codes) is (abs(tilt) * (count - 1) >= 0.1)


@given(grid=grids(), count=counts, order=st.randoms(use_true_random=False))
def test_pixels_follow_their_slices(grid: Grid, count: int, order: random.Random) -> None:
    records = stack(grid, order.sample(range(count), k=count), rows=8, columns=6)
    (found,) = stacks_of(records, POLICY)
    planes = [
        np.full((8, 6), record.instance_number, dtype=np.float32) for record, _ in found.slices
    ]
    volume = volume_of(found, planes, Role.STIR)
    by_uid = {record.sop_instance_uid: record for record in records}
    for place, uid in enumerate(volume.sop_instance_uids):
        assert volume.array[place, 0, 0] == by_uid[uid].instance_number
        np.testing.assert_allclose(
            to_lps(volume.affine, (place, 0, 0)), by_uid[uid].frames[0].position, atol=1e-3
        )
