"""Under which identity a body stands in every object of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from service.report.dicom.identity import tracking_uid
from service.report.headline import level_title
from service.report.result import StudyResult

EDEMA_TRACKING: Final = "Marrow edema"


@dataclass(frozen=True, slots=True)
class Tracked:
    """A body under the identity it has in every object of a report.

    Attributes:
        segment: Its number in the SEG; None where it has no voxel.
        label: Its title, as in the report.
        tracking_uid: The same in SR, SEG and FHIR.
    """

    segment: int | None
    label: str
    tracking_uid: str


def tracked(result: StudyResult, key: str) -> dict[int, Tracked]:
    """Map a vertebra's index to its identity; segments are numbered cranial to caudal.

    Args:
        result: Of any study.
        key: Of `content_key`.
    """
    localisation = result.localisation
    if localisation is None:
        return {}
    present = set(np.unique(localisation.labels).tolist())
    identities: dict[int, Tracked] = {}
    number = 0
    for vertebra, level in zip(localisation.vertebrae, result.report.levels, strict=True):
        drawn = vertebra.index in present
        number += drawn
        identities[vertebra.index] = Tracked(
            number if drawn else None,
            level_title(level),
            tracking_uid(key, level.label_value),
        )
    return identities
