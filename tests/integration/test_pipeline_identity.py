"""An identity network through the whole pipeline: what goes in comes out where it was.

Three boxes of different size are laid into an oblique stack with three different pitches, stored
with every sign and order of its in-plane axes and with its files shuffled. A localiser that merely
thresholds must find each box in the written files at the patient position that the DICOM gave it.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from models.findings import (
    Anchor,
    Coverage,
    LevelFindings,
    LevelName,
    Localisation,
    Scores,
    StudyVolumes,
    Vertebra,
)
from models.geometry import to_lps
from service.pipeline import Clock, Stages, reader, report_on
from service.report.document import StudyReport
from service.report.json_writer import from_json
from service.report.outputs import Format, write_outputs
from service.report.result import StudyResult
from service.settings import Settings
from tests.builders import SAGITTAL, STIR, Grid, classic_stack, oblique, write_all

SHAPE = (9, 204, 200)
SPACING = (4.4, 0.9, 0.7)
TOLERANCE_MM = 0.1

BOXES = {
    "T12": (slice(2, 4), slice(30, 60), slice(50, 70)),
    "L1": (slice(4, 7), slice(80, 121), slice(90, 123)),
    "L2": (slice(5, 8), slice(140, 191), slice(130, 172)),
}
"""Level to voxels (slice, row, column); the larger, the further down the list."""

FRAMES = {
    f"{swap}{row}{column}": (row, column, swap)
    for swap in ("rows to the back ", "rows to the feet ")
    for row in (1, -1)
    for column in (1, -1)
}


def orientation(name: str) -> tuple[float, ...]:
    """Six cosines of an oblique sagittal stack, its rows and columns named and signed."""
    row_sign, column_sign, swap = FRAMES[name]
    row, column = np.reshape(oblique((8.0, -6.0, 11.0), SAGITTAL), (2, 3))
    if swap == "rows to the feet ":
        row, column = column, row
    return (*(row * row_sign).tolist(), *(column * column_sign).tolist())


def scene() -> NDArray[np.uint16]:
    """A body of soft tissue with the boxes in it."""
    rng = np.random.default_rng(11)
    rows, columns = np.mgrid[-1 : 1 : SHAPE[1] * 1j, -1 : 1 : SHAPE[2] * 1j]
    body = (rows**2 + columns**2 < 0.95).astype(float) * 300
    stored = np.broadcast_to(body, SHAPE) + rng.normal(20, 4, SHAPE)
    for box in BOXES.values():
        stored[box] = 2000 + rng.normal(0, 4, stored[box].shape)
    return np.clip(stored, 0, 4095).astype(np.uint16)


def grid_of(name: str) -> Grid:
    """Where the stack lies: chosen so that no coordinate is round or shared."""
    return Grid(orientation(name), SPACING, (-17.3, -61.9, 88.8))


def given_centre(grid: Grid, level: str) -> NDArray[np.float64]:
    """LPS mm of a box's centre by the DICOM equation alone (PS3.3 C.7.6.2.1.1)."""
    slice_, row, column = ((box.start + box.stop - 1) / 2 for box in BOXES[level])
    along_row, along_column = np.reshape(grid.orientation, (2, 3))
    offset = along_column * SPACING[1] * row + along_row * SPACING[2] * column
    return np.array(grid.position(slice_)) + offset


def thresholded(study: StudyVolumes) -> Localisation:
    """The identity: every box is a body, named by its size."""
    mask = study.reference.array > 1500
    labels = np.zeros(mask.shape, dtype=np.uint8)
    remaining = mask.copy()
    boxes = []
    while remaining.any():
        boxes.append(_connected_box(remaining))
        remaining[boxes[-1]] = False
    boxes.sort(key=lambda box: mask[box].sum())
    vertebrae = []
    for index, (level, box) in enumerate(zip(BOXES, boxes, strict=True), start=1):
        labels[box] = index
        centre = np.argwhere(labels == index).mean(axis=0)
        vertebrae.append(
            Vertebra(
                index,
                LevelName(level, 1.0),
                (),
                Coverage.COMPLETE,
                to_lps(study.reference.affine, centre),
                np.eye(3),
                None,
                1.0,
            )
        )
    affine = study.reference.affine
    return Localisation(labels, affine, tuple(vertebrae), Anchor.NONE, np.zeros_like(labels))


