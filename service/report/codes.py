"""Coded concepts of the results. Standard codes where they were verified, our own scheme else.

SNOMED CT's "pathological fracture" includes osteoporotic ones, so it is never used for a
neoplastic one: the finding is a compression fracture, judged benign or malignant.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code

from models.anatomy import SNOMED_VERTEBRA
from models.findings import Acuity, Call, Etiology

SCHEME: Final = "99VERTACU"
"""Private coding scheme, declared in every object that uses it."""


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


VERTEBRA: Final = Code("51282000", "SCT", "Vertebra")
ANATOMICAL_STRUCTURE: Final = Code("91723000", "SCT", "Anatomical structure")
MORPHOLOGY: Final = Code("49755003", "SCT", "Morphologically abnormal structure")
EDEMA: Final = Code("79654002", "SCT", "Edema")
BONE_MARROW: Final = Code("14016003", "SCT", "Bone marrow")
COMPRESSION_FRACTURE: Final = Code("42942008", "SCT", "Compression fracture of vertebral column")
MRI: Final = Code("113091000", "SCT", "Magnetic resonance imaging")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
COMMENT: Final = Code("121106", "DCM", "Comment")
REPORT_TITLE: Final = Code("126000", "DCM", "Imaging Measurement Report")
SPINE: Final = Code("421060004", "SCT", "Spine")
NO_BODY_FOUND: Final = _own("NO_BODY_FOUND", "No vertebral body found")
READING_REJECTED: Final = _own("READING_REJECTED", "Machine reading rejected by the reader")
OF_INTEREST: Final = Code("113000", "DCM", "Of Interest")
REJECTED_FOR_QUALITY: Final = Code("113001", "DCM", "Rejected for Quality Reasons")
PERSON: Final = Code("121006", "DCM", "Person")

CALLS: Final = {
    Call.PRESENT: Code("52101004", "SCT", "Present"),
    Call.ABSENT: Code("272519000", "SCT", "Absent"),
    Call.INDETERMINATE: Code("82334004", "SCT", "Indeterminate"),
}
ACUITY: Final = _own("ACUITY", "Acuity of vertebral fracture by marrow edema")
ACUITIES: Final = {
    Acuity.UNHEALED: _own("UNHEALED", "Unhealed: fracture with marrow edema"),
    Acuity.HEALED: _own("HEALED", "Healed: fracture without marrow edema"),
    Acuity.NO_FRACTURE: _own("NO_FRACTURE", "No fracture"),
    Acuity.INDETERMINATE: Code("82334004", "SCT", "Indeterminate"),
}
ETIOLOGY: Final = _own("ETIOLOGY", "Benign or malignant appearance")
ETIOLOGIES: Final = {
    Etiology.BENIGN: Code("30807003", "SCT", "Benign"),
    Etiology.PATHOLOGICAL: Code("21594007", "SCT", "Malignant"),
    Etiology.INDETERMINATE: Code("82334004", "SCT", "Indeterminate"),
    Etiology.NOT_APPLICABLE: Code("385432009", "SCT", "Not applicable"),
}
SHAPE: Final = _own("SHAPE", "Shape of vertebral fracture")
GENANT: Final = _own("GENANT", "Genant grade")

UNITLESS: Final = Code("1", "UCUM", "no units")
PERCENT: Final = Code("%", "UCUM", "%")
MILLIMETRE: Final = Code("mm", "UCUM", "mm")
MILLILITRE: Final = Code("ml", "UCUM", "ml")

MEASURED: Final = {
    "edema": _own("EDEMA_PROB", "Probability of marrow edema"),
    "extent": _own("EDEMA_EXTENT", "Part of vertebral body with marrow edema"),
    "fracture": _own("FRACTURE_PROB", "Probability of vertebral fracture"),
    "unhealed": _own("UNHEALED_PROB", "Probability of unhealed fracture"),
    "malignant": _own("MALIGNANT_PROB", "Probability of malignant cause"),
    "level": _own("LEVEL_CONF", "Confidence of level name"),
    "height_loss": _own("HEIGHT_LOSS", "Vertebral height loss"),
    "height_anterior": _own("HEIGHT_ANT", "Anterior height of vertebral body"),
    "height_middle": _own("HEIGHT_MID", "Middle height of vertebral body"),
    "height_posterior": _own("HEIGHT_POST", "Posterior height of vertebral body"),
    "depth": _own("DEPTH", "Depth of vertebral body"),
    "width": _own("WIDTH", "Width of vertebral body"),
    "volume": Code("118565006", "SCT", "Volume"),
}


def shape_code(shape: str) -> Code:
    """Genant's shapes have no verified standard codes."""
    return _own(f"SHAPE_{shape.upper()}", f"{shape.capitalize()} shape")


def genant_code(grade: int) -> Code:
    """Grade 0 to 3."""
    return _own(f"GENANT_{grade}", f"Genant grade {grade}")


def vertebra_code(level: str | None) -> Code:
    """CID 7603; a level that has no code there (S1, L6, T13, unnamed) is a vertebra."""
    if level in SNOMED_VERTEBRA:
        kind = {"C": "cervical", "T": "thoracic", "L": "lumbar"}[level[0]]
        return Code(SNOMED_VERTEBRA[level], "SCT", f"{level} {kind} vertebra")
    if level == "S1":
        return Code("54735007", "SCT", "Sacrum")
    return VERTEBRA


def declare_scheme(written: Dataset) -> None:
    """Say in an object what its private coding scheme is (PS3.3 C.12.1.1.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = SCHEME
    item.CodingSchemeName = "vertebral-acuity private codes"
    item.CodingSchemeResponsibleOrganization = "The vertebral-acuity authors"
    written.CodingSchemeIdentificationSequence = Sequence([item])
