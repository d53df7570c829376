"""The truth of a study: `truth.json`, label maps of the bodies and a lesion map."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import product
from math import isinf
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.anatomy import LABEL_VALUES
from models.geometry import to_index
from models.volume import FLUID_SENSITIVE, Volume
from training.phantom.dicom.content import SeriesContent, Stack
from training.phantom.dicom.identity import Identity
from training.phantom.dicom.label_maps import LESION_CLASSES, labels_on, lesion_labels
from training.phantom.dicom.modules import Person
from training.phantom.dicom.nifti import write_labels
from training.phantom.painting.tissues import EDEMA_FREE_WATER, LevelTruth, TissueGrid
from training.phantom.scanner.truth import truth_on
from training.phantom.stamp import PHANTOM_VERSION
from training.phantom.truth.model import SpineTruth

TRUTH_SCHEMA: Final = "phantom-truth/1"
_SEEN_WIDTH: Final = 0.5
"""Part of a body's width, around its middle, that slices must hold to show it completely: its
flanks are cut off in many sagittal studies and no reader misses them."""


class Patient(Person, Protocol):
    """Whom a study is of, with the truth of the spine; `SpineCase` is one."""

    @property
    def numbering(self) -> str:
        """Numbering variant."""

    @property
    def levels(self) -> tuple[LevelTruth, ...]:
        """Truth of the vertebrae, cranial to caudal."""

    @property
    def spine(self) -> SpineTruth | None:
        """Truth of the whole spine, where the patient was drawn from a scene."""


@dataclass(slots=True)
class LabelMaps:
    """Label and lesion maps as they are made, one scan after the other.

    Attributes:
        levels: Truth of the vertebrae.
        directory: Where maps are written.
        by_grid: Name of the label map of each grid that was seen.
        lesions: (file, series) of the lesion map, once a fluid-sensitive scan was seen.
        edema_contrast: Index of a body to how many times its edema outshines the marrow around it
            in that scan; bodies without edema have none.
    """

    levels: Sequence[LevelTruth]
    directory: Path
    by_grid: dict[bytes, str] = field(default_factory=dict)
    lesions: tuple[str, str] | None = None
    edema_contrast: dict[int, float] = field(default_factory=dict)

    def add(self, grid: TissueGrid, volume: Volume, number: int) -> None:
        """Write what is still missing for a scan.

        Args:
            grid: The tissue it was made of.
            volume: The scan.
            number: Its series number.
        """
        key = _grid_key(volume)
        shows_edema = self.lesions is None and volume.role in FLUID_SENSITIVE
        if key in self.by_grid and not shows_edema:
            return
        _, body = truth_on(grid, volume)
        if key not in self.by_grid:
            name = f"truth_{number}.nii.gz" if self.by_grid else "truth.nii.gz"
            names = np.zeros(256, dtype=np.uint8)
            for level in self.levels:
                names[level.index] = LABEL_VALUES[level.level]
            write_labels(self.directory / name, names[body], volume.affine)
            self.by_grid[key] = name
        if shows_edema:
            lesions = lesion_labels(grid, self.levels)
            labels = labels_on(lesions, grid, volume)
            write_labels(self.directory / "lesions.nii.gz", labels, volume.affine)
            self.lesions = ("lesions.nii.gz", volume.series_instance_uid)
            wet = labels_on((grid.free_water >= EDEMA_FREE_WATER).astype(np.uint8), grid, volume)
            self.edema_contrast = edema_contrasts(volume.array, body, wet > 0)

    def of(self, volume: Volume) -> str | None:
        """File with the labels on a volume's grid, None where none was made."""
        return self.by_grid.get(_grid_key(volume))


def edema_contrasts(
    array: NDArray[np.float32], body: NDArray[np.integer], wet: NDArray[np.bool_]
) -> dict[int, float]:
    """How visible edema is: what a reader would hold it against is the marrow in view around it.

    Args:
        array: (slice, row, column) signal of a fluid-sensitive scan.
        body: (slice, row, column) index of the body in each voxel, cranial to caudal from 1.
        wet: (slice, row, column) edema and what is as wet.

    Returns:
        Index of every body with edema to its median over that of the body's and its neighbours'
        other marrow; infinite where they have none.
    """
    found = {}
    for index in np.unique(body[wet & (body > 0)]):
        lesion = array[wet & (body == index)]
        around = (body >= max(1, int(index) - 1)) & (body <= int(index) + 1)
        rest = array[around & ~wet]
        normal = float(np.median(rest)) if rest.size else 0.0
        found[int(index)] = float(np.median(lesion)) / normal if normal > 0.0 else float("inf")
    return found


def _grid_key(volume: Volume) -> bytes:
    return volume.affine.tobytes() + bytes(str(volume.shape), "ascii")


