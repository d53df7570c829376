"""Real studies as the evaluation meets them: what ingest makes of them, and their truth."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from models.findings import StudyVolumes
from models.geometry import to_lps
from models.volume import Volume

GROUPS: Final = ("T1", "T2 pathological", "STIR", "T2 healthy", "Dixon water")

HEALTHY: Final = ("T2 healthy", "Dixon water")
"""Groups of volunteers, in whom edema is presumed absent; nobody has read them."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One series with its masks.

    Attributes:
        study: Folder name.
        group: One of `GROUPS`.
        series_instance_uid: Of the series.
        mask: NIfTI file on the series' grid.
        visible_edema: Level to an unadjudicated reading: seen, not seen, or None for equivocal or
            not read.
    """

    study: str
    group: str
    series_instance_uid: str
    mask: Path
    visible_edema: dict[str, bool | None] = field(default_factory=dict)


def truths_of(study: Path) -> list[Truth]:
    """Read which series of a study folder have masks."""
    told = json.loads((study / "truth.json").read_text())
    found = []
    for series in told["series"]:
        if series.get("truth_nifti"):
            group = _group(study.name, str(series["true_weighting"]))
            found.append(
                Truth(
                    study.name,
                    group,
                    str(series["series_instance_uid"]),
                    study / str(series["truth_nifti"]),
                    {body["level"]: body.get("visible_edema") for body in series["vertebrae"]},
                )
            )
    return found


def _group(study: str, weighting: str) -> str:
    if study.startswith("vb3"):
        return "Dixon water"
    if weighting.startswith("T1"):
        return "T1"
    if "STIR" in weighting or "TIRM" in weighting:
        return "STIR"
    return "T2 healthy" if study.startswith("vb2") else "T2 pathological"


def mask_on(volume: Volume, path: Path) -> NDArray[np.uint8]:
    """Read a truth mask and lay it on a volume's stored grid (nearest voxel, by LPS position)."""
    image = SimpleITK.ReadImage(str(path))
    labels = SimpleITK.GetArrayFromImage(image)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    to_mask = np.eye(4)
    # SimpleITK counts (column, row, slice); arrays count (slice, row, column).
    to_mask[:3, :3] = (direction * np.array(image.GetSpacing()))[:, ::-1]
    to_mask[:3, 3] = image.GetOrigin()
    index_map = np.linalg.inv(to_mask) @ volume.affine
    places = np.indices(volume.shape).reshape(3, -1).T
    at = np.rint(to_lps(index_map, places)).astype(int)
    inside = ((at >= 0) & (at < labels.shape)).all(axis=1)
    values = np.zeros(len(at), np.uint8)
    values[inside] = labels[tuple(at[inside].T)]
    return values.reshape(volume.shape)


def read_volumes(dicom: Path) -> StudyVolumes | None:
    """The volumes that ingest chooses; None when none is usable."""
    from service.ingest.grid import StackPolicy  # noqa: PLC0415
    from service.ingest.safety import Limits  # noqa: PLC0415
    from service.ingest.study import read_study  # noqa: PLC0415

    with TemporaryDirectory() as workspace:
        ingested = read_study(
            dicom, limits=Limits(), policy=StackPolicy(), workspace=Path(workspace)
        )
    return ingested.volumes
