"""Geometry in the report: rounded, by public label values, and readable again."""

from dataclasses import replace

from models.morphometry.morphometry import with_geometry
from models.morphometry.result import Missing
from service.report.assemble import assemble
from service.report.document import StudyReport
from tests.unit.morphometry.solids import Solid, Stack, column, localised
from tests.unit.report import made


def test_geometry_goes_into_the_report_and_comes_back() -> None:
    localisation = localised(column(Solid()), Stack(shape=(15, 130, 106)))
    found = made.scores(made.localisation())
    levels = tuple(
        replace(level, vertebra=vertebra)
        for level, vertebra in zip(found.levels, localisation.vertebrae, strict=True)
    )
    scores = with_geometry(localisation, replace(found, levels=levels))

    report = assemble(
        made.ingested(made.volumes()), localisation, scores, made.result().report.provenance
    )
    again = StudyReport.model_validate_json(report.model_dump_json())

    assert again == report
    first, second, third = (level.geometry for level in again.levels)
    assert first is not None
    assert second is not None
    assert third is not None
    # L1, the second body, is called fractured.
    assert first.adjacent_fractures == third.adjacent_fractures == (20,)
    assert second.adjacent_fractures == ()
    assert second.target is not None
    assert second.target.diagrammatic
    assert second.target.left is not None
    assert len(second.target.left.direction_lps) == 3
    assert second.posterior_wall is not None
    assert second.posterior_wall.integrity == "not_assessable_on_mri"
    assert first.reasons["angles.kyphosis_deg"] is Missing.NEIGHBOUR_MISSING
