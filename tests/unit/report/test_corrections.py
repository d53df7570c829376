"""A reader's corrections: names shift by counting, calls agree, contradictions are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from models.findings import Acuity, Call, Etiology, LevelFindings, LevelName, Shape
from service.report.corrections import ReviewError, corrected, differences
from service.report.review import LevelCorrection, Review
from tests.unit.report import made

READER = {"name": "Reader^Anna", "organization": "Site"}
T12, L1, L2 = 19, 20, 21


def levels(*names: str | None) -> tuple[LevelFindings, ...]:
    """As many bodies as names, each with the findings of the made study's second body."""
    template = made.result().scores
    assert template is not None
    second = template.levels[1]
    return tuple(
        replace(
            second,
            vertebra=replace(
                second.vertebra, index=place + 1, name=LevelName(name, 0.9) if name else None
            ),
        )
        for place, name in enumerate(names)
    )


def review(*corrections: dict[str, object], **values: object) -> Review:
    return Review.model_validate(
        {"reader": READER, "levels": corrections, "report": "b" * 32, **values}
    )


def names(found: tuple[LevelFindings, ...]) -> list[str | None]:
    return [level.vertebra.level for level in found]


def one(**said: object) -> LevelFindings:
    """The made study's fractured and edematous body, corrected."""
    return corrected(levels("L1"), review({"label_value": L1, **said}))[0]


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        ("T12 L1 L2", {L1: "L2"}, "L1 L2 L3"),
        ("T12 L1 L2", {L2: "L1"}, "T11 T12 L1"),
        # a body that was missed leaves its gap
        ("T10 T12 L1", {L1: "L2"}, "T11 L1 L2"),
        # seven and twelve and five are crossed
        ("T1 T2 T3", {10: "T2"}, "C7 T1 T2"),
        # a transitional vertebra is counted only where it is named
        ("T11 T12 L1 L2", {L1: "T13"}, "T11 T12 T13 L1"),
        ("T12 T13 L1 L2", {28: "L1"}, "T12 L1 L2 L3"),
        ("T12 L1 L2 L3 L4 L5 S1", {24: "L6"}, "L1 L2 L3 L4 L5 L6 S1"),
        # what was the sacrum lies below it now, without a name
        ("L4 L5 S1", {23: "L5"}, "L5 S1 -"),
        # two fixed names: every other body counts from the nearest
        ("T12 L1 L2 L3 L4 L5 S1", {L1: "T13", 26: "S1"}, "T12 T13 L1 L2 L4 L5 S1"),
    ],
)
def test_one_name_shifts_all(before: str, given: dict[int, str], after: str) -> None:
    said = [{"label_value": value, "level": level} for value, level in given.items()]
    found = corrected(levels(*before.split()), review(*said))
    assert names(found) == [None if name == "-" else name for name in after.split()]
    assert {level.vertebra.alternatives for level in found} == {()}


def test_bodies_without_names_are_counted_from_one() -> None:
    found = corrected(levels(None, None, None), review({"label_value": 102, "level": "L4"}))
    assert names(found) == ["L3", "L4", "L5"]


def test_without_a_name_none_changes() -> None:
    before = levels("T12", None, "L2")
    assert names(corrected(before, review())) == ["T12", None, "L2"]


@pytest.mark.parametrize(
    "said",
    [
        [{"label_value": 99, "level": "L2"}],
        [{"label_value": L1, "level": "L2"}, {"label_value": L1, "edema": "absent"}],
        [{"label_value": L1, "level": "L3"}, {"label_value": L2, "level": "L3"}],
        [{"label_value": T12, "level": "L3"}, {"label_value": L2, "level": "L1"}],
        [{"label_value": L2, "level": "C1"}],
        [{"label_value": L1, "fracture": {"call": "absent", "shape": "wedge"}}],
        [{"label_value": L1, "fracture": {"call": "absent"}, "acuity": "healed"}],
        [{"label_value": L1, "edema": "absent", "acuity": "unhealed"}],
        [{"label_value": L1, "edema": "absent", "fracture": {"call": "absent"},
          "etiology": "benign"}],
    ],
)  # fmt: skip
def test_contradictions_are_told(said: list[dict[str, object]]) -> None:
    with pytest.raises(ReviewError):
        corrected(levels("T12", "L1", "L2"), review(*said))


def test_edema_denied_heals_the_fracture() -> None:
    found = one(edema="absent")
    assert found.edema is not None
    assert (found.edema.call, found.edema.extent_fraction) == (Call.ABSENT, 0.0)
    assert found.edema.probability == pytest.approx(0.93123)
    assert found.edema.limited_by == ()
    assert found.acuity is not None
    assert found.acuity.call is Acuity.HEALED
    assert found.etiology is not None
    assert found.etiology.call is Etiology.BENIGN


