"""A block spine: boxes of tissue, no two alike, on an oblique fine grid with three spacings."""

from __future__ import annotations

import numpy as np

from models.geometry import Spacing, affine_lps
from models.localiser.classes import Structure
from training.phantom.painting.tissues import LevelTruth, SpineCase, Tissue, TissueGrid

SHAPE = (30, 90, 80)
PITCH = Spacing(1.5, 0.8, 0.9)


def oblique_affine() -> np.ndarray:
    turn, tilt = np.radians(7.0), np.radians(-4.0)
    along_row = np.array([np.sin(turn), np.cos(turn), 0.0])
    left = np.array([np.cos(turn), -np.sin(turn), 0.0])
    down = -np.cos(tilt) * np.array([0.0, 0.0, 1.0]) + np.sin(tilt) * left
    slice_step = np.cross(down, along_row)
    step = slice_step * np.sign(slice_step[0]) * PITCH.slice_mm
    return affine_lps(PITCH, np.stack([along_row, down]), (-20.0, -60.0, 45.0), step)


def block_grid(edema: int = 0, affine: np.ndarray | None = None) -> TissueGrid:
    """Three bodies (the middle one edematous), discs, canal, muscle, fat and air behind."""
    tissue = np.full(SHAPE, Tissue.FAT, dtype=np.uint8)
    fat = np.full(SHAPE, 95, dtype=np.uint8)
    water = np.zeros(SHAPE, dtype=np.uint8)
    structure = np.zeros(SHAPE, dtype=np.uint8)
    body = np.zeros(SHAPE, dtype=np.uint8)

    def fill(where: tuple[slice, ...], kind: Tissue, percent: int, label: Structure) -> None:
        tissue[where], fat[where], structure[where] = kind, percent, label

    bone = (slice(4, 26), slice(None), slice(20, 46))
    for number, top in enumerate((2, 32, 62), start=1):
        where = (bone[0], slice(top, top + 24), bone[2])
        fill(where, Tissue.MARROW, 45, Structure.BODY)
        body[where] = number
        if number == 2:
            water[where] = edema
        disc = (bone[0], slice(top + 24, min(top + 30, SHAPE[1])), bone[2])
        fill(disc, Tissue.NUCLEUS, 0, Structure.DISC)
        water[disc] = 150
    fill((slice(8, 22), slice(None), slice(46, 56)), Tissue.CSF, 0, Structure.CANAL)
    fill((slice(None), slice(None), slice(56, 68)), Tissue.MUSCLE, 5, Structure.BACKGROUND)
    fill((slice(None), slice(None), slice(75, 80)), Tissue.AIR, 0, Structure.BACKGROUND)
    where = oblique_affine() if affine is None else affine
    return TissueGrid(tissue, fat, water, structure, body, where)


def block_case(seed: int = 5) -> SpineCase:
    grid = block_grid(edema=200)
    levels = tuple(
        LevelTruth(
            index=number,
            level=name,
            visible="complete",
            centroid_lps_mm=np.zeros(3),
            axes_lps=np.eye(3),
            heights_mm=(19.0, 19.0, 19.0),
            intact_heights_mm=(24.0, 24.0, 24.0),
            depth_mm=23.0,
            width_mm=33.0,
            fracture="crush" if number == 2 else "none",
            stage="acute" if number == 2 else "none",
            edema_fraction=1.0 if number == 2 else 0.0,
            etiology="benign" if number == 2 else "none",
        )
        for number, name in ((1, "L3"), (2, "L4"), (3, "L5"))
    )
    return SpineCase(grid, levels, seed, "female", 71.0, "usual")
