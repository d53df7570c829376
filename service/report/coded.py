"""What a report says of a body as coded values, for every writer that codes.

SR and FHIR say the same because they say it from here.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.sr.coding import Code

from models.findings import Shape
from service.report import codes
from service.report.document import LevelReport, ReviewReport, StudyReport
from service.report.headline import statement, words


def measured_values(level: LevelReport) -> Iterator[tuple[Code, float, Code]]:
    """Figures of a body: what, how much, in which unit; what is not known is left out."""
    for name, value, unit in _figures(level):
        if value is not None:
            yield codes.MEASURED[name], round(float(value), 4), unit


def _figures(level: LevelReport) -> Iterator[tuple[str, float | None, Code]]:
    yield "level", level.level_confidence, codes.UNITLESS
    if level.edema is not None:
        yield "edema", level.edema.probability, codes.UNITLESS
        yield "extent", 100.0 * level.edema.extent_fraction, codes.PERCENT
    if level.fracture is not None:
        yield "fracture", level.fracture.probability, codes.UNITLESS
        yield "height_loss", level.fracture.height_loss_percent, codes.PERCENT
    if level.acuity is not None:
        yield "unhealed", level.acuity.probability_unhealed, codes.UNITLESS
    if level.etiology is not None:
        yield "malignant", level.etiology.pathological_probability, codes.UNITLESS
    if level.body is not None:
        body = level.body
        yield "height_anterior", body.height_anterior_mm, codes.MILLIMETRE
        yield "height_middle", body.height_middle_mm, codes.MILLIMETRE
        yield "height_posterior", body.height_posterior_mm, codes.MILLIMETRE
        yield "depth", body.depth_mm, codes.MILLIMETRE
        yield "width", body.width_mm, codes.MILLIMETRE
        yield "volume", body.volume_ml, codes.MILLILITRE


def answers(level: LevelReport) -> Iterator[tuple[Code, Code]]:
    """Calls of a body: what was asked, and the answer."""
    if level.edema is not None:
        yield codes.EDEMA, codes.CALLS[level.edema.call]
    if level.fracture is not None:
        fracture = level.fracture
        yield codes.COMPRESSION_FRACTURE, codes.CALLS[fracture.call]
        if fracture.shape is not Shape.NONE:
            yield codes.SHAPE, codes.shape_code(fracture.shape.value)
        if fracture.genant_grade is not None:
            yield codes.GENANT, codes.genant_code(fracture.genant_grade)
    if level.acuity is not None:
        yield codes.ACUITY, codes.ACUITIES[level.acuity.call]
    if level.etiology is not None:
        yield codes.ETIOLOGY, codes.ETIOLOGIES[level.etiology.call]


def limits(level: LevelReport) -> Iterator[str]:
    """What the codes of a body cannot say."""
    if level.level is None:
        yield "The level of this body is not known."
    if level.alternatives:
        names = ", ".join(f"{one.level} ({one.confidence:.0%})" for one in level.alternatives)
        yield f"Other possible levels: {names}."
    parts = (("edema", level.edema), ("etiology", level.etiology))
    for name, finding in parts:
        if finding is not None and finding.limited_by:
            yield f"{name.capitalize()} limited by: {', '.join(finding.limited_by)}."
    if level.etiology is not None and level.etiology.prediction_set:
        names = ", ".join(one.value for one in level.etiology.prediction_set)
        yield f"Etiology, conformal set: {names}."
    for code in level.safety:
        yield f"Safety: {words(code)}."
    for code in level.disagreements:
        yield f"Network and measurement differ: {words(code)}."
    if not level.in_distribution:
        yield "This body looks unlike what the networks were trained on."


def remarks(report: StudyReport) -> Iterator[str]:
    """What stands beside the findings of a whole report."""
    yield statement(report)
    if report.review is not None:
        yield from _reviewed(report.review)
    yield f"Levels counted from: {report.anchor.value}."
    for abstention in report.abstentions:
        yield f"Withheld ({abstention.scope}): {abstention.reason}"
    bundles = ", ".join(
        f"{one.name} {one.version} {one.sha256}" for one in report.provenance.bundles
    )
    if bundles:
        yield f"Model bundles: {bundles}"


def _reviewed(review: ReviewReport) -> Iterator[str]:
    """What the reader changed, and wrote beside it."""
    if review.decision == "reject":
        yield "The reader rejected the machine reading: no finding is reported."
    for one in review.corrections:
        name = one.level or f"body {one.body}"
        yield f"Corrected by the reader: {name}, {one.field} is {one.after}, was {one.before}."
    if review.comment:
        yield f"The reader's comment: {review.comment}"
