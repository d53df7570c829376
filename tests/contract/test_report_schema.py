"""The report's schema is public: what others parse does not change unless the version does.

After a deliberate addition, write the snapshot anew with
`python -m tests.contract.test_report_schema`.
"""

import json
from pathlib import Path
from typing import Any

from service.report.document import StudyReport
from service.report.json_writer import to_json
from tests.unit.report import made

SNAPSHOT = Path(__file__).with_name("study_report_1.0.schema.json")

CONTRACT: dict[str, Any] = {
    "schema_version": "1.0",
    "study": {"study_instance_uid": None},
    "status": None,
    "series": [
        {
            "series_instance_uid": None,
            "role": None,
            "used": None,
            "confidence": None,
            "evidence": None,
            "refused": None,
        }
    ],
    "files": {"used": None, "refused": [{"file": None, "code": None, "reason": None}]},
    "reference_series_uid": None,
    "anchor": None,
    "levels": [
        {
            "level": None,
            "level_confidence": None,
            "alternatives": [{"level": None, "confidence": None}],
            "coverage": None,
            "centroid_lps_mm": None,
            "body": {
                "volume_ml": None,
                "depth_mm": None,
                "width_mm": None,
                "height_anterior_mm": None,
                "height_middle_mm": None,
                "height_posterior_mm": None,
            },
            "edema": {
                "probability": None,
                "call": None,
                "extent_fraction": None,
                "extent_bin": None,
                "limited_by": None,
            },
            "fracture": {
                "probability": None,
                "call": None,
                "height_loss_percent": None,
                "genant_grade": None,
                "shape": None,
            },
            "acuity": {"call": None, "probability_unhealed": None},
            "etiology": {
                "call": None,
                "pathological_probability": None,
                "prediction_set": None,
                "limited_by": None,
            },
            "features": None,
            "mimics": None,
            "in_distribution": None,
        }
    ],
    "abstentions": [{"code": None, "scope": None, "reason": None}],
    "provenance": {
        "software": None,
        "bundles": [{"name": None, "version": None, "sha256": None}],
        "device": None,
        "timings_ms": None,
    },
}
"""Names and nesting of CONTRACT.md; None stands for any value."""

ENUMS = {
    "Status": ["preliminary", "verified", "superseded"],
    "Role": [
        "stir", "t2_fs", "dixon_water", "dixon_fat", "t1", "t2", "t1_post", "t1_fs", "flair",
        "pd", "localizer", "other",
    ],
    "Anchor": ["sacrum", "c2", "localizer", "none"],
    "Coverage": ["complete", "partial"],
    "Call": ["present", "absent", "indeterminate"],
    "ExtentBin": ["none", "under_half", "half_or_more"],
    "Shape": ["none", "wedge", "biconcave", "crush"],
    "Acuity": ["unhealed", "healed", "no_fracture", "indeterminate"],
    "Etiology": ["benign", "pathological", "indeterminate", "not_applicable"],
}  # fmt: skip


def schema_text() -> str:
    return json.dumps(StudyReport.model_json_schema(mode="serialization"), indent=2) + "\n"


def assert_holds(document: object, contract: object, path: str) -> None:
    """Every name of the contract is in the document, in the contract's place."""
    if isinstance(contract, dict):
        assert isinstance(document, dict), path
        for name, part in contract.items():
            assert name in document, f"{path}.{name}"
            assert_holds(document[name], part, f"{path}.{name}")
    elif isinstance(contract, list):
        assert isinstance(document, list), path
        for item in document:
            assert_holds(item, contract[0], f"{path}[]")
    elif contract is not None:
        assert document == contract, path


def test_schema_is_the_committed_one() -> None:
    assert schema_text() == SNAPSHOT.read_text("utf-8")


def test_names_and_nesting_are_those_of_the_contract() -> None:
    document = json.loads(to_json(made.result().report))
    assert_holds(document, CONTRACT, "report")
    for filled in ("series", "levels", "abstentions"):
        assert document[filled]
    assert document["files"]["refused"]
    assert document["levels"][2]["alternatives"]


def test_enumerations_are_those_of_the_contract() -> None:
    definitions = StudyReport.model_json_schema()["$defs"]
    assert {name: definitions[name]["enum"] for name in ENUMS} == ENUMS


def test_every_object_is_closed() -> None:
    schema = StudyReport.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        if part["type"] == "object":
            assert part["additionalProperties"] is False


if __name__ == "__main__":
    SNAPSHOT.write_text(schema_text(), "utf-8")
