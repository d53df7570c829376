"""The real-scan evaluation: its figures, and one real study through it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from models.geometry import Spacing
from models.volume import Role, Volume
from tests.unit.localiser.chain import grid_affine

evaluate_real = pytest.importorskip("training.evaluate_real")

REAL = (
    Path(os.environ.get("ACUITY_REAL_DATA", Path(__file__).parents[4] / "shared")) / "real_studies"
)


def test_mask_is_laid_on_the_volume_by_position(tmp_path: Path) -> None:
    shape = (4, 9, 7)
    affine = grid_affine(Spacing(4.0, 1.5, 1.2), shape, np.array([5.0, -3.0, 60.0]))
    labels = np.random.default_rng(0).integers(0, 27, shape).astype(np.uint8)
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing((1.2, 1.5, 4.0))
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    image.SetDirection(directions[:, ::-1].ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    path = tmp_path / "truth.nii.gz"
    SimpleITK.WriteImage(image, str(path))

    volume = Volume(np.zeros(shape, np.float32), affine, Role.T2)
    assert np.array_equal(evaluate_real.mask_on(volume, path), labels)

    turned = affine.copy()
    turned[:3, 3] += turned[:3, 1] * (shape[1] - 1)
    turned[:3, 1] *= -1
    upside_down = Volume(np.zeros(shape, np.float32), turned, Role.T2)
    assert np.array_equal(evaluate_real.mask_on(upside_down, path), labels[:, ::-1])


@pytest.mark.real
@pytest.mark.parametrize(
    ("study", "series", "bodies"), [("vb1_AKa", 2, 18), ("vb2_05", 1, 7), ("vb3_15", 1, 5)]
)
def test_every_body_of_a_real_study_is_found(
    study: str, series: int, bodies: int, tmp_path: Path
) -> None:
    if not (REAL / study).is_dir():
        pytest.skip("REAL SCANS NOT FOUND: set ACUITY_REAL_DATA to the folder that has them")
    (tmp_path / study).symlink_to((REAL / study).resolve())

    localiser = evaluate_real.open_localiser(None, None)
    results = list(evaluate_real.evaluate(tmp_path, localiser, None))

    figures = evaluate_real.summarise(results)
    assert (figures["series"], figures["unread"]) == (series, 0)
    assert (figures["found"], figures["bodies"]) == (bodies, bodies)
    assert figures["false_bodies"] == 0
    assert figures["levels_right"] == series
