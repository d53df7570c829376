"""What is measured of a level for planning. Frozen values; every one may be missing, with a reason.

Points are patient LPS mm. An uncertainty is half the width of the interval that holds about 95 %
of the errors made by the voxel size alone; errors of the outline itself come on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]
"""(3,) LPS mm, or a unit vector in LPS."""


class Missing(StrEnum):
    """Why a value is not given."""

    PARTIAL_BODY = "partial_body"
    OUTSIDE_FIELD_OF_VIEW = "outside_field_of_view"
    INSUFFICIENT_RESOLUTION = "insufficient_resolution"
    NEIGHBOUR_MISSING = "neighbour_missing"
    NOT_FOUND = "not_found"
    OUTLINE_UNCLEAR = "outline_unclear"
    BODY_TOO_SHALLOW = "body_too_shallow"


class WallReference(StrEnum):
    """What line the posterior wall is held against."""

    NEIGHBOURS = "neighbours"
    OWN_ENDPLATES = "own_endplates"


INTEGRITY: Final = "not_assessable_on_mri"
"""Whether the cortex of the wall is whole cannot be seen on MRI alone: CT is needed."""

CUT_SIDEWAYS: Final = "cut_sideways"
"""Limit of a target: the body goes on beyond the slices, so the canal alone gives its middle."""

NARROW_AT_TARGET: Final = "narrow_at_target"
"""Limit of a target: an endplate is nearer than `models.morphometry.target.ROOM_MM`."""


@dataclass(frozen=True, slots=True)
class PosteriorWall:
    """The posterior wall in the mid-sagittal slab.

    Attributes:
        points_lps_mm: (n, 3) of the wall, caudal to cranial.
        convexity_mm: Largest distance of the wall from the chord between its own corners; positive
            when it bulges into the canal.
        retropulsion_mm: How far the wall stands behind the line of `reference`; negative when it
            stays in front. Slipped neighbours move that line.
        reference: The facing posterior corners of both neighbours, or its own corners.
        uncertainty_mm: Of both distances.
        integrity: Never assessed here.
    """

    points_lps_mm: NDArray[np.float64]
    convexity_mm: float
    retropulsion_mm: float
    reference: WallReference
    uncertainty_mm: float
    integrity: Literal["not_assessable_on_mri"] = INTEGRITY


@dataclass(frozen=True, slots=True)
class Canal:
    """Mid-sagittal AP diameter of the canal, at right angles to its own course, mm.

    Attributes:
        ap_body_mm: Median behind the middle half of the body.
        ap_disc_above_mm: At the disc above; None where there is no neighbour.
        ap_disc_below_mm: At the disc below; None where there is no neighbour.
        ap_minimum_mm: Smallest from disc to disc.
        minimum_line_lps_mm: (2, 3) ends of that diameter, anterior first.
        compromise_percent: Smallest diameter behind the body against the mean of the neighbours'
            smallest ones; 0 when not smaller. None without a neighbour.
        uncertainty_mm: Of each diameter.
        compromise_uncertainty_percent: Of the compromise, percent points.
    """

    ap_body_mm: float
    ap_disc_above_mm: float | None
    ap_disc_below_mm: float | None
    ap_minimum_mm: float
    minimum_line_lps_mm: NDArray[np.float64]
    compromise_percent: float | None
    uncertainty_mm: float
    compromise_uncertainty_percent: float | None


@dataclass(frozen=True, slots=True)
class Pedicle:
    """A pedicle seen in at least one sagittal slice.

    Attributes:
        slices: How many slices go through it.
        height_mm: Largest cranio-caudal height just behind the body.
        height_uncertainty_mm: Of the height.
        width_mm: Left-right; None where slices are further apart than
            `models.morphometry.pedicles.WIDTH_PITCH_MM`.
        width_uncertainty_mm: Of the width.
        centre_lps_mm: (3,) of its narrow part.
    """

    slices: int
    height_mm: float
    height_uncertainty_mm: float
    width_mm: float | None
    width_uncertainty_mm: float | None
    centre_lps_mm: Point


@dataclass(frozen=True, slots=True)
class BodyVolume:
    """Volume of the body and the parts of it that cement studies name, mL.

    Source: 16 % restored strength (Molloy 2003), 24 % was an optimum (Nieuwenhuijse 2012); pain
    relief did not follow volume. The operator decides.
    """

    body_ml: float
    uncertainty_ml: float

    @property
    def fifteen_percent_ml(self) -> float:
        """15 % of the body."""
        return 0.15 * self.body_ml

    @property
    def twenty_four_percent_ml(self) -> float:
        """24 % of the body."""
        return 0.24 * self.body_ml


@dataclass(frozen=True, slots=True)
class Heights:
    """Anterior, middle and posterior height as the localiser measured them, mm."""

    anterior_mm: float
    middle_mm: float
    posterior_mm: float
    uncertainty_mm: float


@dataclass(frozen=True, slots=True)
class Angles:
    """Sagittal angles in degrees, positive in kyphosis.

    Attributes:
        wedge_deg: Between the body's own endplates.
        kyphosis_deg: From the superior endplate of the body above to the inferior endplate of the
            body below; None where one is missing. Lying, not standing.
        uncertainty_deg: Of either.
    """

    wedge_deg: float
    kyphosis_deg: float | None
    uncertainty_deg: float


@dataclass(frozen=True, slots=True)
class Approach:
    """A straight line through a pedicle to the target, for drawing only.

    Attributes:
        through_lps_mm: (3,) centre of the pedicle.
        direction_lps: (3,) unit vector from there to the target.
        medial_deg: Angle to the mid-sagittal plane, positive towards the middle.
        caudal_deg: Angle to the body's own transverse plane, positive towards the feet.
        length_mm: From the pedicle's centre to the target.
    """

    through_lps_mm: Point
    direction_lps: Point
    medial_deg: float
    caudal_deg: float
    length_mm: float


@dataclass(frozen=True, slots=True)
class Target:
    """A needle target on the mid-sagittal centre line, in the anterior third. Diagrammatic.

    Attributes:
        point_lps_mm: (3,).
        depth_fraction: Its place from the anterior cortex (0) to the posterior wall (1).
        to_anterior_cortex_mm, to_posterior_wall_mm: Along the body's AP axis.
        to_superior_endplate_mm, to_inferior_endplate_mm: Along the body's own upright axis.
        to_basivertebral_vein_mm: To the line from the middle of the posterior wall to the centre
            of the body, along which the vein is taken to run.
        uncertainty_lps_mm: (3,) along the patient's axes.
        left, right: Approach on that side of the patient; None where no pedicle was found.
        limited_by: Codes, see `NARROW_AT_TARGET` and `CUT_SIDEWAYS`.
        diagrammatic: Always; never a safe trajectory.
    """

    point_lps_mm: Point
    depth_fraction: float
    to_anterior_cortex_mm: float
    to_posterior_wall_mm: float
    to_superior_endplate_mm: float
    to_inferior_endplate_mm: float
    to_basivertebral_vein_mm: float
    uncertainty_lps_mm: Point
    left: Approach | None = None
    right: Approach | None = None
    limited_by: tuple[str, ...] = ()
    diagrammatic: Literal[True] = True


@dataclass(frozen=True, slots=True)
class LevelGeometry:
    """Everything measured of one level for planning.

    Attributes:
        pedicle_left, pedicle_right: By side of the patient.
        adjacent_fractures: `Vertebra.index` of direct neighbours that are called fractured.
        reasons: Field name, or "field.part", to why it is missing.
    """

    posterior_wall: PosteriorWall | None = None
    canal: Canal | None = None
    pedicle_left: Pedicle | None = None
    pedicle_right: Pedicle | None = None
    volume: BodyVolume | None = None
    heights: Heights | None = None
    angles: Angles | None = None
    target: Target | None = None
    adjacent_fractures: tuple[int, ...] = ()
    reasons: Mapping[str, Missing] = field(default_factory=dict)