def test_a_fracture_may_have_healed_beside_edema_of_another_cause() -> None:
    follows, said = one(edema="present"), one(edema="present", acuity="healed")
    assert follows.acuity is not None
    assert follows.acuity.call is Acuity.UNHEALED
    assert said.acuity is not None
    assert (said.acuity.call, said.acuity.prediction_set) == (Acuity.HEALED, (Acuity.HEALED,))


def test_nothing_left_to_explain_has_no_etiology() -> None:
    found = one(edema="absent", fracture={"call": "absent"})
    assert found.acuity is not None
    assert found.acuity.call is Acuity.NO_FRACTURE
    assert found.etiology is not None
    assert (found.etiology.call, found.etiology.prediction_set) == (Etiology.NOT_APPLICABLE, ())
    assert found.fracture is not None
    assert (found.fracture.shape, found.fracture.genant_grade) == (Shape.NONE, 0)


def test_a_fracture_that_was_missed() -> None:
    made_scores = made.result().scores
    assert made_scores is not None
    normal = made_scores.levels[:1]
    said = {"label_value": T12, "edema": "present", "fracture": {"call": "present"}}
    with pytest.raises(ReviewError, match="shape"):
        corrected(normal, review(said))
    said["fracture"] = {"call": "present", "shape": "crush", "genant_grade": 3}
    (found,) = corrected(normal, review(said))
    assert found.fracture is not None
    assert (found.fracture.shape, found.fracture.genant_grade) == (Shape.CRUSH, 3)
    assert found.acuity is not None
    assert found.acuity.call is Acuity.UNHEALED
    assert found.etiology is not None
    assert found.etiology.call is Etiology.INDETERMINATE


def test_a_fracture_without_deformity() -> None:
    made_scores = made.result().scores
    assert made_scores is not None
    said = {
        "label_value": T12,
        "edema": "present",
        "fracture": {"call": "present", "shape": "none"},
    }
    (found,) = corrected(made_scores.levels[:1], review(said))
    assert found.fracture is not None
    assert (found.fracture.call, found.fracture.shape) == (Call.PRESENT, Shape.NONE)
    assert one(fracture={"call": "present", "shape": "none"}).fracture.genant_grade == 0
    with pytest.raises(ReviewError, match="grade 0"):
        one(fracture={"call": "present", "shape": "none", "genant_grade": 2})
    (again,) = corrected([found], review({"label_value": T12, "fracture": {"call": "present"}}))
    assert again.fracture == found.fracture


def test_an_etiology_is_the_readers_alone() -> None:
    found = one(etiology="pathological")
    assert found.etiology is not None
    assert found.etiology.call is Etiology.PATHOLOGICAL
    assert found.etiology.prediction_set == (Etiology.PATHOLOGICAL,)
    assert found.etiology.pathological_probability == pytest.approx(0.06)


def test_what_could_not_be_read_cannot_be_corrected() -> None:
    blind = [replace(level, edema=None, acuity=None, etiology=None) for level in levels("L1")]
    for said in ({"edema": "present"}, {"acuity": "healed"}, {"etiology": "benign"}):
        with pytest.raises(ReviewError):
            corrected(blind, review({"label_value": L1, **said}))


def test_a_rejection_is_not_corrected() -> None:
    with pytest.raises(ReviewError):
        corrected(levels("L1"), review({"label_value": L1, "edema": "absent"}, decision="reject"))


def test_differences_name_what_changed() -> None:
    before = levels("T12", "L1")
    after = corrected(before, review({"label_value": L1, "level": "L2", "edema": "absent"}))
    told = [(place, field) for place, field, _, _ in differences(before, after)]
    assert told == [(0, "level"), (1, "level"), (1, "edema.call"), (1, "acuity.call")]


@pytest.mark.parametrize(
    "document",
    [
        {"levels": []},
        {"reader": {"name": "", "organization": "Site"}},
        {"reader": {"name": "A\\B", "organization": "Site"}},
        {"reader": READER, "levels": [{"label_value": L1, "level": "L7"}]},
        {"reader": READER, "levels": [{"label_value": L1, "edema": "maybe"}]},
        {"reader": READER, "decision": "ignore"},
        {"reader": READER, "unknown": 1},
    ],
)
def test_malformed_reviews(document: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Review.model_validate({"report": "b" * 32, **document})


def test_label_values_are_checked() -> None:
    with pytest.raises(ValidationError):
        LevelCorrection(label_value=0)
