"""What was found: bodies, levels and what each shows. Frozen values, no drawing, no DICOM.

The localiser gives a `Localisation`; the scorer adds one `LevelFindings` per vertebra. Calls are
made from calibrated probabilities at the operating points of the bundle, never from constants in
code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from models.geometry import Affine
from models.morphometry.result import LevelGeometry
from models.volume import Volume


class Anchor(StrEnum):
    """What the level numbers were counted from."""

    SACRUM = "sacrum"
    C2 = "c2"
    LOCALIZER = "localizer"
    NONE = "none"


class Coverage(StrEnum):
    """Whether the body lies wholly inside the volume."""

    COMPLETE = "complete"
    PARTIAL = "partial"


class Call(StrEnum):
    """A thresholded answer."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"


class Acuity(StrEnum):
    """Fracture with edema, without, or no fracture; never a number of days."""

    UNHEALED = "unhealed"
    HEALED = "healed"
    NO_FRACTURE = "no_fracture"
    INDETERMINATE = "indeterminate"


class Etiology(StrEnum):
    """Osteoporotic or traumatic (benign) against infiltration (pathological)."""

    BENIGN = "benign"
    PATHOLOGICAL = "pathological"
    INDETERMINATE = "indeterminate"
    NOT_APPLICABLE = "not_applicable"


class Shape(StrEnum):
    """Fracture shape after Genant."""

    NONE = "none"
    WEDGE = "wedge"
    BICONCAVE = "biconcave"
    CRUSH = "crush"


@dataclass(frozen=True, slots=True)
class Abstention:
    """A refusal to say something, with its reason.

    Attributes:
        code: Stable code, for example "no_fluid_sensitive_series" or "unanchored".
        scope: What is withheld: "study", "levels", "edema", "acuity", "etiology", or a level name.
        reason: One sentence for the reader.
    """

    code: str
    scope: str
    reason: str


@dataclass(frozen=True, slots=True)
class LevelName:
    """A candidate name with its calibrated probability."""

    level: str
    confidence: float


@dataclass(frozen=True, slots=True)
class BodySize:
    """Size of a vertebral body in mm and mL; heights on the mid-sagittal part."""

    volume_ml: float
    depth_mm: float
    width_mm: float
    height_anterior_mm: float
    height_middle_mm: float
    height_posterior_mm: float


@dataclass(frozen=True, slots=True)
class Vertebra:
    """A body that was found.

    Attributes:
        index: 1, 2, … cranial to caudal; the value the body has in `Localisation.labels`.
        name: Level and its confidence, or None where numbering is not possible.
        alternatives: Other possible names, most probable first.
        coverage: Whether the body lies wholly inside the volume.
        centroid_lps_mm: (3,) of the mask.
        axes_lps: (3, 3) rows: unit vectors to the patient's left, to the back, and to the head
            along the body's own axes.
        size: Measured on the mask; None when coverage does not allow it.
        confidence: That this is a vertebral body.
        size_sd: Standard deviations of what `size` holds, in the same units, as the bundle counted
            them on scans with a known truth; None where it did not.
    """

    index: int
    name: LevelName | None
    alternatives: tuple[LevelName, ...]
    coverage: Coverage
    centroid_lps_mm: NDArray[np.float64]
    axes_lps: NDArray[np.float64]
    size: BodySize | None
    confidence: float
    size_sd: BodySize | None = None

    @property
    def level(self) -> str | None:
        """The level's name, or None."""
        return self.name.level if self.name else None


@dataclass(frozen=True, slots=True)
class Localisation:
    """All bodies of a study on the grid of the reference volume.

    Attributes:
        labels: (slice, row, column) uint8 on the reference volume's stored grid; 0 or a
            vertebra's `index`.
        affine: Of that grid.
        vertebrae: Cranial to caudal; S1 last where seen.
        anchor: What names were counted from.
        structures: (slice, row, column) uint8 of `models.localiser.classes.Structure` values on
            the same grid: discs, canal and the rest, for measurements and drawing.
        abstentions: Why names or bodies are missing.
    """

    labels: NDArray[np.uint8]
    affine: Affine
    vertebrae: tuple[Vertebra, ...]
    anchor: Anchor
    structures: NDArray[np.uint8]
    abstentions: tuple[Abstention, ...] = ()


