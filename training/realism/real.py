"""Real scans with outlined bodies, read into memory for measuring; nothing of them is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK

from models.anatomy import LABEL_VALUES
from models.geometry import Affine, sagittal_order
from models.volume import Role, Volume, in_sagittal_order, reorder
from training.realism.specimens import Specimen, whole_bodies

LEVEL_NAMES: Final = {value: name for name, value in LABEL_VALUES.items()}


def real_specimens(studies: Path, *, only: str = "") -> Iterator[Specimen]:
    """Every series with masks of a folder of evaluation studies (see its README).

    Args:
        studies: Folder with one folder per study.
        only: Take only studies whose name starts with this.

    Raises:
        FileNotFoundError: The folder has no study.
    """
    found = sorted(path.parent for path in studies.glob(f"{only}*/truth.json"))
    if not found:
        raise FileNotFoundError(f"no studies with truth.json in {studies.name}")
    for study in found:
        told = json.loads((study / "truth.json").read_text())
        for series in told["series"]:
            if series.get("truth_nifti"):
                yield _read(study, series)


def _read(study: Path, series: dict[str, Any]) -> Specimen:
    uid = str(series["series_instance_uid"])
    image = _read_series(study / "dicom", uid)
    mask = SimpleITK.ReadImage(str(study / str(series["truth_nifti"])))
    affine = _affine(image)
    labels = SimpleITK.GetArrayFromImage(mask).astype(np.uint8)
    array = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    volume = Volume(array, affine, _role(study.name, str(series["true_weighting"])))
    axes, flips = sagittal_order(affine)
    body = np.ascontiguousarray(reorder(labels, axes, flips))
    levels = whole_bodies(body, LEVEL_NAMES)
    order = dict(sorted(levels.items()))
    return Specimen(study.name, in_sagittal_order(volume), body, order, None, frozenset(order))


def _read_series(folder: Path, uid: str) -> SimpleITK.Image:
    reader = SimpleITK.ImageSeriesReader()
    for place in sorted({p.parent for p in folder.rglob("*") if p.is_file()}):
        names = reader.GetGDCMSeriesFileNames(str(place), uid)
        if names:
            reader.SetFileNames(names)
            return reader.Execute()
    raise FileNotFoundError(f"series of {folder.parent.name} not found")


def _affine(image: SimpleITK.Image) -> Affine:
    """Index (slice, row, column) to LPS mm."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = (direction * np.array(image.GetSpacing()))[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    return affine


def _role(study: str, weighting: str) -> Role:
    if study.startswith("vb3"):
        return Role.DIXON_WATER
    if weighting.startswith("T1"):
        return Role.T1
    return Role.STIR if "STIR" in weighting or "TIRM" in weighting else Role.T2
