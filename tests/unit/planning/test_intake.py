"""Clinical input as bytes: the two forms, and what is refused with the field's name."""

from __future__ import annotations

import json
from datetime import date

import pytest

from service.planning.errors import ClinicalInputError
from service.planning.intake import MAX_BYTES, read_intake

DAY = date(2026, 1, 2)


def test_the_schema_is_read() -> None:
    clinical, unread = read_intake(b'{"age_years": 78, "inr": null}', on=DAY)
    assert clinical.age_years == 78
    assert clinical.inr is None
    assert unread == ()


def test_a_bundle_is_told_by_its_type() -> None:
    bundle = {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [
            {"resource": {"resourceType": "Patient", "birthDate": "1946-05-01"}},
            {"resource": {"resourceType": "Slot"}},
        ],
    }
    clinical, unread = read_intake(json.dumps(bundle).encode(), on=DAY)
    assert clinical.age_years == 79
    assert [item.where for item in unread] == ["entry[1].resource(Slot)"] or len(unread) == 1


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"no json", ""),
        (b"[1, 2]", ""),
        (b'{"inr": NaN}', ""),
        (b"[" * 100_000, ""),
        (b'{"inr": 1.0, "inr": 9.0}', "inr"),
        (b'{"inr": "high"}', "inr"),
        (b'{"blood_group": "A"}', "blood_group"),
        (b'{"pain_levels_confirmed": ["L9"]}', "pain_levels_confirmed.0"),
        (b'{"resourceType": "Patient"}', "resourceType"),
        (b" " * (MAX_BYTES + 1), ""),
    ],
)
def test_what_is_wrong_is_named(content: bytes, field: str) -> None:
    with pytest.raises(ClinicalInputError) as caught:
        read_intake(content, on=DAY)
    assert field in {problem.field for problem in caught.value.problems}
    assert "high" not in str(caught.value)
