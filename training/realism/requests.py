"""What the gallery asks the phantom for: its catalogue of diseases, metal, sacrum, and health."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.phantom.disease.catalogue import catalogue, sample_run
from training.phantom.disease.model import Disease
from training.phantom.painting.grid import FineGrid
from training.phantom.painting.tissues import TissueGrid
from training.phantom.patient import grid_around
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene

LEVELS: Final = ("L2", "L3", "L4")
"""Where the diseases of an entry lie, from the first on."""

LEVEL: Final = LEVELS[0]
HEALTHY_ROW: Final = "healthy"
FACET_ASIDE_MM: Final = 16.0

CHANGE_SHAPE: Final = (28, 80, 70)
CHANGE_PITCH_MM: Final = (2.5, 2.5, 2.5)
LEAST_FAT: Final = 10
NEW_TISSUE: Final = 4
"""Grid on which diseases are weighed, the least step of fat percent that counts, and the weight of
another tissue."""

ELSEWHERE: Final = (
    ("modic_1", "cervical", "C5"),
    ("metastasis_lytic", "cervical", "C4"),
    ("fracture_acute_wedge", "thoracic", "T8"),
    ("metastasis_lytic", "lumbosacral", "S1"),
)
"""Entries of the catalogue that are drawn in other parts of the spine too: region and level."""


@dataclass(frozen=True, slots=True)
class NamedRequest:
    """One row of the gallery.

    Attributes:
        name: What it must look like.
        scene: The request for the phantom: a spine with nothing else in it.
        level: That is shown.
        aside_mm: How far left of its middle; None where most of the disease is seen.
    """

    name: str
    scene: SceneRequest
    level: str = LEVEL
    aside_mm: float | None = None


def requests(seed: int = 0, draws: int = 1) -> list[NamedRequest]:
    """A healthy spine, every disease and mimic of the catalogue, and what is of no single body.

    Args:
        seed: Another one, other diseases.
        draws: How often each entry is drawn; the one that changes most of the spine is taken, so
            that the row shows what it is named after.
    """
    rows = [NamedRequest(HEALTHY_ROW, SceneRequest("lumbar", healthy=True, numbering="usual"))]
    for number, name in enumerate(catalogue()):
        drawn = (
            sample_run(name, np.random.default_rng([seed, number, *([turn] if turn else [])]))
            for turn in range(draws)
        )
        wanted = [
            SceneRequest("lumbar", diseases=dict(zip(LEVELS, run, strict=False)), numbering="usual")
            for run in drawn
        ]
        plainest = wanted[0] if draws == 1 else max(wanted, key=lambda one: _changed(one, seed))
        rows.append(NamedRequest(name, plainest, aside_mm=_aside(plainest.diseases[LEVEL])))
    for number, (name, region, level) in enumerate(ELSEWHERE):
        # Both levels of a disc's disease; the second of a pair is the level below.
        run = sample_run(name, np.random.default_rng([seed, 1000 + number]))
        below = f"{level[0]}{int(level[1:]) + 1}"
        diseases = dict(zip((level, below), run, strict=False))
        rows.append(
            NamedRequest(
                f"{name}_{region}",
                SceneRequest(region, diseases=diseases, numbering="usual"),
                level,
            )
        )
    return [
        *rows,
        NamedRequest(
            "pedicle_screws",
            SceneRequest("lumbosacral", healthy=True, numbering="usual", screwed=("L4", "L5")),
            "L4",
        ),
        NamedRequest(
            "sacral_fracture",
            SceneRequest("lumbosacral", healthy=True, numbering="usual", sacral_fracture=True),
            "S1",
        ),
    ]


def _aside(disease: Disease) -> float | None:
    """Facets are looked at beside the middle, though the arch between them is as wet."""
    if "facet_edema" not in disease.mimics:
        return None
    return FACET_ASIDE_MM * (disease.arches[0].side or 1)


def changes(scene: Scene, grid: FineGrid) -> tuple[TissueGrid, NDArray[np.uint8]]:
    """A scene painted on a grid, and how much of each voxel its diseases and metal change.

    Returns:
        The tissue, and (slice, row, column) 0 where nothing changes, 1 where marrow gets wetter or
        fatter, `NEW_TISSUE` where there is another tissue: that is seen on every image.
    """
    sick = paint(scene, grid).finish()
    well = paint(replace(scene, diseases={}, implants=None, sacral_fracture=None), grid).finish()
    altered = sick.free_water != well.free_water
    altered |= np.abs(sick.fat_percent.astype(int) - well.fat_percent) > LEAST_FAT
    changed = altered.astype(np.uint8)
    changed[sick.tissue != well.tissue] = NEW_TISSUE
    return sick, changed


def _changed(request: SceneRequest, seed: int) -> int:
    """What the neighbouring slices that show most of it show of a disease, at the least."""
    scene = sample_scene(seed, request)
    _, changed = changes(scene, grid_around(scene.aim, CHANGE_SHAPE, CHANGE_PITCH_MM))
    shown = changed.sum(axis=(1, 2))
    return int(np.minimum(np.minimum(shown[:-2], shown[1:-1]), shown[2:]).max())
