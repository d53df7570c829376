"""Write a synthetic patient as a DICOM study: several series as a scanner stores them, and truth.

The patient is plainly synthetic in name and identifier. The same case, recipe and seed give the
same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.geometry import Plane
from models.volume import Volume
from training.phantom.dicom.classic import write_classic
from training.phantom.dicom.content import SeriesSheet, Stack
from training.phantom.dicom.drafts import make_drafts
from training.phantom.dicom.enhanced import write_enhanced
from training.phantom.dicom.legacy import write_legacy
from training.phantom.dicom.placement import FixedGrid, TissueSource
from training.phantom.dicom.recipe import Storage, StudyRecipe
from training.phantom.dicom.session import open_session
from training.phantom.dicom.sheets import numbered_series
from training.phantom.dicom.truth import LabelMaps, Patient, write_truth
from training.phantom.painting.tissues import SpineCase
from training.phantom.scanner.protocols import Protocol

_WRITERS: Final = {
    Storage.CLASSIC: write_classic,
    Storage.ENHANCED: write_enhanced,
    Storage.LEGACY: write_legacy,
}


@dataclass(frozen=True, slots=True)
class WrittenSeries:
    """One stack on disk; stacks of one series share its number and, when enhanced, its file.

    Attributes:
        volume: As a reader should get it, rescaled.
        protocol: What it was acquired with.
        description: Series Description, "" when left out.
        series_number: As written.
        files: In the order of the slices; one file when all slices are in it.
        plane: Of the slices.
        storage: SOP class.
    """

    volume: Volume
    protocol: Protocol
    description: str
    series_number: int
    files: tuple[Path, ...]
    plane: Plane = Plane.SAGITTAL
    storage: Storage = Storage.CLASSIC


@dataclass(frozen=True, slots=True)
class WrittenStudy:
    """A study on disk: its UID, its stacks and its truth file."""

    study_instance_uid: str
    series: tuple[WrittenSeries, ...]
    truth: Path


def write_study(
    case: Patient,
    directory: Path,
    recipe: StudyRecipe,
    rng: np.random.Generator,
    *,
    tissue: TissueSource | None = None,
) -> WrittenStudy:
    """Scan a case by a recipe and write `dicom/`, `truth.json` and NIfTI maps.

    Args:
        case: The patient.
        directory: Created when missing; existing files of the same names are replaced.
        recipe: What is scanned.
        rng: Everything left open by the recipe.
        tissue: What slices are cut from; by default the grid of a `SpineCase`.

    Returns:
        What was written. `truth.nii.gz` is a label map (`LABEL_VALUES`) on the first scan's grid,
        `truth_<series number>.nii.gz` one on each other grid, `lesions.nii.gz` a lesion map on the
        grid of the first fluid-sensitive scan.

    Raises:
        ValueError: No tissue is given and the case holds none, the recipe has no series, or its
            storage is one that the vendor's scanners do not write.
    """
    if not recipe.roles:
        raise ValueError("a study has at least one series")
    if tissue is None:
        if not isinstance(case, SpineCase):
            raise ValueError("a case without a grid needs a source of tissue")
        tissue = FixedGrid(case.grid)
    session = open_session(case.seed, recipe, rng)
    drafts = make_drafts(session, tissue)
    directory.mkdir(parents=True, exist_ok=True)
    maps = LabelMaps(case.levels, directory)
    contents, written = [], []
    for content, grid in numbered_series(session, drafts):
        folder = directory / "dicom" / f"S{content.sheet.order + 1:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        files = _WRITERS[content.sheet.storage](content, session.identity, case, folder)
        for stack, paths in zip(content.stacks, files, strict=True):
            written.append(_written(content.sheet, stack, paths))
            if grid is not None:
                maps.add(grid, stack.volume, content.sheet.number)
        contents.append(content)
    truth = write_truth(case, session.identity, contents, maps)
    return WrittenStudy(session.identity.study_uid, tuple(written), truth)


def _written(sheet: SeriesSheet, stack: Stack, files: tuple[Path, ...]) -> WrittenSeries:
    return WrittenSeries(
        stack.volume,
        stack.protocol,
        sheet.names.description,
        sheet.number,
        files,
        stack.plane,
        sheet.storage,
    )
