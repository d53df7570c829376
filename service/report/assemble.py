"""Bring what each stage found into one report, and see to it that nothing is silent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.anatomy import FIRST_UNNAMED_LABEL, LABEL_VALUES
from models.findings import (
    Abstention,
    Anchor,
    Call,
    Edema,
    LevelFindings,
    Localisation,
    Scores,
    Vertebra,
)
from models.morphometry.result import LevelGeometry
from models.volume import FLUID_SENSITIVE
from service.ingest.records import Ingested
from service.report.document import (
    AbstentionReport,
    AcuityReport,
    AlternativeReport,
    BodyReport,
    EdemaReport,
    EtiologyReport,
    ExtentBin,
    FeatureReport,
    FilesReport,
    FractureReport,
    GeometryReport,
    LevelReport,
    ProvenanceReport,
    RefusedFileReport,
    SeriesReport,
    Status,
    StudyReference,
    StudyReport,
)

NO_USABLE_SERIES = Abstention(
    "no_usable_series", "study", "No sagittal spine MR series of this study could be used."
)
NO_FLUID_SENSITIVE_SERIES = Abstention(
    "no_fluid_sensitive_series",
    "edema",
    "Marrow edema, acuity and etiology need a STIR, fat-suppressed T2 or Dixon water series; "
    "none was usable.",
)


def assemble(
    ingested: Ingested,
    localisation: Localisation | None,
    scores: Scores | None,
    provenance: ProvenanceReport,
) -> StudyReport:
    """Write up a study.

    Args:
        ingested: The study as read.
        localisation: The bodies; None when no volume was usable.
        scores: One entry per body; None when there was nothing to score.
        provenance: What made the findings.

    Returns:
        A preliminary report. One is made whatever is missing: the abstentions then say why.
    """
    volumes = ingested.volumes
    return StudyReport(
        study=StudyReference(study_instance_uid=ingested.study_instance_uid),
        status=Status.PRELIMINARY,
        series=tuple(map(SeriesReport.model_validate, ingested.series)),
        files=FilesReport(
            used=ingested.files_used,
            refused=tuple(
                RefusedFileReport(
                    file=item.file, code=item.refusal.code, reason=item.refusal.reason
                )
                for item in ingested.refused_files
            ),
        ),
        reference_series_uid=volumes.reference.series_instance_uid if volumes else None,
        anchor=localisation.anchor if localisation else Anchor.NONE,
        levels=tuple(_levels(localisation, scores)),
        abstentions=_abstentions(ingested, localisation, scores),
        provenance=provenance,
    )


def label_values(vertebrae: tuple[Vertebra, ...]) -> NDArray[np.uint16]:
    """Map a vertebra's `index` to the value it has in `vertebrae.nii.gz`.

    Args:
        vertebrae: Cranial to caudal.

    Returns:
        (256,) look-up table for `Localisation.labels`; bodies without a name count from 101.
    """
    table = np.zeros(256, dtype=np.uint16)
    unnamed = FIRST_UNNAMED_LABEL
    for vertebra in vertebrae:
        if vertebra.level is None:
            table[vertebra.index] = unnamed
            unnamed += 1
        else:
            table[vertebra.index] = LABEL_VALUES[vertebra.level]
    return table


def extent_bin(edema: Edema) -> ExtentBin:
    """Bin the extent; the bin never contradicts the call."""
    if edema.call is Call.ABSENT:
        return ExtentBin.NONE
    fraction = round(edema.extent_fraction, 4)
    if fraction >= 0.5:
        return ExtentBin.HALF_OR_MORE
    if fraction > 0 or edema.call is Call.PRESENT:
        return ExtentBin.UNDER_HALF
    return ExtentBin.NONE


def _abstentions(
    ingested: Ingested, localisation: Localisation | None, scores: Scores | None
) -> tuple[AbstentionReport, ...]:
    said = [
        *ingested.abstentions,
        *(localisation.abstentions if localisation else ()),
        *(scores.abstentions if scores else ()),
    ]
    volumes = ingested.volumes
    if volumes is None:
        said += () if said else (NO_USABLE_SERIES,)
    elif not any(role in volumes.by_role for role in FLUID_SENSITIVE):
        known = any(abstention.code == NO_FLUID_SENSITIVE_SERIES.code for abstention in said)
        said += () if known else (NO_FLUID_SENSITIVE_SERIES,)
    # Several stages may notice the same lack; the first to say so is nearest to its cause.
    unique: dict[tuple[str, str], Abstention] = {}
    for abstention in said:
        unique.setdefault((abstention.code, abstention.scope), abstention)
    return tuple(AbstentionReport.model_validate(abstention) for abstention in unique.values())


def _levels(localisation: Localisation | None, scores: Scores | None) -> Iterator[LevelReport]:
    if localisation is None:
        return
    table = label_values(localisation.vertebrae)
    findings = scores.levels if scores else tuple(map(_unscored, localisation.vertebrae))
    for level in findings:
        yield _level(level, table)


def _unscored(vertebra: Vertebra) -> LevelFindings:
    return LevelFindings(vertebra, edema=None, fracture=None, acuity=None, etiology=None)


def _level(findings: LevelFindings, table: NDArray[np.uint16]) -> LevelReport:
    vertebra = findings.vertebra
    x, y, z = vertebra.centroid_lps_mm.tolist()
    return LevelReport(
        level=vertebra.level,
        level_confidence=vertebra.name.confidence if vertebra.name else None,
        alternatives=tuple(map(AlternativeReport.model_validate, vertebra.alternatives)),
        coverage=vertebra.coverage,
        centroid_lps_mm=(x, y, z),
        body=BodyReport.model_validate(vertebra.size) if vertebra.size else None,
        body_sd=BodyReport.model_validate(vertebra.size_sd) if vertebra.size_sd else None,
        edema=_edema(findings.edema) if findings.edema else None,
        fracture=FractureReport.model_validate(findings.fracture) if findings.fracture else None,
        acuity=AcuityReport.model_validate(findings.acuity) if findings.acuity else None,
        etiology=EtiologyReport.model_validate(findings.etiology) if findings.etiology else None,
        features={
            name: FeatureReport.model_validate(sign)
            for name, sign in sorted(findings.features.items())
        },
        mimics=dict(sorted(findings.mimics.items())),
        in_distribution=findings.in_distribution,
        label_value=int(table[vertebra.index]),
        geometry=_geometry(findings.geometry, table) if findings.geometry else None,
        distribution_score=findings.distribution_score,
        disagreements=findings.disagreements,
        safety=findings.safety,
    )


def _geometry(geometry: LevelGeometry, table: NDArray[np.uint16]) -> GeometryReport:
    adjacent = tuple(int(table[index]) for index in geometry.adjacent_fractures)
    return GeometryReport.model_validate(replace(geometry, adjacent_fractures=adjacent))


def _edema(edema: Edema) -> EdemaReport:
    return EdemaReport(
        probability=edema.probability,
        call=edema.call,
        extent_fraction=edema.extent_fraction,
        extent_bin=extent_bin(edema),
        limited_by=edema.limited_by,
        extent_interval=edema.extent_interval,
    )
