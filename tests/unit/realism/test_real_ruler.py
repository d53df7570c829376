"""The rulers laid on real scans give the figures that were published for them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from models.volume import Role
from training.realism.intensity import measure_intensities
from training.realism.real import real_specimens
from training.realism.reference import measured_shapes, measured_signals
from training.realism.shape import measure_shapes

REAL = (
    Path(os.environ.get("ACUITY_REAL_DATA", Path(__file__).parents[4] / "shared")) / "real_studies"
)

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def _present() -> None:
    if not REAL.is_dir():
        pytest.skip("REAL SCANS NOT FOUND: set ACUITY_REAL_DATA; the rulers were NOT checked")


def test_stir_of_known_ratios() -> None:
    image = next(s for s in real_specimens(REAL, only="vb1_AKa") if s.volume.role is Role.STIR)
    found, known = measure_intensities(image), measured_signals("STIR")
    for row in ("disc", "disc p90", "canal p75", "canal p90", "muscle p35", "muscle median"):
        assert found[row] == pytest.approx(known[row].mean, rel=0.15), row
    assert found["dorsal fat"] == pytest.approx(known["dorsal fat"].mean, rel=0.2)
    assert found["AP gradient"] == pytest.approx(0.147, abs=0.03)


@pytest.mark.parametrize(("only", "group"), [("vb2_0", "T2"), ("vb3_1", "Dixon water")])
def test_means_of_a_set(only: str, group: str) -> None:
    known = measured_signals(group)
    images = list(real_specimens(REAL, only=only))
    rows = [measure_intensities(image) for image in images]
    assert {image.group for image in images} == {group}
    for row in ("disc", "disc p90", "canal p75", "canal p90", "muscle median"):
        assert np.mean([r[row] for r in rows]) == pytest.approx(known[row].mean, rel=0.25), row

    sizes = [measure_shapes(i.body, i.volume.spacing.mm, i.levels).bodies for i in images]
    shapes = measured_shapes("body")
    for row in ("height ant", "height mid", "height post", "depth"):
        mean = np.mean([one["L3"][row] for one in sizes])
        assert mean == pytest.approx(shapes["L3", row].mean, rel=0.1), row