def visibility(level: LevelTruth, volume: Volume) -> str:
    """How much of a body a volume shows: "complete", "partial" or "outside".

    Points on the surface and inside of the body's box are looked up; of its width only the middle
    half counts.
    """
    height = max(*level.heights_mm, *level.intact_heights_mm)
    extent = np.array([_SEEN_WIDTH * level.width_mm, level.depth_mm, height])
    lattice = np.array(list(product(np.linspace(-0.5, 0.5, 5), repeat=3))) * extent
    points = level.centroid_lps_mm + lattice @ level.axes_lps
    index = to_index(volume.affine, points)
    inside = np.all((index >= -0.5) & (index <= np.array(volume.shape) - 0.5), axis=1)
    if inside.all():
        return "complete"
    return "partial" if inside.any() else "outside"


def write_truth(
    patient: Patient,
    identity: Identity,
    series: Sequence[SeriesContent],
    maps: LabelMaps,
) -> Path:
    """Write `truth.json` beside the maps.

    Args:
        patient: Whom the study is of.
        identity: Of the study.
        series: All series, the reference among them.
        maps: Whose first label map lies on the reference's grid.
    """
    reference = next(s.volume for c in series for s in c.stacks if maps.of(s.volume))
    shown = [(level, visibility(level, reference)) for level in patient.levels]
    document = {
        "schema": TRUTH_SCHEMA,
        "synthetic": True,
        "phantom_version": PHANTOM_VERSION,
        "study_instance_uid": identity.study_uid,
        "frame_of_reference_uid": identity.frame_uid,
        "seed": patient.seed,
        "sex": patient.sex,
        "age_years": round(patient.age_years, 1),
        "numbering": patient.numbering,
        "spine": _rounded(plain(patient.spine)),
        "truth_nifti": {
            "file": maps.of(reference),
            "series_instance_uid": reference.series_instance_uid,
        },
        "lesion_nifti": None
        if maps.lesions is None
        else {
            "file": maps.lesions[0],
            "series_instance_uid": maps.lesions[1],
            "values": LESION_CLASSES,
        },
        "series": [_series_truth(c, s, maps) for c in series for s in c.stacks],
        "levels": [
            _level_truth(level, seen, maps.edema_contrast.get(level.index))
            for level, seen in shown
            if seen != "outside"
        ],
    }
    path = maps.directory / "truth.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def _series_truth(content: SeriesContent, stack: Stack, maps: LabelMaps) -> dict[str, object]:
    sheet, volume, protocol = content.sheet, stack.volume, stack.protocol
    return {
        "series_instance_uid": volume.series_instance_uid,
        "series_number": sheet.number,
        "role": volume.role.value,
        "plane": stack.plane.value,
        "description": sheet.names.description,
        "vendor": protocol.vendor,
        "manufacturer": sheet.scanner.manufacturer,
        "storage": sheet.storage.value,
        "transfer_syntax_uid": str(sheet.transfer_syntax_uid),
        "body_part": sheet.habits.body_part,
        "omitted": sorted(sheet.omitted),
        "contrast_agent": sheet.contrast_agent,
        "shape": list(volume.shape),
        "spacing_mm": [round(mm, 4) for mm in volume.spacing.mm],
        "affine_lps": volume.affine.tolist(),
        "thickness_mm": protocol.thickness_mm,
        "truth_nifti": maps.of(volume),
        "sop_instance_uids": list(dict.fromkeys(volume.sop_instance_uids)),
        "pixels": plain(sheet.pixels),
        "protocol": plain(protocol),
        "conditions": None if stack.conditions is None else plain(stack.conditions),
    }


def _level_truth(level: LevelTruth, seen: str, contrast: float | None) -> dict[str, object]:
    acuity = "no_fracture"
    if level.has_fracture:
        acuity = "unhealed" if level.unhealed else "healed"
    rounded = {
        "centroid_lps_mm": [round(float(v), 2) for v in level.centroid_lps_mm],
        "heights_mm": [round(mm, 1) for mm in level.heights_mm],
        "intact_heights_mm": [round(mm, 1) for mm in level.intact_heights_mm],
        "depth_mm": round(level.depth_mm, 1),
        "width_mm": round(level.width_mm, 1),
        "height_loss_percent": round(level.height_loss_percent, 1),
        "edema_fraction": round(level.edema_fraction, 3),
        "edema_contrast": None if contrast is None or isinf(contrast) else round(contrast, 3),
        "lesion_extent": round(level.lesion_extent, 3),
        "volume_ml": _rounded(level.volume_ml),
        "geometry": _rounded(plain(level.geometry)),
    }
    fields = plain(level)
    if not isinstance(fields, dict):
        raise TypeError("a level's truth is a dataclass")
    return fields | rounded | {"visible": seen, "acuity": acuity}


def _rounded(value: object) -> object:
    """JSON with two digits behind the point: below what any measurement is held against it."""
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value


def plain(value: object) -> object:
    """A value as JSON holds it: dataclasses and mappings as objects, arrays and tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(entry) for entry in value]
    return value
