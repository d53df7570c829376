"""Counting on another view: patient coordinates carry the names over, and only those."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.findings import Anchor, Localisation, StudyVolumes
from models.geometry import Spacing
from models.localiser.localiser import Localiser
from models.localiser.witnesses import MOST_ASKED, witnesses
from models.volume import Role, Volume
from tests.unit.localiser.chain import Box, IdentitySession, chain, grid_affine, painted

SPACING = Spacing(4.1, 1.0, 1.2)
BOXES = chain(9, 34.0)
USUAL = ["T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1"]


def view(boxes: list[Box], role: Role, shift: float = 0.0) -> Volume:
    """A narrow stack around some boxes; every box of the spine that it meets is in it."""
    middle = np.mean([box.centre for box in boxes], axis=0)
    middle[0] = 10.0
    rows = int(34 * len(boxes) / SPACING.row_mm) + 6
    shape = (10, rows, 150)
    moved = [replace(box, centre=box.centre + shift) for box in BOXES]
    volume = painted(moved, grid_affine(SPACING, shape, middle), shape)
    return replace(volume, role=role)


def localise(reference: Volume, *companions: Volume, by_role: bool = False) -> Localisation:
    volumes = {reference.role.value: reference}
    if by_role:
        volumes |= {volume.role.value: volume for volume in companions}
        companions = ()
    return Localiser(IdentitySession(), {})(StudyVolumes(reference, volumes, companions))


def named(found: Localisation) -> list[str | None]:
    return [vertebra.level for vertebra in found.vertebrae]


@pytest.fixture(scope="module")
def thoracic() -> Volume:
    """Shows T10 to L2 and no sacrum."""
    return view(BOXES[:5], Role.STIR)


def test_without_another_view_nothing_is_named(thoracic: Volume) -> None:
    found = localise(thoracic)

    assert found.anchor is Anchor.NONE
    assert set(named(found)) == {None}


@pytest.mark.parametrize(
    ("role", "anchor"), [(Role.LOCALIZER, Anchor.LOCALIZER), (Role.STIR, Anchor.SACRUM)]
)
def test_a_localizer_and_a_lower_station_name_the_bodies_they_share(
    thoracic: Volume, role: Role, anchor: Anchor
) -> None:
    found = localise(thoracic, view(BOXES[3:], role))

    assert found.anchor is anchor
    assert [level for level in named(found) if level] == USUAL[: len(found.vertebrae)]


def test_a_larger_series_of_another_role_is_asked_too(thoracic: Volume) -> None:
    found = localise(thoracic, view(BOXES, Role.T2), by_role=True)

    assert found.anchor is Anchor.SACRUM
    assert named(found)[0] == "T10"


def test_a_patient_who_moved_far_between_series_is_not_matched(thoracic: Volume) -> None:
    found = localise(thoracic, view(BOXES[3:], Role.STIR, shift=15.0))

    assert found.anchor is Anchor.NONE


def test_the_longest_views_are_asked_and_only_so_many(thoracic: Volume) -> None:
    views = tuple(view(BOXES[-n:], Role.LOCALIZER) for n in (2, 5, 3, 4))

    asked = witnesses(StudyVolumes(thoracic, {"stir": thoracic}, views))

    assert len(asked) == MOST_ASKED
    assert [len(v.array[0]) for v in asked] == sorted(
        (len(v.array[0]) for v in views), reverse=True
    )[:MOST_ASKED]
