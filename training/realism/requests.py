"""What the gallery asks the phantom for: all of its catalogue of diseases, and a healthy spine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.phantom.disease.catalogue import catalogue, sample_run
from training.phantom.disease.model import Disease
from training.phantom.scene import SceneRequest

LEVELS: Final = ("L2", "L3", "L4")
"""Where the diseases of an entry lie, from the first on."""

LEVEL: Final = LEVELS[0]
HEALTHY_ROW: Final = "healthy"


@dataclass(frozen=True, slots=True)
class NamedRequest:
    """One row of the gallery.

    Attributes:
        name: What it must look like: an entry of the catalogue, or "healthy".
        diseases: By level.
    """

    name: str
    diseases: Mapping[str, Disease]

    def scene(self) -> SceneRequest:
        """The request for the phantom: a lumbar spine with nothing else in it."""
        return SceneRequest(
            region="lumbar", diseases=self.diseases, healthy=not self.diseases, numbering="usual"
        )


def requests(seed: int = 0) -> list[NamedRequest]:
    """A healthy spine and every disease and mimic of the catalogue, one request each."""
    rows = [NamedRequest(HEALTHY_ROW, {})]
    for number, name in enumerate(catalogue()):
        run = sample_run(name, np.random.default_rng([seed, number]))
        rows.append(NamedRequest(name, dict(zip(LEVELS, run, strict=False))))
    return rows
