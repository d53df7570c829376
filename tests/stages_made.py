"""Stages in place of the networks: a small volume with two vertebrae, whatever is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.findings import (
    Abstention,
    Acuity,
    AcuityFinding,
    Anchor,
    Call,
    Coverage,
    Edema,
    Etiology,
    EtiologyFinding,
    Fracture,
    LevelFindings,
    LevelName,
    Localisation,
    Scores,
    Shape,
    StudyVolumes,
    Vertebra,
)
from models.volume import Role, Volume
from service.ingest.records import Ingested, Refusal, RefusedFile
from service.pipeline import Stages

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"


def volume() -> Volume:
    affine = np.array([[4.4, 0, 0, -20.0], [0, 0, 0.7, -30.0], [0, -0.9, 0, 40.0], [0, 0, 0, 1.0]])
    array = np.arange(10 * 80 * 60, dtype=np.float32).reshape(10, 80, 60) % 97
    return Volume(array, affine, Role.STIR, series_instance_uid=f"{STUDY_UID}.1")


def localise(study: StudyVolumes) -> Localisation:
    labels = np.zeros(study.reference.shape, np.uint8)
    labels[3:7, 10:30, 20:40] = 1
    labels[3:7, 45:65, 20:40] = 2
    return Localisation(
        labels=labels,
        affine=study.reference.affine,
        vertebrae=tuple(
            Vertebra(
                index=index,
                name=LevelName(level, 0.9),
                alternatives=(),
                coverage=Coverage.COMPLETE,
                centroid_lps_mm=np.array([0.0, 0.0, z]),
                axes_lps=np.eye(3),
                size=None,
                confidence=0.99,
            )
            for index, level, z in ((1, "T12", 20.0), (2, "L1", -10.0))
        ),
        anchor=Anchor.SACRUM,
        structures=np.zeros_like(labels),
    )


def score(_study: StudyVolumes, localisation: Localisation) -> Scores:
    calls = ((Call.ABSENT, Acuity.NO_FRACTURE), (Call.PRESENT, Acuity.UNHEALED))
    levels = tuple(
        LevelFindings(
            vertebra=vertebra,
            edema=Edema(0.9, call, 0.4 if call is Call.PRESENT else 0.0),
            fracture=Fracture(0.9, call, 20.0, 1, Shape.WEDGE),
            acuity=AcuityFinding(acuity, 0.9),
            etiology=EtiologyFinding(Etiology.BENIGN, 0.1, (Etiology.BENIGN,)),
        )
        for vertebra, (call, acuity) in zip(localisation.vertebrae, calls, strict=True)
    )
    return Scores(levels, np.zeros(localisation.labels.shape, np.float32))


def read(source: Path) -> Ingested:
    """A study is usable unless it is empty of anything but text files."""
    names = sorted(path.name for path in source.iterdir()) if source.is_dir() else [source.name]
    usable = not all(name.endswith(".txt") for name in names)
    volumes = StudyVolumes(volume(), {Role.STIR: volume()}) if usable else None
    refused = tuple(
        RefusedFile(name, Refusal("not_dicom", "The file is not DICOM."))
        for name in names
        if name.endswith(".txt")
    )
    said = () if usable else (Abstention("no_usable_series", "study", "No MR series was found."),)
    return Ingested(STUDY_UID if usable else "", (), len(names), refused, volumes, said)


STAGES = Stages(read, localise, score)