@dataclass(frozen=True, slots=True)
class Edema:
    """Marrow edema of a body.

    Attributes:
        probability: Calibrated.
        call: At the bundle's operating point, with the rule of measured contrast.
        extent_fraction: Part of the body it fills, 0 to 1.
        limited_by: Codes that bound the answer.
        extent_interval: Holds the true part as often as the bundle says; None where an edema is
            called absent or the bundle has no interval.
    """

    probability: float
    call: Call
    extent_fraction: float
    limited_by: tuple[str, ...] = ()
    extent_interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Fracture:
    """Fracture deformity of a body; height loss in percent against its neighbours."""

    probability: float
    call: Call
    height_loss_percent: float | None
    genant_grade: int | None
    shape: Shape


@dataclass(frozen=True, slots=True)
class AcuityFinding:
    """Acuity call, the probability that a fracture is unhealed, and the conformal set."""

    call: Acuity
    probability_unhealed: float
    prediction_set: tuple[Acuity, ...] = ()


@dataclass(frozen=True, slots=True)
class EtiologyFinding:
    """Benign against pathological, with its conformal set and what limits the answer."""

    call: Etiology
    pathological_probability: float | None
    prediction_set: tuple[Etiology, ...]
    limited_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Feature:
    """A sign beside the calls: learned probability and/or measured value with its unit."""

    probability: float | None = None
    value: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class LevelFindings:
    """Everything said of one vertebra. A None means: not said, and an abstention says why.

    Attributes:
        features: Learned and measured signs by name.
        in_distribution: Whether `distribution_score` is at most 1.
        distribution_score: Farthest that a statistic of the body's images lies from the middle of
            its range in training, 1 at the range's end; None where nothing could be measured.
        disagreements: Where a call and a measured sign contradict each other, as codes.
        safety: Findings that make a procedure dangerous, as codes.
    """

    vertebra: Vertebra
    edema: Edema | None
    fracture: Fracture | None
    acuity: AcuityFinding | None
    etiology: EtiologyFinding | None
    features: Mapping[str, Feature] = field(default_factory=dict)
    mimics: Mapping[str, float] = field(default_factory=dict)
    in_distribution: bool = True
    geometry: LevelGeometry | None = None
    distribution_score: float | None = None
    disagreements: tuple[str, ...] = ()
    safety: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """The scorer's answer for a study.

    Attributes:
        levels: One per vertebra of the localisation, same order.
        edema_map: (slice, row, column) float32 probability in [0, 1] on the reference grid, zero
            outside bodies; None without a fluid-sensitive series.
        abstentions: What is withheld for the whole study, and why.
        edema_threshold: Probability from which a voxel of the map counts as edematous.
        evidence_map: (slice, row, column) float32 in [-1, 1] on the reference grid: what speaks for
            (+) and against (-) a pathological cause in bodies whose etiology is judged, each body
            to its own scale; None where none is, or the bundle gives none.
    """

    levels: tuple[LevelFindings, ...]
    edema_map: NDArray[np.float32] | None
    abstentions: tuple[Abstention, ...] = ()
    edema_threshold: float = 0.5
    evidence_map: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class StudyVolumes:
    """The volumes chosen from a study, brought together by patient geometry.

    Attributes:
        reference: The volume on whose grid bodies and maps are reported: the fluid-sensitive one
            when there is one.
        by_role: Every chosen volume, the reference included, at most one of a role.
        companions: Further views of the same spine in the same patient coordinates, to count
            levels on and for nothing else: localizers, and other stations.
    """

    reference: Volume
    by_role: Mapping[str, Volume]
    companions: tuple[Volume, ...] = ()
