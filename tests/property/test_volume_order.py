"""Sagittal order is a change of view only: voxels stay where they are in the patient."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.geometry import Spacing, affine_lps, sagittal_order, to_lps
from models.volume import Role, Volume, in_sagittal_order, reorder, restore
from tests.builders import Grid, oblique
from tests.property.strategies import grids

shapes = st.tuples(st.integers(2, 6), st.integers(2, 7), st.integers(2, 8))
SIDES = np.vstack([np.eye(3), -np.eye(3)])


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Stored in any of the 24 ways, oblique by up to 20 degrees, every voxel of another value."""
    shape = draw(shapes)
    row = draw(st.integers(0, 5))
    column = draw(st.sampled_from([i for i in range(6) if i % 3 != row % 3]))
    degrees = draw(st.tuples(*[st.floats(-20, 20)] * 3))
    turned = oblique(degrees, (*SIDES[row].tolist(), *SIDES[column].tolist()))
    affine = affine_lps(Spacing(4.4, 0.9, 0.7), np.reshape(turned, (2, 3)), (11.0, -7.0, 42.0))
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    uids = tuple(f"1.{i}" for i in range(shape[0]))
    return Volume(array, affine, Role.T1, sop_instance_uids=uids, frame_numbers=(1,) * shape[0])


def places(volume: Volume) -> dict[float, np.ndarray]:
    """Value of every voxel to its LPS mm."""
    indices = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), axis=-1)
    points = to_lps(volume.affine, indices.reshape(-1, 3))
    return dict(zip(volume.array.ravel().tolist(), points, strict=True))


@given(volume=volumes())
def test_every_voxel_keeps_its_place(volume: Volume) -> None:
    before, after = places(volume), places(in_sagittal_order(volume))
    assert before.keys() == after.keys()
    worst = max(float(np.abs(before[value] - after[value]).max()) for value in before)
    assert worst < 1e-9


@given(volume=volumes())
def test_sagittal_order_runs_left_down_and_back(volume: Volume) -> None:
    seen = in_sagittal_order(volume)
    directions = seen.affine[:3, :3] / np.linalg.norm(seen.affine[:3, :3], axis=0)
    assert directions[0, 0] > 0.7  # slices to the left
    assert directions[2, 1] < -0.7  # rows downwards
    assert directions[1, 2] > 0.7  # columns to the back


@given(volume=volumes())
def test_restore_undoes_reorder(volume: Volume) -> None:
    axes, flips = sagittal_order(volume.affine)
    seen = reorder(volume.array, axes, flips)
    np.testing.assert_array_equal(seen, in_sagittal_order(volume).array)
    np.testing.assert_array_equal(restore(seen, axes, flips), volume.array)


@given(grid=grids(), shape=shapes)
def test_instances_stay_with_their_slices(grid: Grid, shape: tuple[int, int, int]) -> None:
    spacing = Spacing(*grid.spacing)
    affine = affine_lps(spacing, np.reshape(grid.orientation, (2, 3)), grid.origin)
    array = np.empty(shape, dtype=np.float32)
    array[:] = np.arange(shape[0])[:, None, None]
    uids = tuple(f"1.{i}" for i in range(shape[0]))
    seen = in_sagittal_order(Volume(array, affine, Role.T1, sop_instance_uids=uids))
    assert [f"1.{int(plane[0, 0])}" for plane in seen.array] == list(seen.sop_instance_uids)


@given(volume=volumes())
def test_sagittal_order_is_its_own_goal(volume: Volume) -> None:
    once = in_sagittal_order(volume)
    assert sagittal_order(once.affine) == ((0, 1, 2), (False, False, False))
