from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from models.findings import Localisation, StudyVolumes
from models.localiser.classes import Structure
from models.scorer.crops import extract_crops
from models.scorer.roles import CONTRADICTED_BELOW, fluid_against_t1, roles_contradicted
from models.scorer.scorer import Scorer
from models.volume import Role, Volume
from tests.unit.scorer.test_scorer import METADATA, BrightIsWet
from tests.unit.scorer.toy_spine import DEPTH, Toy

FLUID = {Role.STIR: 3.0, Role.DIXON_WATER: 3.0, Role.T2: 3.5, Role.T1: 0.4}
"""Cerebrospinal fluid in multiples of marrow."""


@dataclass
class WithCanal(Toy):
    """The toy with a canal behind its bodies.

    Attributes:
        looks_like: What a role's image really is, where that is something else.
    """

    looks_like: dict[Role, Role] | None = None

    def canal(self) -> np.ndarray:
        back = self._local(len(self.levels) // 2, self.affine())[..., 1]
        left = np.abs(self._local(len(self.levels) // 2, self.affine())[..., 0])
        return (back > DEPTH / 2 + 3.0) & (back < DEPTH / 2 + 16.0) & (left < 9.0)

    def volume(self, role: Role, seed: int = 0, limits: tuple[str, ...] = ()) -> Volume:
        true = (self.looks_like or {}).get(role, role)
        plain = super().volume(true, seed, limits)
        marrow = np.median(plain.array[self.labels() > 0])
        array = np.where(self.canal(), marrow * FLUID[true], plain.array).astype(np.float32)
        return replace(plain, array=array, role=role)

    def localisation(self, partial: tuple[str, ...] = ()) -> Localisation:
        found = super().localisation(partial)
        structures = np.where(self.canal(), np.uint8(Structure.CANAL), found.structures)
        return replace(found, structures=structures)


EXCHANGED = {Role.STIR: Role.T1, Role.T1: Role.STIR}
GAIN = {"stir": {"L2": 1.8}}


def of(toy: Toy, *roles: Role) -> tuple[StudyVolumes, Localisation]:
    return toy.study(*roles), toy.localisation()


def test_fluid_is_brighter_where_roles_are_right_and_darker_where_they_are_exchanged() -> None:
    right = fluid_against_t1(
        extract_crops(*of(WithCanal(), Role.STIR, Role.T1)), WithCanal().localisation()
    )
    wrong = WithCanal(looks_like=EXCHANGED)
    other = fluid_against_t1(extract_crops(*of(wrong, Role.STIR, Role.T1)), wrong.localisation())
    assert right == pytest.approx(3.0 / 0.4, rel=0.1)
    assert other == pytest.approx(0.4 / 3.0, rel=0.1)
    assert other < CONTRADICTED_BELOW < 1.0 < right


@pytest.mark.parametrize("roles", [(Role.STIR,), (Role.T1, Role.T2), (Role.STIR, Role.T2)])
def test_nothing_is_said_without_both_series(roles: tuple[Role, ...]) -> None:
    toy = WithCanal(looks_like=EXCHANGED)
    assert not roles_contradicted(extract_crops(*of(toy, *roles)), toy.localisation())


def test_nothing_is_said_without_a_canal() -> None:
    toy = Toy()
    assert np.isnan(
        fluid_against_t1(extract_crops(*of(toy, Role.STIR, Role.T1)), toy.localisation())
    )


def test_exchanged_series_withhold_edema_and_what_rests_on_it() -> None:
    scores = Scorer(BrightIsWet(), METADATA)(*of(WithCanal(gain=GAIN), Role.STIR, Role.T1, Role.T2))
    assert scores.levels[2].edema is not None
    assert "roles_contradicted" not in {one.code for one in scores.abstentions}

    toy = WithCanal(gain=GAIN, looks_like=EXCHANGED)
    scores = Scorer(BrightIsWet(), METADATA)(*of(toy, Role.STIR, Role.T1, Role.T2))
    for level in scores.levels:
        assert (level.edema, level.acuity, level.etiology) == (None, None, None)
        assert level.fracture is not None  # T2 is as it says
    assert scores.edema_map is None
    assert [(one.code, one.scope) for one in scores.abstentions] == [
        ("roles_contradicted", scope) for scope in ("edema", "acuity", "etiology")
    ]


def test_with_nothing_else_to_go_by_nothing_is_said() -> None:
    toy = WithCanal(looks_like=EXCHANGED)
    scores, heads = Scorer(BrightIsWet(), METADATA).score(*of(toy, Role.STIR, Role.T1))
    assert not len(heads)
    assert {one.code for one in scores.abstentions} == {"roles_contradicted"}
    assert all(level.fracture is level.edema is None for level in scores.levels)
