from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import BundleError
from models.findings import Acuity, Anchor, Call, Etiology, Localisation, Scores, StudyVolumes
from models.scorer.calibration import SECTION, read_calibration
from models.scorer.contrast import ContrastRule
from models.scorer.crops import CHANNELS, CROP_SHAPE, GRADIENT_ECHO_LIMIT
from models.scorer.heads import BINARY_HEADS, HEADS
from models.scorer.scorer import Scorer
from models.volume import Role
from tests.unit.scorer.toy_spine import Toy

POINT = {"low": 0.3, "high": 0.7, "sensitivity": 0.9, "specificity": 0.9, "chosen_on": "toy"}
METADATA: dict[str, Any] = {
    SECTION: {
        "calibration": {
            "heads": list(HEADS),
            "platt": {name: {"scale": 1.0, "bias": 0.0} for name in BINARY_HEADS},
            "etiology_quantile": {"fat_contrast": 0.4, "fluid_only": 0.9},
            "map_threshold": 0.5,
            "reference_heights_mm": {},
            "bounds": {
                f"{role}.{name}": [-9.0, 9.0]
                for role in ("stir", "t1", "t2", "dixon_water")
                for name in ("median", "spread", "outside_median", "outside_p90", "roughness")
            },
        },
        "operating_points": dict.fromkeys(("edema", "fracture", "unhealed", "pathological"), POINT),
    }
}


