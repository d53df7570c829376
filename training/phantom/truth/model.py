"""Values of the truth beyond a level's diagnosis: its geometry, discs, variants and metal.

Names, units and signs of geometry are those of the report (`models.morphometry.result`). Values
are of the continuous shapes: no voxel size enters them, so they have no uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.morphometry.result import WallReference


@dataclass(frozen=True, slots=True)
class PosteriorWallTruth:
    """The posterior wall in the mid-sagittal plane, a retropulsed fragment included.

    The report averages over a slab of 9 mm, this is its middle plane.

    Attributes:
        points_lps_mm: (n, 3) of the wall, caudal to cranial.
        convexity_mm: Largest distance of the wall from the chord between its own corners; positive
            when it bulges into the canal.
        retropulsion_mm: How far the wall stands behind the line of `reference`; negative when it
            stays in front.
        reference: What it is held against.
        fragment_mm: How far a fragment was pushed out of the wall; 0 where none was drawn.
    """

    points_lps_mm: NDArray[np.float64]
    convexity_mm: float
    retropulsion_mm: float
    reference: WallReference
    fragment_mm: float = 0.0


@dataclass(frozen=True, slots=True)
class CanalTruth:
    """AP diameter of the canal in its middle, at right angles to its own course, mm.

    From bone, disc or fragment to the back of the canal: epidural fat and veins are inside. Soft
    tumour in the canal does not narrow it, as it does not in label maps.

    Attributes:
        ap_body_mm: Median behind the middle half of the body.
        ap_disc_above_mm: At the disc above; None without a body above.
        ap_disc_below_mm: At the disc below.
        ap_minimum_mm: Smallest from disc to disc.
        minimum_line_lps_mm: (2, 3) ends of that diameter, anterior first.
        compromise_percent: Smallest diameter behind the body against the mean of the neighbours'
            smallest ones; 0 when not smaller. The neighbours of the whole spine, in view or not.
    """

    ap_body_mm: float
    ap_disc_above_mm: float | None
    ap_disc_below_mm: float | None
    ap_minimum_mm: float
    minimum_line_lps_mm: NDArray[np.float64]
    compromise_percent: float | None


@dataclass(frozen=True, slots=True)
class PedicleTruth:
    """A pedicle where it is bone all along from 2.5 to 7 mm behind the posterior wall.

    Attributes:
        height_mm: Largest cranio-caudal height there, along the body's axis.
        width_mm: Left-right there: the least width across its own axis is smaller, the more
            the pedicle leans.
        centre_lps_mm: (3,) of that part.
    """

    height_mm: float
    width_mm: float
    centre_lps_mm: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AnglesTruth:
    """Sagittal angles in degrees, positive in kyphosis.

    Attributes:
        wedge_deg: Between the body's own endplates, each through its front and its back rim.
        kyphosis_deg: From the superior endplate of the body above to the inferior endplate of the
            body below, in the body's own sagittal plane; None where one is missing.
    """

    wedge_deg: float
    kyphosis_deg: float | None


@dataclass(frozen=True, slots=True)
class GeometryTruth:
    """What the report's `geometry` measures of a level.

    Attributes:
        pedicle_left, pedicle_right: By side of the patient.
    """

    posterior_wall: PosteriorWallTruth
    canal: CanalTruth
    pedicle_left: PedicleTruth | None
    pedicle_right: PedicleTruth | None
    angles: AnglesTruth


@dataclass(frozen=True, slots=True)
class DiscTruth:
    """A disc as drawn.

    Attributes:
        above, below: Names of the levels that it lies between.
        hydration: Of the nucleus, 0 (Pfirrmann V) to 1 (I).
        pfirrmann_grade: 1 to 5, by the hydration alone (`anatomy.disc.GRADE_LIMITS`): height and
            the border of the nucleus follow it loosely.
        height_factor: Height against the level's norm.
        bulge_mm: Of the whole rim beyond the bodies.
        hernia_mm: Length of a protrusion or extrusion beyond the rim; 0 without one.
        gas: Whether it holds a vacuum cleft.
        pus: Part of it turned to pus, 0..1.
        high_intensity_zone: Whether there is one in the posterior annulus.
    """

    above: str
    below: str
    hydration: float
    pfirrmann_grade: int
    height_factor: float
    bulge_mm: float
    hernia_mm: float
    gas: bool
    pus: float
    high_intensity_zone: bool


@dataclass(frozen=True, slots=True)
class SlipTruth:
    """A level that slips on the one below, mm."""

    level: str
    forward_mm: float
    left_mm: float


@dataclass(frozen=True, slots=True)
class ImplantsTruth:
    """Pedicle screws on both sides of these levels, and the rods between their heads."""

    levels: tuple[str, ...]
    screw_diameter_mm: float
    rod_diameter_mm: float


@dataclass(frozen=True, slots=True)
class SacralFractureTruth:
    """An insufficiency fracture of the sacrum.

    Attributes:
        left, right: Whether that ala is edematous; `bar` the bar through S2 between them.
        bar: See above.
        line: Whether a dark line is drawn in the edema of the alae.
    """

    left: bool
    right: bool
    bar: bool
    line: bool


@dataclass(frozen=True, slots=True)
class SpineTruth:
    """What is true of a whole spine, in view or not.

    Attributes:
        castellvi: Type of the lumbosacral transition (Castellvi 1984): "none", "Ia" … "IV".
        castellvi_side: "none", "left", "right" or "both"; of type IV the fused side.
        cobb_deg: Largest angle between the lateral tilts of two bodies from T1 down, in the
            patient's coronal plane.
        slips: Cranial to caudal.
        conus_level: Level behind which the cord begins to taper.
        conus_tip_level: Level of the body, with the disc below it, behind which the cord ends.
        discs: Between all presacral levels and S1, cranial to caudal.
        implants: None in most.
        sacral_fracture: None in most.
    """

    castellvi: str
    castellvi_side: str
    cobb_deg: float
    slips: tuple[SlipTruth, ...]
    conus_level: str
    conus_tip_level: str
    discs: tuple[DiscTruth, ...]
    implants: ImplantsTruth | None
    sacral_fracture: SacralFractureTruth | None
