"""A synthetic patient painted on one grid, with the truth of every level as it lies there.

case = sample_case(seed, SceneRequest(region="lumbar"))          # on a grid of its own
case = paint_case(sample_scene(seed), fine_grid(affine, shape, thickness_mm))  # on any slices
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.errors import GeometryError
from training.phantom.anatomy.spine import BodyShape
from training.phantom.disease.model import Disease
from training.phantom.painting.grid import FineGrid
from training.phantom.painting.kernels import jit
from training.phantom.painting.tissues import (
    EDEMA_FREE_WATER,
    LevelTruth,
    SpineCase,
    Tissue,
    TissueGrid,
)
from training.phantom.scene import Aim, Scene, SceneRequest, paint, sample_scene
from training.phantom.truth.geometry import geometries
from training.phantom.truth.outline import volume_ml
from training.phantom.truth.spine import spine_truth

FIELD_MM: Final = (280.0, 220.0)
SLICE_MM: Final = 1.4
IN_PLANE_MM: Final = 0.8
SLICES: Final = 48

_MARROW, _LYTIC = int(Tissue.MARROW), int(Tissue.METASTASIS_LYTIC)


def sample_case(
    seed: int,
    request: SceneRequest | None = None,
    *,
    field_mm: tuple[float, float] = FIELD_MM,
    slices: int = SLICES,
    in_plane_mm: float = IN_PLANE_MM,
) -> SpineCase:
    """Draw a patient and paint it on a fine grid around its region.

    Args:
        seed: The same seed and request give the same case, bit for bit.
        request: What is fixed in advance.
        field_mm: (rows, columns) extent of the grid.
        slices: Fine slices, `SLICE_MM` apart.
        in_plane_mm: Pitch of fine rows and columns.
    """
    scene = sample_scene(seed, request)
    shape = (slices, int(field_mm[0] / in_plane_mm), int(field_mm[1] / in_plane_mm))
    return paint_case(scene, grid_around(scene.aim, shape, (SLICE_MM, in_plane_mm, in_plane_mm)))


def grid_around(
    aim: Aim, shape: tuple[int, int, int], pitch_mm: tuple[float, float, float]
) -> FineGrid:
    """A grid of a shape and pitch whose middle and axes are those of an aim.

    Raises:
        GeometryError: A count or a pitch is not positive.
    """
    if min(shape) < 1 or not np.all(np.isfinite(pitch_mm)) or min(pitch_mm) <= 0:
        raise GeometryError("a grid has no voxels, or voxels without size")
    affine = np.eye(4)
    affine[:3, 0] = aim.axes[0] * pitch_mm[0]
    affine[:3, 1] = -aim.axes[2] * pitch_mm[1]
    affine[:3, 2] = aim.axes[1] * pitch_mm[2]
    affine[:3, 3] = aim.middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return FineGrid(shape, affine)


def paint_case(scene: Scene, grid: FineGrid) -> SpineCase:
    """Paint a patient on a grid and read off what is visible there of every level.

    Raises:
        GeometryError: No vertebra reaches the grid.
    """
    tissue = paint(scene, grid).finish()
    levels = level_truths(scene, tissue)
    if all(level.visible == "outside" for level in levels):
        raise GeometryError("the field of view holds no vertebra")
    subject = scene.spine.subject
    return SpineCase(
        grid=tissue,
        levels=levels,
        seed=scene.seed,
        sex=subject.sex,
        age_years=subject.age_years,
        numbering=subject.numbering,
        spine=spine_truth(scene),
    )


def level_truths(scene: Scene, tissue: TissueGrid) -> tuple[LevelTruth, ...]:
    """The truth of every presacral level and S1, cranial to caudal.

    Args:
        scene: The patient.
        tissue: It painted somewhere: visibility and the edematous fraction are counted on it.
    """
    counts, wet, edge = _counts(tissue.body, tissue.tissue, tissue.free_water, EDEMA_FREE_WATER)
    seen = [level for level, index in scene.numbers.items() if counts[index] > 0]
    measured = geometries(scene, [level for level in seen if level != "S1"])
    truths = []
    for level, index in scene.numbers.items():
        bone = scene.spine.bone(level)
        disease = scene.disease(level)
        after, before = _heights(bone.shape), _heights(bone.intact)
        visible = "outside" if counts[index] == 0 else "complete"
        if visible == "complete" and edge[index]:
            visible = "partial"
        loss = max(100 * (1 - a / b) for a, b in zip(after, before, strict=True))
        truths.append(
            LevelTruth(
                index=index,
                level=level,
                visible=visible,
                centroid_lps_mm=bone.centre,
                axes_lps=bone.axes,
                heights_mm=after,
                intact_heights_mm=before,
                depth_mm=2 * bone.shape.half_depth,
                width_mm=2 * bone.shape.half_width,
                fracture=disease.fracture,
                stage=disease.stage,
                height_loss_percent=max(0.0, loss),
                edema_fraction=float(wet[index] / max(1, counts[index])),
                etiology=disease.etiology,
                signs=dict.fromkeys(sorted(disease.signs), True),
                mimics=disease.public_mimics,
                endplate=disease.endplate if disease.fractured else "none",
                edema_pattern="none" if disease.edema is None else disease.edema.pattern,
                lesion="none" if disease.lesion is None else disease.lesion.kind,
                lesion_extent=0.0 if disease.lesion is None else disease.lesion.extent,
                schmorl_node=_schmorl_node(disease),
                volume_ml=volume_ml(bone.shape, disease.fragments) if level in seen else None,
                geometry=measured.get(level),
            )
        )
    return tuple(truths)


def _schmorl_node(disease: Disease) -> str:
    if "schmorl_node_acute" in disease.mimics:
        return "acute"
    return "old" if "schmorl_node" in disease.mimics else "none"


def _heights(shape: BodyShape) -> tuple[float, float, float]:
    return shape.height_anterior, shape.height_middle, shape.height_posterior


@jit
def _counts(
    body: NDArray[np.uint8], tissue: NDArray[np.uint8], water: NDArray[np.uint8], least: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Per body index: its voxels, its edematous voxels, and whether it touches the grid's edge."""
    counts, wet = np.zeros(256, np.int64), np.zeros(256, np.int64)
    edge = np.zeros(256, np.bool_)
    slices, rows, columns = body.shape
    for k in range(slices):
        for i in range(rows):
            outer = k in (0, slices - 1) or i in (0, rows - 1)
            for j in range(columns):
                index = body[k, i, j]
                if index == 0:
                    continue
                counts[index] += 1
                if outer or j in (0, columns - 1):
                    edge[index] = True
                kind = tissue[k, i, j]
                if water[k, i, j] >= least and kind in (_MARROW, _LYTIC):
                    wet[index] += 1
    return counts, wet, edge
