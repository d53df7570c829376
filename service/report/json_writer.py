"""The report as JSON: same findings, same bytes."""

from __future__ import annotations

import json

from service.report.document import StudyReport


def to_json(report: StudyReport, *, timings: bool = True) -> bytes:
    """Write the report as UTF-8 JSON with a final newline.

    Args:
        report: The report.
        timings: Whether `provenance.timings_ms` keeps its entries; without them two runs over
            the same study give the same bytes.

    Returns:
        The document, in the order of the schema's fields.
    """
    document = report.model_dump(mode="json")
    if not timings:
        document["provenance"]["timings_ms"] = {}
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def from_json(document: bytes | str) -> StudyReport:
    """Read a report back.

    Raises:
        pydantic.ValidationError: It is not a report of this schema version.
    """
    return StudyReport.model_validate_json(document)
