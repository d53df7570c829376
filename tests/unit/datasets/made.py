"""Small sources of labels in their published layouts, and rows of a manifest."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK

from service.logs import Pseudonyms
from tests.builders import STIR, T1, Grid, classic_stack, ramp, write_all
from training.datasets.rows import LabelRow

KEYS = Pseudonyms(b"site key")
SHA = "0" * 64


def row(**changes: object) -> LabelRow:
    """A row that is sound."""
    values: dict[str, object] = {
        "source": "phantom",
        "patient_key": "p1",
        "split": "train",
        "study_instance_uid": "1.2.3",
        "series_instance_uid": "1.2.3.4",
        "level": "L2",
        "reader": "a",
        "study_path": "study",
        "study_sha256": SHA,
        "pixel_sha256": SHA,
    }
    return LabelRow.model_validate(values | changes)


def write_study(
    folder: Path, name: str, *, patient: str = "", seed: int = 0, series: str = "series"
) -> Path:
    """A small STIR study of one series, of its own patient; returns its folder."""
    stack = classic_stack(ramp(5, 24, 20) + np.uint16(seed), study=name, series=series)
    for dataset in stack:
        dataset.PatientID = patient or name
        dataset.PatientSex = "F"
        dataset.PatientAge = "071Y"
    write_all(stack, folder)
    return folder


def write_csv(path: Path, lines: Sequence[Mapping[str, object]]) -> Path:
    """A CSV file with the keys of the first line as its columns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def blocks(values: Iterable[int], shape: tuple[int, int, int] = (5, 40, 20)) -> np.ndarray:
    """(slice, row, column) labels: one block under the other, in the order given."""
    labels = np.zeros(shape, np.uint16)
    for place, value in enumerate(values):
        labels[1:4, 2 + 7 * place : 6 + 7 * place, 5:12] = value
    return labels


def write_mha(path: Path, array: np.ndarray) -> Path:
    """A MetaImage with slices along x, rows down and columns to the back, as in SPIDER."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.9, 4.4))
    # Columns of the matrix: direction of columns, rows and slices in LPS.
    image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
    image.SetOrigin((-30.0, -80.0, 120.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def write_nifti(path: Path, labels: np.ndarray, grid: Grid | None = None) -> Path:
    """A NIfTI label map on the grid of a `classic_stack`, axes (column, row, slice), RAS mm."""
    grid = grid or Grid()
    row_step, column_step = np.reshape(grid.orientation, (2, 3))
    affine = np.eye(4)
    affine[:3, 0] = row_step * grid.spacing[2]
    affine[:3, 1] = column_step * grid.spacing[1]
    affine[:3, 2] = np.cross(row_step, column_step) * grid.spacing[0]
    affine[:3, 3] = grid.origin
    affine[:2] *= -1  # LPS to RAS
    nib.Nifti1Image(labels.transpose(2, 1, 0).astype(np.uint8), affine).to_filename(path)
    return path


def write_rsna(root: Path, study: str = "4003253") -> Path:
    """One study of the RSNA 2024 layout: a sagittal T2 and a sagittal T1 series."""
    for series, physics in (("702807833", STIR), ("1054713880", T1)):
        stack = classic_stack(ramp(5, 40, 30), physics=physics, study=study, series=series)
        folder = root / "train_images" / study / series
        folder.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(write_all(stack, folder), start=1):
            path.rename(path.with_name(f"{number}.dcm"))
    conditions = (
        "spinal_canal_stenosis", "left_neural_foraminal_narrowing",
        "right_neural_foraminal_narrowing", "left_subarticular_stenosis",
        "right_subarticular_stenosis",
    )  # fmt: skip
    discs = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")
    grades = {f"{name}_{disc}": "Normal/Mild" for name in conditions for disc in discs}
    grades["spinal_canal_stenosis_l4_l5"] = "Severe"
    grades["left_subarticular_stenosis_l1_l2"] = ""
    write_csv(root / "train.csv", [{"study_id": study} | grades])
    mark = {"study_id": study, "series_id": "702807833", "instance_number": "3"}
    write_csv(
        root / "train_label_coordinates.csv",
        [
            mark | {"condition": "Spinal Canal Stenosis", "level": "L4/L5", "x": "10", "y": "20"},
            mark
            | {"condition": "Left Subarticular Stenosis", "level": "L1/L2", "x": "1", "y": "2"},
        ],
    )
    described = (("702807833", "Sagittal T2/STIR"), ("1054713880", "Sagittal T1"))
    write_csv(
        root / "train_series_descriptions.csv",
        [{"study_id": study, "series_id": s, "series_description": d} for s, d in described],
    )
    return root
