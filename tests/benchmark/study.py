"""The study the benchmark reads: three uncompressed series of one synthetic patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.volume import Role

PIXEL_MM = 300.0 / 384
SEED = 7


def write_benchmark_study(folder: Path) -> Path:
    """Write STIR, T1 and T2 of 16 slices of 384 x 384; needs the [train] extra.

    Returns:
        The folder with the DICOM files.
    """
    from training.phantom.dicom.recipe import StudyRecipe
    from training.phantom.dicom.study import write_study
    from training.phantom.patient import sample_case
    from training.phantom.scene import SceneRequest

    field = (300.0, 300.0)
    recipe = StudyRecipe(
        roles=(Role.STIR, Role.T1, Role.T2),
        pixel_mm=PIXEL_MM,
        thickness_mm=4.0,
        slices=16,
        fov_mm=field,
        clean=True,
    )
    case = sample_case(SEED, SceneRequest(region="lumbar"), field_mm=field)
    write_study(case, folder, recipe, np.random.default_rng(SEED))
    return folder / "dicom"
