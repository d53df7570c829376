"""What the synthetic spine is made of, voxel by voxel, before any MR physics.

Anatomy and disease write a `TissueGrid`; physics reads it. The grid is finer than any MR voxel, so
that partial volume comes from averaging as it does in the scanner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from models.geometry import Affine
from training.phantom.truth.model import GeometryTruth, SpineTruth

EDEMA_FREE_WATER = 40
"""Marrow with at least this much free water counts as edema in every truth."""


class Tissue(IntEnum):
    """Tissue of a fine voxel. Water and fat are mixed by `TissueGrid.fat_percent`."""

    AIR = 0
    FAT = 1  # subcutaneous, epidural, retroperitoneal
    MARROW = 2  # of any bone; fat_percent and free_water say its state
    CORTEX = 3  # cortical bone, ligament, dura: nearly void
    NUCLEUS = 4  # free_water 0..255 runs from Pfirrmann V to I
    ANNULUS = 5
    CSF = 6
    CORD = 7
    NERVE = 8  # cauda equina roots
    MUSCLE = 9  # fat_percent carries fatty streaks
    FLOWING_BLOOD = 10  # aorta, cava: flow void on spin echo, bright on gradient echo
    SLOW_BLOOD = 11  # basivertebral and epidural veins
    SOFT_ORGAN = 12  # bowel wall, uterus, pancreas
    LIVER = 13
    KIDNEY = 14
    LUNG = 15
    GAS = 16
    FLUID = 17  # cleft fluid, bladder, cyst
    CEMENT = 18
    SCLEROSIS = 19  # Modic 3, bone island, healed condensation
    METASTASIS_LYTIC = 20
    METASTASIS_BLASTIC = 21
    SOFT_MASS = 22  # epidural and paraspinal tumour
    HAEMANGIOMA = 23
    PUS = 24  # infected disc, abscess
    CARTILAGE = 25  # cartilaginous endplate, facet cartilage
    SKIN = 26
    METAL = 27  # screw, rod, cage: void, and bends the field around it
    LIGAMENT = 28  # dark on every sequence, less so than cortex
    VISCUS = 29  # content of bowel, uterine muscle: soft and wet


class Mark(IntEnum):
    """What a fine voxel belongs to where its tissue does not say so; without effect on signal."""

    NONE = 0
    FATTY = 1  # marrow turned to fat in one place: Modic 2, fatty corner, beside an old node
    NODE = 2  # disc pressed into a body: Schmorl node
    EROSION = 3  # of an endplate
    LIMBUS = 4  # disc that cuts a corner off


@dataclass(frozen=True, slots=True)
class TissueGrid:
    """Tissue maps on a fine grid in sagittal order (slices to the left, rows down, columns back).

    Attributes:
        tissue: (slice, row, column) uint8 `Tissue` values.
        fat_percent: uint8 0..100: fat signal fraction of the voxel (0 outside marrow, muscle, fat
            and other fatty tissue).
        free_water: uint8 0..255. In MARROW: edema, 0 none to 255 as bright as edema gets; in
            NUCLEUS: hydration. In METASTASIS_LYTIC it only marks edema-like signal for the
            truth: that tissue's signal does not depend on it. Elsewhere 0.
        structure: uint8 `models.localiser.classes.Structure` truth.
        body: uint8; 0 or the index (1, 2, … cranial to caudal, S1 last) of the vertebral body.
        affine: Index to LPS mm.
        mark: uint8 `Mark` values; None where nothing is marked.
    """

    tissue: NDArray[np.uint8]
    fat_percent: NDArray[np.uint8]
    free_water: NDArray[np.uint8]
    structure: NDArray[np.uint8]
    body: NDArray[np.uint8]
    affine: Affine
    mark: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class LevelTruth:
    """What is true of one vertebra of a synthetic spine.

    Attributes:
        index: Value of the body in `TissueGrid.body`.
        level: Its true name.
        visible: "complete", "partial" or "outside" the field of view of the grid.
        centroid_lps_mm: (3,) of the body as drawn.
        axes_lps: (3, 3) rows: to the left, to the back, to the head, of the body's own frame.
        heights_mm: (anterior, middle, posterior) as drawn, after any fracture.
        intact_heights_mm: The same before the fracture.
        depth_mm, width_mm: Of the body at mid height.
        fracture: Shape: "none", "wedge", "biconcave", "crush" (an OF1 fracture has "none").
        stage: "none", "acute", "subacute", "unhealed_cleft", "healed", "refractured", "cemented".
        height_loss_percent: Largest loss of the three heights against intact.
        edema_fraction: Part of the body's volume with marrow edema (free_water of at least
            EDEMA_FREE_WATER).
        etiology: "none", "benign" or "pathological".
        signs: Sign code (B1..B12, G1..G8) to whether it was drawn.
        mimics: Names of mimics drawn at this level: "modic_1", "modic_2", "modic_3",
            "schmorl_node", "haemangioma", "haemangioma_atypical", "discitis", "red_marrow",
            "bone_island".
        endplate: Which endplate a fracture has broken: "none", "superior", "inferior", "both".
        edema_pattern: Of a fracture's edema: "none", "band", "patchy", "diffuse".
        lesion: Infiltration: "none", "lytic", "blastic", "mixed", "diffuse".
        lesion_extent: Part of the marrow that infiltration was asked to replace, 0..1.
        schmorl_node: "none", "old" with a dense rim, "acute" with a halo of edema.
        volume_ml: Of the body as label maps show it, with fragments and without holes, mL; None
            outside the field of view of the grid.
        geometry: What planning measures; None for S1, outside the field of view of the grid, and
            where a body is crushed so flat that its endplates meet.
    """

    index: int
    level: str
    visible: str
    centroid_lps_mm: NDArray[np.float64]
    axes_lps: NDArray[np.float64]
    heights_mm: tuple[float, float, float]
    intact_heights_mm: tuple[float, float, float]
    depth_mm: float
    width_mm: float
    fracture: str = "none"
    stage: str = "none"
    height_loss_percent: float = 0.0
    edema_fraction: float = 0.0
    etiology: str = "none"
    signs: Mapping[str, bool] = field(default_factory=dict)
    mimics: tuple[str, ...] = ()
    endplate: str = "none"
    edema_pattern: str = "none"
    lesion: str = "none"
    lesion_extent: float = 0.0
    schmorl_node: str = "none"
    volume_ml: float | None = None
    geometry: GeometryTruth | None = None

    @property
    def has_fracture(self) -> bool:
        """Whether a fracture is drawn, deformed (any shape) or not (OF1)."""
        return self.stage not in ("none", "cemented") or self.fracture != "none"

    @property
    def unhealed(self) -> bool:
        """Whether the fracture has marrow edema."""
        return self.stage in ("acute", "subacute", "unhealed_cleft", "refractured")


@dataclass(frozen=True, slots=True)
class SpineCase:
    """One synthetic patient: tissue, truth and what it was sampled from."""

    grid: TissueGrid
    levels: tuple[LevelTruth, ...]
    seed: int
    sex: str
    age_years: float
    numbering: str  # "usual", "T11", "T13", "L4", "L6", "lumbarised", "sacralised"
    spine: SpineTruth | None = None
