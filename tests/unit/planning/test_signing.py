"""A draft stays a draft until somebody signs it, and then says who."""

from __future__ import annotations

import hashlib

import pytest

from service.planning.document import DocumentStatus, PlanningDocument
from service.planning.signing import SignatureError, sign, to_json
from tests.unit.planning import cases
from tests.unit.planning.test_plan import document


def test_signing_names_the_clinician_and_the_draft() -> None:
    draft = document()
    signed = sign(draft, " Dr. A. Reader ", now=cases.NOW)
    assert draft.status is DocumentStatus.DRAFT
    assert signed.status is DocumentStatus.SIGNED
    assert signed.signature is not None
    assert signed.signature.name == "Dr. A. Reader"
    assert signed.signature.document_sha256 == hashlib.sha256(to_json(draft)).hexdigest()
    assert PlanningDocument.model_validate_json(to_json(signed)) == signed


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\nb"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(SignatureError):
        sign(document(), name, now=cases.NOW)


def test_a_signed_document_is_not_signed_again() -> None:
    signed = sign(document(), "A", now=cases.NOW)
    with pytest.raises(SignatureError):
        sign(signed, "B", now=cases.NOW)
