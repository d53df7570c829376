"""How fast the synthetic spine is drawn: training volumes as a loader draws them, and a study.

Processor time of one process is counted, so that other work on the machine matters less. Volumes
differ in size and cost; each is scaled to the voxels of the size that is reported.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import numpy as np

from models.volume import Role

if TYPE_CHECKING:
    from training.phantom.recipe import PhantomRecipe

VOLUME = (16, 256, 256)
PITCH_MM = (4.0, 1.0, 1.0)
VOLUMES_ASKED = 3.0
"""Training volumes a second on one core."""

STUDY_ASKED_S = 4.0
STUDY_NUMBER = 11
WARM_UP = 3
"""Volumes drawn first: they load the compiled painters."""


@dataclass(frozen=True, slots=True)
class PhantomTime:
    """Processor seconds on one core.

    Attributes:
        volume_s: Mean of one training volume with its labels, patient drawn anew.
        slowest_s: The slowest of them.
        volumes: How many were drawn.
        study_s: Three-series DICOM study with its truth, the fastest of `studies`.
        studies: How many were written.
    """

    volume_s: float
    slowest_s: float
    volumes: int
    study_s: float
    studies: int


def time_phantom(scratch: Path, volumes: int = 24, studies: int = 3) -> PhantomTime:
    """Draw training volumes of the `train` recipe, then write a study; needs the [train] extra."""
    from training.phantom.recipe import load_recipe

    recipe = load_recipe("train")
    for number in range(WARM_UP):
        _volume_seconds(recipe, number)
    seconds = [_volume_seconds(recipe, WARM_UP + number) for number in range(volumes)]
    written = [_study_seconds(recipe, scratch / f"phantom-{n}") for n in range(studies)]
    return PhantomTime(statistics.fmean(seconds), max(seconds), volumes, min(written), studies)


def _volume_seconds(recipe: PhantomRecipe, number: int) -> float:
    """Of one patient, one scan and its labels, per `VOLUME` voxels."""
    from training.phantom.draw import draw_image

    start = process_time()
    drawn = draw_image(
        recipe.scene(number),
        np.random.default_rng(number),
        in_plane_mm=PITCH_MM[1],
        slice_mm=PITCH_MM[0],
        mix=recipe.acquisition,
    )
    spent = process_time() - start
    return spent * float(np.prod(VOLUME)) / drawn.volume.array.size


def _study_seconds(recipe: PhantomRecipe, folder: Path) -> float:
    """Of a study as `acuity train phantom` writes it, of STIR, T1 and T2 and nothing else."""
    from training.phantom.__main__ import write_patient
    from training.phantom.dicom.recipe import NO_EXTRAS

    start = process_time()
    roles = (Role.STIR, Role.T1, Role.T2)
    write_patient(recipe, STUDY_NUMBER, folder, roles=roles, extras=NO_EXTRAS)
    return process_time() - start


def phantom_text(time: PhantomTime) -> str:
    """Both figures beside what is asked of them."""
    size = "x".join(map(str, VOLUME))
    return (
        f"synthetic spine, one core: {1.0 / time.volume_s:.1f} training volumes of {size} a "
        f"second (asked: {VOLUMES_ASKED:.0f}; mean {time.volume_s:.2f}, slowest "
        f"{time.slowest_s:.2f} CPU-s of {time.volumes})\n"
        f"  three-series DICOM study with truth: {time.study_s:.1f} CPU-s, the fastest of "
        f"{time.studies} (asked: {STUDY_ASKED_S:.0f})"
    )
