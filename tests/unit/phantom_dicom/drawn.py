"""A tiny spine of boxes: twelve slices of 48 x 48, bodies where their truth says they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.geometry import to_lps
from models.localiser.classes import Structure
from models.volume import Role
from training.phantom.dicom.recipe import StudyRecipe
from training.phantom.painting.tissues import LevelTruth, SpineCase, Tissue, TissueGrid
from training.phantom.scanner.placement import StackTarget
from training.phantom.scanner.sampling import SliceGeometry

SLICE_MM, PIXEL_MM = 4.0, 5.0
FINE = (2.0, 2.5, 2.5)
SHAPE = (26, 100, 100)
TRIPLE = (Role.STIR, Role.T1, Role.T2)
BODY_MM = np.array([38.0, 35.0, 30.0])  # width, depth, height


def oblique_affine() -> np.ndarray:
    """Sagittal order with three pitches, tilted out of all patient planes."""
    turn, tilt = np.radians(6.0), np.radians(-4.0)
    back = np.array([np.sin(turn), np.cos(turn), 0.0])
    left = np.array([np.cos(turn), -np.sin(turn), 0.0])
    down = -np.cos(tilt) * np.array([0.0, 0.0, 1.0]) + np.sin(tilt) * left
    axes = np.stack([np.cross(back, -down), down, back], axis=1)
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(FINE)
    affine[:3, 3] = (-31.7, -148.3, 121.9)
    return affine


def drawn_grid(affine: np.ndarray | None = None, shape: tuple[int, int, int] = SHAPE) -> TissueGrid:
    """Bodies, discs, canal, muscle, fat under the skin and air behind the back."""
    tissue = np.full(shape, Tissue.MUSCLE, dtype=np.uint8)
    fat = np.full(shape, 5, dtype=np.uint8)
    water, structure, body = (np.zeros(shape, dtype=np.uint8) for _ in range(3))

    def fill(where: tuple[slice, ...], kind: Tissue, percent: int, label: Structure) -> None:
        tissue[where], fat[where], structure[where] = kind, percent, label

    across = slice(4, 23)
    for number, top in enumerate((10, 26, 42, 58, 74), start=1):
        where = (across, slice(top, top + 12), slice(36, 50))
        fill(where, Tissue.MARROW, 45, Structure.BODY)
        body[where] = number
        fill((across, slice(top + 12, top + 16), slice(36, 50)), Tissue.NUCLEUS, 0, Structure.DISC)
    water[across, 26:38, 36:50] = 200
    fill((across, slice(62, 66), slice(40, 46)), Tissue.METASTASIS_LYTIC, 0, Structure.BODY)
    fill((across, slice(48, 50), slice(38, 48)), Tissue.CEMENT, 0, Structure.BODY)
    fill((slice(9, 18), slice(None), slice(50, 57)), Tissue.CSF, 0, Structure.CANAL)
    fill((slice(None), slice(None), slice(84, 92)), Tissue.FAT, 95, Structure.BACKGROUND)
    fill((slice(None), slice(None), slice(92, None)), Tissue.AIR, 0, Structure.BACKGROUND)
    return TissueGrid(
        tissue, fat, water, structure, body, oblique_affine() if affine is None else affine
    )


def drawn_case(seed: int = 5) -> SpineCase:
    """The boxes as a patient with an unhealed fracture of L2 and a cemented L3."""
    grid = drawn_grid()
    axes = np.stack([grid.affine[:3, 0], grid.affine[:3, 2], -grid.affine[:3, 1]])
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    levels = tuple(
        LevelTruth(
            index=number,
            level=name,
            visible="complete",
            centroid_lps_mm=to_lps(grid.affine, np.array([13.0, 15.5 + 16 * (number - 1), 42.5])),
            axes_lps=axes,
            heights_mm=(30.0, 30.0, 30.0),
            intact_heights_mm=(30.0, 30.0, 30.0),
            depth_mm=35.0,
            width_mm=38.0,
            fracture="crush" if name == "L2" else "none",
            stage={"L2": "acute", "L3": "cemented"}.get(name, "none"),
            edema_fraction=1.0 if name == "L2" else 0.0,
            etiology={"L2": "benign", "L4": "pathological"}.get(name, "none"),
            signs={"G1": name == "L2"},
        )
        for number, name in enumerate(("L1", "L2", "L3", "L4", "L5"), start=1)
    )
    return SpineCase(grid, levels, seed, "female", 71.0, "usual")


def tiny(**changes: object) -> StudyRecipe:
    """A recipe of 12 slices of 48 x 48."""
    settings: dict[str, object] = {
        "roles": TRIPLE,
        "pixel_mm": PIXEL_MM,
        "thickness_mm": SLICE_MM,
        "slices": 12,
        "fov_mm": (240.0, 240.0),
        **changes,
    }
    return StudyRecipe(**settings)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class AnyPlane:
    """The boxes painted under any slices, on a fine grid that follows them."""

    grid: TissueGrid
    any_plane: bool = True

    @property
    def target(self) -> StackTarget:
        return StackTarget.of_grid(self.grid)

    def tissue_for(self, slices: SliceGeometry) -> TissueGrid:
        shape = (slices.shape[0] * 2, slices.shape[1] * 2, slices.shape[2] * 2)
        affine = slices.affine.copy()
        affine[:3, :3] /= 2
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, 0.5)
        steps = np.linalg.inv(self.grid.affine) @ affine
        along = np.ogrid[tuple(slice(size) for size in shape)]
        near = [
            np.rint(steps[k, 3] + sum(steps[k, m] * along[m] for m in range(3))).astype(np.int32)
            for k in range(3)
        ]
        sizes = self.grid.tissue.shape
        inside = np.all(
            [(n >= 0) & (n < size) for n, size in zip(near, sizes, strict=True)], axis=0
        )
        at = tuple(np.clip(n, 0, size - 1) for n, size in zip(near, sizes, strict=True))
        maps = (getattr(self.grid, name)[at] * inside for name in
                ("tissue", "fat_percent", "free_water", "structure", "body"))  # fmt: skip
        return TissueGrid(*maps, affine)
