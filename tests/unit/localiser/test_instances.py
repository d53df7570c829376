"""Separation of bodies by votes, and the choice of the spine among what was found."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.localiser.chain import backbone
from models.localiser.classes import Structure
from models.localiser.instances import Candidate, find_bodies, renumbered
from models.localiser.preprocess import OFFSET_UNIT_MM

SPACING = np.array([4.0, 1.0, 1.0])
SHAPE = (12, 200, 120)


def answer(
    boxes: list[tuple[slice, slice, slice]], scatter: float = 0.0, s1: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[tuple[float, float]]]:
    """Network outputs for boxes; votes scatter by `scatter` mm."""
    rng = np.random.default_rng(3)
    probability = np.zeros((len(Structure), *SHAPE), np.float32)
    offsets = np.zeros((2, *SHAPE), np.float32)
    rows, columns = np.indices(SHAPE[1:], dtype=np.float32)
    centres = []
    for i, box in enumerate(boxes):
        kind = Structure.SACRUM_S1 if i == s1 else Structure.BODY
        probability[kind][box] = 0.9
        centre = ((box[1].start + box[1].stop - 1) / 2, (box[2].start + box[2].stop - 1) / 2)
        centres.append(centre)
        for channel, distance in enumerate((centre[0] - rows, centre[1] - columns)):
            field = np.broadcast_to(distance, SHAPE)[box]
            offsets[channel][box] = (field + rng.normal(0, scatter, field.shape)) / OFFSET_UNIT_MM
    probability[Structure.BACKGROUND] = 1.0 - probability.sum(axis=0)
    return probability, offsets, centres


def box(row: int, height: int, column: int = 50) -> tuple[slice, slice, slice]:
    return slice(2, 10), slice(row, row + height), slice(column, column + 32)


@pytest.mark.parametrize("scatter", [0.0, 2.0, 4.0])
def test_touching_bodies_are_separated(scatter: float) -> None:
    boxes = [box(20, 26), box(46, 12), box(58, 26)]
    probability, offsets, centres = answer(boxes, scatter)

    labels, found = find_bodies(probability, offsets, SPACING)

    assert len(found) == 3
    places = sorted((body.centre[1], body.centre[2]) for body in found)
    assert np.allclose(places, centres, atol=1.0)
    for one in boxes:
        values, counts = np.unique(labels[one], return_counts=True)
        assert counts.max() / counts.sum() > 0.9, values


def test_scattered_votes_do_not_split_a_body() -> None:
    probability, offsets, _ = answer([box(20, 28), box(60, 28)])
    # A corner of the first body votes for a place of its own.
    offsets[0][2:10, 20:27, 50:60] = -15.0 / OFFSET_UNIT_MM

    labels, found = find_bodies(probability, offsets, SPACING)

    assert len(found) == 2
    assert len(np.unique(labels[box(20, 28)])) == 1


def test_s1_share_and_edge() -> None:
    probability, offsets, _ = answer([box(0, 24), box(40, 26), box(80, 26)], s1=2)

    _, found = find_bodies(probability, offsets, SPACING)

    order = sorted(found, key=lambda body: body.centre[1])
    assert [body.cut for body in order] == [True, False, False]
    assert [round(body.s1_share, 2) for body in order] == [0.0, 0.0, 1.0]


def test_nothing_in_nothing_out() -> None:
    probability, offsets, _ = answer([])

    labels, found = find_bodies(probability, offsets, SPACING)

    assert found == ()
    assert not labels.any()


def body(row: float, column: float, volume_ml: float = 30.0, label: int = 1) -> Candidate:
    return Candidate(label, np.array([6.0, row, column]), volume_ml, 0.0, 0.9, cut=False)


def with_canal() -> NDArray[np.float32]:
    canal = np.zeros(SHAPE, np.float32)
    canal[4:8, :, 75:90] = 0.9
    return canal


def test_backbone_keeps_a_steep_sacrum_and_bridges_a_missed_body() -> None:
    spine = [body(20, 50), body(54, 50), body(122, 50), body(146, 76)]

    assert backbone(spine, with_canal(), SPACING) == spine


def test_backbone_leaves_out_blobs_beside_the_spine() -> None:
    spine = [body(20, 50), body(54, 50), body(88, 52), body(122, 54)]
    blobs = [body(40, 5, 9.0), body(70, 115, 12.0), body(190, 2, 6.0)]

    assert backbone([*blobs, *spine], with_canal(), SPACING) == spine


def test_renumbered_follows_the_order_given() -> None:
    labels = np.array([[[1, 2, 3, 0]]], np.uint8)
    kept = [body(0, 0, label=3), body(9, 0, label=1)]

    changed, bodies = renumbered(labels, kept)

    assert changed.tolist() == [[[2, 0, 1, 0]]]
    assert [one.label for one in bodies] == [1, 2]


def test_a_few_astray_voxels_at_the_edge_do_not_cut_a_body() -> None:
    probability, offsets, _ = answer([box(0, 14), box(24, 26), box(60, 26)])
    # In one slice a thin strip of bone runs from the second body to the top edge.
    strip = (slice(2, 3), slice(0, 30), slice(82, 84))
    probability[Structure.BODY][strip] = 0.9
    probability[Structure.BACKGROUND][strip] = 0.1
    rows, columns = np.indices(SHAPE[1:], dtype=np.float32)
    offsets[0][strip] = ((36.5 - rows) / OFFSET_UNIT_MM)[strip[1:]]
    offsets[1][strip] = ((65.5 - columns) / OFFSET_UNIT_MM)[strip[1:]]

    labels, found = find_bodies(probability, offsets, SPACING)

    order = sorted(found, key=lambda body: body.centre[1])
    assert [body.cut for body in order] == [True, False, False]
    assert (labels[strip][:, :3] == order[1].label).all()
