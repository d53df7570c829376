"""Synthetic studies: folders with `dicom/`, `truth.json` and label maps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import exp
from pathlib import Path
from typing import Any, Final

from models.anatomy import LABEL_VALUES
from models.findings import Acuity, Call, Etiology, Shape
from models.scorer.measurements import genant_grade
from training.datasets.adapted import Adapted
from training.datasets.dicom_studies import DicomStudy, Studies, open_studies
from training.datasets.digests import file_digest
from training.datasets.errors import SourceLayoutError
from training.datasets.rows import NOT_SCORED, LabelRow
from training.datasets.split import SplitRule
from training.phantom.dicom.truth import TRUTH_SCHEMA
from training.scorer.pool import FAINTEST_CONTRAST
from training.scorer.targets import EDEMA_ABSENT, EDEMA_PRESENT

_DRAWN_AS: Final = {
    "mimic_modic_1": ("modic_1",),
    "mimic_schmorl_node": ("schmorl_node",),
    "mimic_haemangioma": ("haemangioma", "haemangioma_atypical"),
    "mimic_discitis": ("discitis",),
}


def phantom_rows(root: Path, rule: SplitRule) -> Adapted:
    """Rows of every synthetic study under a folder, with what is true of each whole body.

    Args:
        root: Holds one folder a study, at any depth.
        rule: A patient is a seed.

    Raises:
        SourceLayoutError: There is no synthetic study, or one is of another version.
    """
    adapted = Adapted()
    truths = sorted(root.rglob("truth.json"))
    if not truths:
        raise SourceLayoutError("no truth.json below the folder: these are no synthetic studies")
    with open_studies(root, adapted) as studies:
        for path in truths:
            _add_study(path, studies, rule, adapted)
    return adapted


def _add_study(path: Path, studies: Studies, rule: SplitRule, adapted: Adapted) -> None:
    truth = json.loads(path.read_text(encoding="utf-8"))
    if truth.get("schema") != TRUTH_SCHEMA:
        raise SourceLayoutError(f"a truth.json is not of {TRUTH_SCHEMA}")
    study = studies.by_uid.get(truth["study_instance_uid"])
    if study is None:
        adapted.skip(path.parent.name, "study_missing")
        return
    common = _common(truth, path.parent, study, studies)
    common["split"] = rule.of(common["patient_key"])
    for position, level in enumerate(truth["levels"], start=1):
        if level["visible"] != "complete":
            adapted.skip(f"{path.parent.name} {level['level']}", "level_cut_by_the_field_of_view")
            continue
        adapted.rows.append(LabelRow.model_validate(common | _level(level, position)))


def _common(
    truth: Mapping[str, Any], folder: Path, study: DicomStudy, studies: Studies
) -> dict[str, Any]:
    mask = folder / truth["truth_nifti"]["file"]
    return studies.columns(study, truth["truth_nifti"]["series_instance_uid"]) | {
        "source": "phantom",
        "patient_key": f"phantom-{truth['seed']}",
        "reader": "truth",
        "mask_path": str(mask.resolve()),
        "mask_sha256": file_digest(mask),
        "sex": truth["sex"],
        "age_years": truth["age_years"],
    }


def _level(level: Mapping[str, Any], position: int) -> dict[str, Any]:
    left, posterior, superior = level["centroid_lps_mm"]
    labels = {} if level["level"] == NOT_SCORED else _labels(level)
    return labels | {
        "level": level["level"],
        "position": position,
        "mask_value": LABEL_VALUES[level["level"]],
        "left_mm": left,
        "posterior_mm": posterior,
        "superior_mm": superior,
    }


def _faint(level: Mapping[str, Any]) -> bool:
    """Whether no reader would see the edema; studies of older versions do not say."""
    contrast = level.get("edema_contrast")
    return contrast is not None and contrast < exp(FAINTEST_CONTRAST)


def _labels(level: Mapping[str, Any]) -> dict[str, Any]:
    """Labels as a perfect reader would give them: what is too faint to call is indeterminate."""
    extent = level["edema_fraction"]
    edema = Call.INDETERMINATE
    if extent <= EDEMA_ABSENT:
        edema = Call.ABSENT
    elif extent >= EDEMA_PRESENT and not _faint(level):
        edema = Call.PRESENT
    acuity = Acuity(level["acuity"])
    fractured = acuity is not Acuity.NO_FRACTURE
    if acuity is Acuity.UNHEALED and edema is not Call.PRESENT:
        acuity = Acuity.INDETERMINATE
    etiology = Etiology.NOT_APPLICABLE
    if level["etiology"] == "pathological":
        etiology = Etiology.PATHOLOGICAL
    elif fractured or edema is Call.PRESENT:
        etiology = Etiology.BENIGN
    drawn = set(level["mimics"])
    return {
        "edema": edema,
        "extent": extent,
        "fracture": Call.PRESENT if fractured else Call.ABSENT,
        # Shapes outside Genant's, such as pincers, have no name in the manifest.
        "shape": level["fracture"] if level["fracture"] in set(Shape) else None,
        "genant": genant_grade(level["height_loss_percent"]),
        "height_loss_percent": level["height_loss_percent"],
        "acuity": acuity,
        "etiology": etiology,
        "mimic_cement": level["stage"] == "cemented",
        **{column: bool(drawn & set(names)) for column, names in _DRAWN_AS.items()},
    }