def _connected_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The box that holds the first set voxel; boxes share no row, so rows part them."""
    start = np.argwhere(mask)[0]
    box = [slice(int(at), int(at) + 1) for at in start]
    for axis in (2, 1, 0):
        line = [slice(int(at), int(at) + 1) for at in start]
        line[axis] = slice(int(start[axis]), mask.shape[axis])
        run = mask[tuple(line)].ravel()
        box[axis] = slice(
            int(start[axis]), int(start[axis]) + int(np.argmin(np.append(run, False)))
        )
    return box[0], box[1], box[2]


def unscored(study: StudyVolumes, localisation: Localisation) -> Scores:
    """Nothing is said; the edema map is the input itself inside the boxes."""
    inside = np.where(localisation.labels > 0, study.reference.array / 4096, 0)
    levels = tuple(
        LevelFindings(vertebra, None, None, None, None) for vertebra in localisation.vertebrae
    )
    return Scores(levels, inside.astype(np.float32))


@pytest.fixture(scope="module", params=list(FRAMES))
def ran(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Grid, StudyResult, Path]:
    """The stack through the pipeline, and where its outputs lie."""
    grid = grid_of(request.param)
    stack = classic_stack(scene(), grid, STIR)
    folder = tmp_path_factory.mktemp("identity")
    shuffled = np.random.default_rng(5).permutation(len(stack))
    write_all([stack[index] for index in shuffled], folder / "dicom")
    stages = Stages(reader(Settings(work_dir=folder / "work")), thresholded, unscored)
    result = report_on(folder / "dicom", stages, Clock())
    write_outputs(result, folder / "out", {Format.JSON, Format.NII})
    return grid, result, folder / "out"


def centre_in_file(path: Path, value: int) -> NDArray[np.float64]:
    """LPS mm of the centre of a label, as nibabel reads the file."""
    image = nib.load(path)
    ijk = np.argwhere(np.asarray(image.dataobj) == value).mean(axis=0)
    ras = image.affine @ np.append(ijk, 1.0)
    return np.asarray(ras[:3] * [-1.0, -1.0, 1.0])


@pytest.mark.parametrize(("level", "value"), [("T12", 19), ("L1", 20), ("L2", 21)])
def test_written_label_lies_where_the_dicom_had_it(
    ran: tuple[Grid, StudyResult, Path], level: str, value: int
) -> None:
    grid, _, out = ran
    found = centre_in_file(out / "vertebrae.nii.gz", value)
    assert np.linalg.norm(found - given_centre(grid, level)) < TOLERANCE_MM


def test_reported_centroids_are_those_of_the_dicom(ran: tuple[Grid, StudyResult, Path]) -> None:
    grid, _, out = ran
    report: StudyReport = from_json((out / "report.json").read_bytes())
    for level in report.levels:
        assert level.level is not None
        assert level.centroid_lps_mm == pytest.approx(given_centre(grid, level.level), abs=0.06)


def test_every_voxel_comes_back_with_its_own_value(ran: tuple[Grid, StudyResult, Path]) -> None:
    grid, _, out = ran
    image = nib.load(out / "edema.nii.gz")
    written = np.asarray(image.dataobj)
    lps_to_ijk = np.linalg.inv(image.affine) @ np.diag([-1.0, -1.0, 1.0, 1.0])
    stored = scene()
    along_row, along_column = np.reshape(grid.orientation, (2, 3))
    for box in BOXES.values():
        for corner in (0, -1):
            index = [(part.start, part.stop - 1)[corner] for part in box]
            offset = along_column * SPACING[1] * index[1] + along_row * SPACING[2] * index[2]
            place = np.append(np.array(grid.position(index[0])) + offset, 1.0)
            i, j, k = np.round((lps_to_ijk @ place)[:3]).astype(int)
            assert written[i, j, k] == pytest.approx(stored[tuple(index)] / 4096, abs=1e-6)


def test_every_file_is_accounted_for(ran: tuple[Grid, StudyResult, Path]) -> None:
    _, result, _ = ran
    assert (result.report.files.used, result.report.files.refused) == (SHAPE[0], ())
    assert result.report.series[0].role == "stir"
    assert result.report.series[0].slices == SHAPE[0]