@dataclass
class BrightIsWet:
    """A network that calls bright voxels edema, and dark T1 pathological: logic without weights."""

    device: str = "cpu"
    input_names: tuple[str, ...] = ("crops", "presence")
    output_names: tuple[str, ...] = ("edema_map", "heads")

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        crops = inputs["crops"]
        count = len(crops)
        assert crops.shape == (count, len(CHANNELS), *CROP_SHAPE)
        slices, rows, columns = CROP_SHAPE
        fluid = crops[:, 0].reshape(count, slices, rows // 2, 2, columns // 2, 2).mean(axis=(3, 5))
        heads = np.full((count, len(HEADS)), -6.0, np.float32)
        for level in range(count):
            own = crops[level, -2] > 0.9
            wet = np.median(crops[level, 0][own]) > 0.2
            dark = np.median(crops[level, 1][own]) < -0.2
            for name, answer in (
                ("edema", wet),
                ("fracture", wet),
                ("unhealed", wet),
                ("pathological", dark),
                ("shape_wedge", True),
            ):
                heads[level, HEADS.index(name)] = 6.0 if answer else -6.0
        return {"edema_map": (fluid[:, None] - 0.2) * 40, "heads": heads}


def score(toy: Toy, *roles: Role, **partial: tuple[str, ...]) -> tuple[Scores, Localisation]:
    localisation = toy.localisation(**partial)
    return Scorer(BrightIsWet(), METADATA)(toy.study(*roles), localisation), localisation


def test_the_wet_level_stands_out_and_its_map_lies_on_its_body() -> None:
    toy = Toy(gain={"stir": {"L2": 1.8}})
    scores, localisation = score(toy, Role.STIR, Role.T1)
    calls = [level.edema.call for level in scores.levels if level.edema]
    assert calls == [Call.PRESENT if i == 2 else Call.ABSENT for i in range(6)]
    wet = scores.levels[2]
    assert wet.edema is not None
    assert wet.acuity is not None
    assert wet.etiology is not None
    # The border of the brick is partial volume.
    assert wet.edema.extent_fraction > 0.8
    assert wet.acuity.call is Acuity.UNHEALED
    assert wet.etiology.call is Etiology.BENIGN
    assert scores.edema_map is not None
    assert scores.edema_map.shape == localisation.labels.shape
    on_body = scores.edema_map[localisation.labels == 3]
    assert (on_body > 0.5).mean() > 0.8
    assert scores.edema_map[localisation.labels == 0].max() == 0.0
    assert scores.edema_map[localisation.labels == 2].mean() < 0.2


@dataclass
class EverythingIsWet(BrightIsWet):
    """A network that sees edema everywhere."""

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        outputs = dict(super().run(inputs))
        outputs["heads"][:, HEADS.index("edema")] = 6.0
        return outputs


def test_an_edema_that_only_the_network_sees_is_indeterminate() -> None:
    toy = Toy(gain={"stir": {"L2": 1.8, "L4": 1.1}})
    scores = Scorer(EverythingIsWet(), METADATA)(toy.study(Role.STIR, Role.T1), toy.localisation())
    for number, level in enumerate(scores.levels):
        assert level.edema is not None
        assert level.edema.call is (Call.PRESENT if number == 2 else Call.INDETERMINATE)
        flagged = "no_measured_contrast" in level.edema.limited_by
        assert flagged == (number != 2)
        assert level.features["bright_from"].value == 1.3
    assert scores.levels[2].features["bright_fraction"].value == 1.0
    assert scores.levels[4].features["bright_fraction"].value == 0.0


@dataclass
class SomeCement(BrightIsWet):
    """A network that sees cement everywhere, so much."""

    logit: float = 0.0

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        outputs = dict(super().run(inputs))
        outputs["heads"][:, HEADS.index("mimic_cement")] = self.logit
        return outputs


@pytest.mark.parametrize(
    ("logit", "limits", "call"),
    [(-1.3, ("cement",), Acuity.INDETERMINATE), (-1.5, (), Acuity.UNHEALED)],
)
def test_a_body_that_may_hold_cement_is_edematous_and_not_unhealed(
    logit: float, limits: tuple[str, ...], call: Acuity
) -> None:
    toy = Toy(gain={"stir": {"L2": 1.8}})
    scorer = Scorer(SomeCement(logit=logit), METADATA)
    level = scorer(toy.study(Role.STIR, Role.T1), toy.localisation()).levels[2]
    assert level.edema is not None
    assert level.acuity is not None
    assert level.edema.call is Call.PRESENT
    assert level.edema.limited_by == limits
    assert level.acuity.call is call


def test_a_bundle_may_carry_its_own_rule_of_contrast() -> None:
    stored = {"agrees_from": 0.2, "spread_factor": {"stir": 3.0}}
    calibration = {**METADATA[SECTION]["calibration"], "contrast": stored}
    read = read_calibration({SECTION: {**METADATA[SECTION], "calibration": calibration}}).contrast
    assert (read.agrees_from, dict(read.spread_factor)) == (0.2, {"stir": 3.0})
    usual = read_calibration(METADATA).contrast
    assert usual == ContrastRule()
    assert read.clear_from == usual.clear_from


def test_dark_t1_makes_it_pathological_and_without_t1_the_call_is_limited() -> None:
    toy = Toy(gain={"stir": {"L2": 1.8}, "t1": {"L2": 0.6}})
    with_t1, _ = score(toy, Role.STIR, Role.T1)
    assert with_t1.levels[2].etiology is not None
    assert with_t1.levels[2].etiology.call is Etiology.PATHOLOGICAL
    assert with_t1.levels[2].etiology.limited_by == ()
    assert with_t1.levels[0].etiology is not None
    assert with_t1.levels[0].etiology.call is Etiology.NOT_APPLICABLE
    alone, _ = score(toy, Role.STIR)
    assert alone.levels[2].etiology is not None
    assert alone.levels[2].etiology.limited_by == ("t1_missing",)
    assert "t1_missing" in {abstention.code for abstention in alone.abstentions}


def test_without_a_fluid_sensitive_series_only_fracture_is_said() -> None:
    scores, _ = score(Toy(), Role.T1, Role.T2)
    assert scores.edema_map is None
    for level in scores.levels:
        assert (level.edema, level.acuity, level.etiology) == (None, None, None)
        assert level.fracture is not None
        assert set(level.mimics) == {"cement"}
    withheld = {(a.code, a.scope) for a in scores.abstentions}
    assert withheld == {
        ("no_fluid_sensitive_series", scope) for scope in ("edema", "acuity", "etiology")
    }


def test_gradient_echo_water_image_limits_edema_and_etiology() -> None:
    toy = Toy(gain={"dixon_water": {"L2": 1.8}})
    water = toy.volume(Role.DIXON_WATER, limits=(GRADIENT_ECHO_LIMIT,))
    study = StudyVolumes(water, {"dixon_water": water})
    scores = Scorer(BrightIsWet(), METADATA)(study, toy.localisation())
    level = scores.levels[2]
    assert level.edema is not None
    assert level.edema.limited_by == (GRADIENT_ECHO_LIMIT,)
    assert level.etiology is not None
    assert level.etiology.limited_by == (GRADIENT_ECHO_LIMIT, "t1_missing")


def test_sacrum_and_cut_bodies_are_not_judged() -> None:
    toy = Toy(levels=("L2", "L3", "L4", "L5", "S1"))
    scores, _ = score(toy, Role.STIR, partial=("L2",))
    first, last = scores.levels[0], scores.levels[-1]
    assert first.edema is not None
    assert first.edema.call is Call.INDETERMINATE
    assert "body_partly_covered" in first.edema.limited_by
    assert (first.fracture, first.acuity, first.etiology) == (None, None, None)
    assert (last.edema, last.fracture, last.acuity, last.etiology) == (None,) * 4
    codes = {(a.code, a.scope) for a in scores.abstentions}
    assert {("sacrum_not_scored", "S1"), ("body_partly_covered", "L2")} <= codes


def test_an_inverted_image_is_out_of_distribution() -> None:
    metadata = {SECTION: dict(METADATA[SECTION])}
    bounds = {**metadata[SECTION]["calibration"]["bounds"], "stir.median": [-0.5, 0.5]}
    metadata[SECTION]["calibration"] = {**metadata[SECTION]["calibration"], "bounds": bounds}
    toy = Toy(gain={"stir": {"L2": 3.0}})
    scores = Scorer(BrightIsWet(), metadata)(toy.study(Role.STIR), toy.localisation())
    assert [level.in_distribution for level in scores.levels] == [i != 2 for i in range(6)]


def test_no_bodies_no_findings() -> None:
    toy = Toy()
    empty = Localisation(
        np.zeros(toy.shape, np.uint8), toy.affine(), (), Anchor.NONE, np.zeros(toy.shape, np.uint8)
    )
    assert Scorer(BrightIsWet(), METADATA)(toy.study(Role.STIR), empty) == Scores((), None)


@pytest.mark.parametrize("missing", ["heads", "platt", "map_threshold", "bounds"])
def test_incomplete_metadata_is_refused(missing: str) -> None:
    calibration = dict(METADATA[SECTION]["calibration"])
    del calibration[missing]
    with pytest.raises(BundleError):
        read_calibration({SECTION: {**METADATA[SECTION], "calibration": calibration}})


def test_other_heads_are_refused() -> None:
    calibration = {**METADATA[SECTION]["calibration"], "heads": ["edema"]}
    with pytest.raises(BundleError, match="heads"):
        read_calibration({SECTION: {**METADATA[SECTION], "calibration": calibration}})
