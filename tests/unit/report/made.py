"""A made study of arrays: three bodies in an oblique stack, with findings invented for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.findings import (
    Abstention,
    Acuity,
    AcuityFinding,
    Anchor,
    BodySize,
    Call,
    Coverage,
    Edema,
    Etiology,
    EtiologyFinding,
    Feature,
    Fracture,
    LevelFindings,
    LevelName,
    Localisation,
    Scores,
    Shape,
    StudyVolumes,
    Vertebra,
)
from models.geometry import Affine, Plane, Spacing, affine_lps, to_index, to_lps
from models.volume import Role, Volume
from service.ingest.records import Ingested, Refusal, RefusedFile, SeriesOutcome
from service.report.assemble import assemble
from service.report.document import BundleReport, ProvenanceReport
from service.report.result import StudyResult

SHAPE = (9, 120, 90)
CENTRES = ((4, 30, 40), (4, 60, 38), (5, 90, 42))
HALF = (2, 9, 14)
PITCH = Spacing(4.4, 1.1, 0.9)


def oblique_affine(spacing: Spacing = PITCH) -> Affine:
    """A sagittal stack turned by about 10 and 7 degrees, with three different pitches."""
    row = np.array([0.17, 0.98, 0.05])
    row /= np.linalg.norm(row)
    column = np.array([0.1, 0.02, -0.99])
    column -= row * (column @ row)
    column /= np.linalg.norm(column)
    return affine_lps(spacing, np.array([row, column]), (-20.0, -60.0, 70.0))


def volumes() -> StudyVolumes:
    """A STIR on the reference grid, and a T1 in the same patient on a grid of its own."""
    rng = np.random.default_rng(3)
    affine = oblique_affine()
    stir = rng.normal(100, 10, SHAPE).astype(np.float32)
    for slice_, row, column in CENTRES:
        stir[slice_ - 2 : slice_ + 3, row - 9 : row + 10, column - 14 : column + 15] += 150
    coarse = oblique_affine(Spacing(5.0, 1.5, 1.2))
    grid = np.stack(np.meshgrid(range(8), range(88), range(68), indexing="ij"), axis=-1)
    nearest = np.round(to_index(affine, to_lps(coarse, grid))).astype(int)
    inside = np.all((nearest >= 0) & (nearest < np.array(SHAPE)), axis=-1)
    clipped = np.clip(nearest, 0, np.array(SHAPE) - 1)
    t1 = np.where(inside, 400 - stir[tuple(np.moveaxis(clipped, -1, 0))], 0).astype(np.float32)
    reference = Volume(stir, affine, Role.STIR, "1.2.3.1", "1.2.9")
    other = Volume(t1, coarse, Role.T1, "1.2.3.2", "1.2.9")
    return StudyVolumes(reference, {Role.STIR: reference, Role.T1: other})


def localisation(names: tuple[str | None, ...] = ("T12", "L1", "L2")) -> Localisation:
    """The three bodies, named as asked."""
    affine = oblique_affine()
    labels = np.zeros(SHAPE, dtype=np.uint8)
    found = []
    for index, (centre, name) in enumerate(zip(CENTRES, names, strict=True), start=1):
        low, high = (np.array(centre) + sign * np.array(HALF) for sign in (-1, 1))
        labels[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = index
        found.append(
            Vertebra(
                index=index,
                name=LevelName(name, 0.9) if name else None,
                alternatives=(LevelName("L3", 0.07),) if name == "L2" else (),
                coverage=Coverage.COMPLETE,
                centroid_lps_mm=to_lps(affine, centre),
                axes_lps=np.eye(3),
                size=BodySize(21.96, 26.04, 22.0, 20.0, 19.0, 24.96),
                confidence=0.99,
            )
        )
    anchor = Anchor.SACRUM if all(names) else Anchor.NONE
    return Localisation(labels, affine, tuple(found), anchor, np.zeros_like(labels))


def scores(localisation: Localisation) -> Scores:
    """No finding in the first body, a fresh fracture in the second, infiltration in the third."""
    first, second, third = localisation.vertebrae
    edema_map = np.zeros(localisation.labels.shape, dtype=np.float32)
    edema_map[3, 55:66, 30:40] = 0.9
    edema_map[localisation.labels == 3] = 0.8
    return Scores(
        (
            LevelFindings(
                first,
                Edema(0.03, Call.ABSENT, 0.002),
                Fracture(0.04, Call.ABSENT, 2.0, 0, Shape.NONE),
                AcuityFinding(Acuity.NO_FRACTURE, 0.01),
                EtiologyFinding(Etiology.NOT_APPLICABLE, None, ()),
            ),
            LevelFindings(
                second,
                Edema(0.93123, Call.PRESENT, 0.46, ("gradient_echo_water_image",)),
                Fracture(0.95, Call.PRESENT, 23.04, 1, Shape.WEDGE),
                AcuityFinding(Acuity.UNHEALED, 0.91),
                EtiologyFinding(Etiology.BENIGN, 0.06, (Etiology.BENIGN,)),
                {"fluid_sign": Feature(0.4), "bulge": Feature(None, -0.00001, "mm")},
                {"modic_1": 0.3, "cement": 0.0},
            ),
            LevelFindings(
                third,
                Edema(0.99, Call.PRESENT, 0.8),
                Fracture(0.5, Call.INDETERMINATE, None, None, Shape.NONE),
                AcuityFinding(Acuity.INDETERMINATE, 0.5),
                EtiologyFinding(
                    Etiology.PATHOLOGICAL, 0.97, (Etiology.BENIGN, Etiology.PATHOLOGICAL)
                ),
                in_distribution=False,
            ),
        ),
        edema_map,
        (Abstention("t2_missing", "features", "No T2 series."),),
    )


def ingested(volumes: StudyVolumes | None, *abstentions: Abstention) -> Ingested:
    """A study as read, with one refused file whose name tries to be markup."""
    used = () if volumes is None else tuple(volumes.by_role.values())
    outcomes = tuple(
        SeriesOutcome(
            volume.series_instance_uid,
            volume.role,
            0.99,
            ("inversion_time_ms=160", "<script>alert(1)</script>"),
            used=True,
            refused=None,
            plane=Plane.SAGITTAL,
            slices=volume.shape[0],
            spacing_mm=volume.spacing.mm,
        )
        for volume in used
    )
    refused = RefusedFile("a<img src=//x.example/>.txt", Refusal("not_dicom", "Not DICOM."))
    return Ingested("1.2.3", outcomes, 17 if used else 0, (refused,), volumes, abstentions)


def provenance(**timings_ms: float) -> ProvenanceReport:
    """Who made it."""
    bundle = BundleReport(name="scorer", version="1.0.0", sha256="ab" * 32)
    return ProvenanceReport(
        software="vertebral-acuity 0", bundles=(bundle,), device="cpu", timings_ms=timings_ms
    )


def result(
    names: tuple[str | None, ...] = ("T12", "L1", "L2"), study: StudyVolumes | None = None
) -> StudyResult:
    """A study with findings, ready for the writers."""
    read = ingested(study or volumes())
    found = localisation(names)
    said = scores(found)
    report = assemble(read, found, said, provenance(ingest=12.0))
    return StudyResult(report, read, found, said)


def unusable_result(*abstentions: Abstention) -> StudyResult:
    """A study of which nothing could be used."""
    read = ingested(None, *abstentions)
    return StudyResult(assemble(read, None, None, provenance()), read, None, None)


def without_edema(study: StudyResult) -> StudyResult:
    """The same study as it is when no series is fluid-sensitive."""
    assert study.scores is not None
    assert study.ingested.volumes is not None
    t1 = study.ingested.volumes.by_role[Role.T1]
    levels = tuple(
        replace(level, edema=None, acuity=None, etiology=None) for level in study.scores.levels
    )
    said = replace(study.scores, levels=levels, edema_map=None)
    read = replace(study.ingested, volumes=StudyVolumes(t1, {Role.T1: t1}))
    report = assemble(read, study.localisation, said, provenance())
    return StudyResult(report, read, study.localisation, said)
