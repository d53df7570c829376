"""End to end: a marker written into DICOM files is found where it was put, to a micrometre."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.geometry import to_lps
from models.volume import in_sagittal_order
from service.ingest.grid import StackPolicy
from service.ingest.safety import Limits
from service.ingest.study import read_study
from tests.builders import Grid, classic_stack, enhanced_instance, write_all
from tests.property.strategies import grids

SHAPE = (9, 24, 20)
POLICY = StackPolicy(min_matrix=16)


@given(
    grid=grids(),
    marker=st.tuples(*[st.integers(0, size - 1) for size in SHAPE]),
    order=st.randoms(use_true_random=False),
    enhanced=st.booleans(),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
def test_marker_stays_in_its_place(
    grid: Grid, marker: tuple[int, int, int], order: random.Random, enhanced: bool
) -> None:
    pixels = np.full(SHAPE, 50, dtype=np.uint16)
    pixels[marker] = 900
    if enhanced:
        datasets = [enhanced_instance(pixels, grid)]
    else:
        datasets = order.sample(classic_stack(pixels, grid), k=SHAPE[0])
    with tempfile.TemporaryDirectory() as folder:
        write_all(datasets, Path(folder) / "study")
        work = Path(folder) / "work"
        work.mkdir()
        read = read_study(Path(folder) / "study", limits=Limits(), policy=POLICY, workspace=work)
    assert read.volumes is not None, read.series
    volume = read.volumes.reference
    row, column = np.reshape(grid.orientation, (2, 3))
    wanted = (
        np.asarray(grid.position(marker[0]))
        + marker[1] * grid.spacing[1] * column
        + marker[2] * grid.spacing[2] * row
    )
    for seen in (volume, in_sagittal_order(volume)):
        (index,) = np.argwhere(seen.array == 900)
        np.testing.assert_allclose(to_lps(seen.affine, index), wanted, atol=1e-3)
