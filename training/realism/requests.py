"""What the gallery asks the phantom for: its catalogue of diseases, metal, sacrum, and health."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from training.phantom.disease.catalogue import catalogue, sample_run
from training.phantom.scene import SceneRequest

LEVELS: Final = ("L2", "L3", "L4")
"""Where the diseases of an entry lie, from the first on."""

LEVEL: Final = LEVELS[0]
HEALTHY_ROW: Final = "healthy"

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
    """

    name: str
    scene: SceneRequest
    level: str = LEVEL


def requests(seed: int = 0) -> list[NamedRequest]:
    """A healthy spine, every disease and mimic of the catalogue, and what is of no single body."""
    rows = [NamedRequest(HEALTHY_ROW, SceneRequest("lumbar", healthy=True, numbering="usual"))]
    for number, name in enumerate(catalogue()):
        run = sample_run(name, np.random.default_rng([seed, number]))
        diseases = dict(zip(LEVELS, run, strict=False))
        rows.append(
            NamedRequest(name, SceneRequest("lumbar", diseases=diseases, numbering="usual"))
        )
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
