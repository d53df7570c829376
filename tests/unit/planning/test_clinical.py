"""Clinical input is strict, names what is wrong, and repeats no value."""

from __future__ import annotations

from typing import Any

import pytest

from service.planning.clinical import ClinicalInput, read_clinical
from service.planning.errors import ClinicalInputError
from tests.unit.planning import cases


def test_the_complete_input_is_read() -> None:
    clinical = cases.clinical()
    assert clinical.inr == 1.1
    assert clinical.pain_levels_confirmed == ("L1",)
    assert None not in [
        getattr(clinical, name)
        for name in ClinicalInput.model_fields
        if name != "imaging_infection_cleared"
    ]


def test_nothing_given_is_all_unknown_and_null_is_the_same() -> None:
    empty = read_clinical({})
    assert empty == read_clinical(dict.fromkeys(cases.CLINICAL))
    assert set(empty.model_dump(exclude={"schema_version"}).values()) == {None}


def test_levels_are_sorted_from_cranial_and_each_once() -> None:
    clinical = read_clinical({"prior_cement_levels": ["L3", "T12", "L3"]})
    assert clinical.prior_cement_levels == ("T12", "L3")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inr", "1.2"),
        ("inr", True),
        ("inr", -1),
        ("inr", 99),
        ("inr", float("nan")),
        ("inr", float("inf")),
        ("platelets_10e9_per_l", 210000),
        ("age_years", 300),
        ("pain_present", "yes"),
        ("pain_present", 1),
        ("ambulation", "bedridden"),
        ("medical_therapy", "analgesics"),
        ("pregnancy", False),
        ("schema_version", "clinical/2"),
        ("innr", 1.2),
    ],
)
def test_a_bad_field_is_named_and_its_value_is_not_repeated(field: str, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(ClinicalInputError) as refused:
        read_clinical({field: value})
    assert [problem.field for problem in refused.value.problems] == [field]
    if isinstance(value, str):
        assert value not in refused.value.problems[0].message.replace("clinical/1", "")


@pytest.mark.parametrize("levels", [["L9"], [3], ["l1"]])
def test_a_bad_level_is_named_with_its_place(levels: list[Any]) -> None:
    with pytest.raises(ClinicalInputError) as refused:
        read_clinical({"prior_cement_levels": levels})
    assert refused.value.problems[0].field == "prior_cement_levels.0"


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ClinicalInputError) as refused:
        read_clinical({"inr": 99, "ambulation": "no"})
    assert {problem.field for problem in refused.value.problems} == {"inr", "ambulation"}


@pytest.mark.parametrize("sent", [[], None, "text", [["inr", 1.0]]])
def test_what_is_no_object_is_refused(sent: object) -> None:
    with pytest.raises(ClinicalInputError):
        read_clinical(sent)
