"""Draw the gallery: every disease and mimic by sequence, and normal anatomy by region.

    python -m training.realism.gallery --out DIR [--seed N] [--only TEXT]
    python -m training.realism.gallery --out docs --datasheet

`diseases-*.png` has a row per disease and a column per sequence, around the middle of the level;
`normal.png` shows whole slices of healthy spines, `numbering.png` the sacrum end of each numbering
variant. To be looked at: a row whose name a radiologist would not give is a fault of the phantom.
`--datasheet` draws the two small pictures of the datasheet instead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, uniform_filter1d

from models.geometry import to_index
from models.volume import FLUID_SENSITIVE, Role, Volume
from training.phantom.anatomy.norms import NUMBERINGS
from training.phantom.painting.tissues import LevelTruth
from training.phantom.patient import grid_around, level_truths
from training.phantom.scene import REGIONS, Scene, SceneRequest, sample_scene
from training.realism.requests import NamedRequest, changes, requests
from training.realism.sheets import draw_grid
from training.realism.synthetic import contrasts

Picture = tuple[str, NDArray[np.float64]]

CROP_MM: Final = (104.0, 84.0)
"""Rows and columns of a crop around the diseased level."""

CROP_STEP_MM: Final = 0.6
PARASAGITTAL_MM: Final = 20.0
ROWS_A_SHEET: Final = 8
TRUTH_SHAPE: Final = (32, 150, 110)
TRUTH_PITCH_MM: Final = (2.0, 2.0, 2.0)
TILE_INCHES: Final = 2.1

WINDOW_PERCENTILES: Final = (1.0, 95.0)
"""CSF may saturate, as it does when a reader windows for marrow."""

FLUID_TOP: Final = 86.0
"""Upper percentile where fat is suppressed: CSF, discs and cord lie far above marrow there."""

MIDDLE_SUFFICES: Final = 0.6
"""The middle slice is shown unless it holds less than this part of what the fullest slice shows of
a disease."""

DRAWS: Final = 5
"""Each entry is drawn this often, and the plainest shown."""

DATASHEET_ROWS: Final = (
    "fracture_acute_wedge", "fracture_unhealed_fluid", "fracture_healed", "metastasis_lytic",
    "pathological_epidural", "metastasis_blastic", "modic_1", "discitis", "haemangioma",
    "schmorl_node_acute",
)  # fmt: skip
DATASHEET_COLUMNS: Final = ("t1", "t2", "stir", "t2_fs", "dixon water", "dixon fat")
DATASHEET_INCHES: Final = 1.25
SMALL_DPI: Final = 72


def disease_row(request: NamedRequest, seed: int) -> tuple[str, list[Picture]]:
    """A request's pictures, captioned with the truth."""
    scene = sample_scene(seed, request.scene)
    truth, fullest_mm = truth_of(scene, request.level)
    aside_mm = fullest_mm if request.aside_mm is None else request.aside_mm
    images = contrasts(scene, np.random.default_rng([seed, 3]))
    shown = truth.centroid_lps_mm + aside_mm * scene.aim.axes[0]
    pictures = [(name, crop(volume, shown)) for name, volume in images.items()]
    title = f"{request.name}: {caption_of(truth)}"
    return "\n".join(wrap(title, 21)), pictures


def truth_of(scene: Scene, name: str) -> tuple[LevelTruth, float]:
    """The truth of a level, and how far left of its middle its disease is seen best, mm."""
    grid = grid_around(scene.aim, TRUTH_SHAPE, TRUTH_PITCH_MM)
    sick, changed = changes(scene, grid)
    truth = next(level for level in level_truths(scene, sick) if level.level == name)
    at = to_index(grid.affine, truth.centroid_lps_mm)
    low, high = int(at[1] - CROP_MM[0] / 4), int(at[1] + CROP_MM[0] / 4)
    seen = uniform_filter1d(changed[:, max(low, 0) : high].sum(axis=(1, 2)).astype(float), 2)
    middle, fullest = round(float(at[0])), int(seen.argmax())
    if seen[middle] >= MIDDLE_SUFFICES * seen[fullest]:
        return truth, 0.0
    return truth, (fullest - middle) * TRUTH_PITCH_MM[0]


def caption_of(truth: LevelTruth) -> str:
    """What is true of a level, in a line."""
    words = [truth.level]
    if truth.stage != "none" or truth.fracture != "none":
        words.append(f"{truth.stage} {truth.fracture} -{truth.height_loss_percent:.0f} %")
    if truth.etiology == "pathological":
        words.append("path.")
    if truth.edema_fraction > 0:
        words.append(f"edema {100 * truth.edema_fraction:.0f} %")
    words += [*sorted(truth.signs), *truth.mimics]
    return " ".join(words)


def crop(volume: Volume, centre_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The slice nearest to a point, cut around it and windowed to 0..1."""
    k, row, column = to_index(volume.affine, centre_lps)
    k = float(np.clip(round(float(k)), 0, volume.shape[0] - 1))
    steps = [np.arange(-mm / 2, mm / 2, CROP_STEP_MM) for mm in CROP_MM]
    rows = row + steps[0] / volume.spacing.row_mm
    columns = column + steps[1] / volume.spacing.column_mm
    at = np.meshgrid(rows, columns, indexing="ij")
    return windowed(map_coordinates(volume.array[int(k)], at, order=1), volume.role)


def windowed(image: NDArray[np.floating[Any]], role: Role) -> NDArray[np.float64]:
    """Signal scaled as a reader would window it for marrow."""
    low, high = np.percentile(
        image, (WINDOW_PERCENTILES[0], FLUID_TOP) if role in FLUID_SENSITIVE else WINDOW_PERCENTILES
    )
    shown = np.clip((image - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    return np.asarray(shown, dtype=np.float64)


def normal_rows(seed: int) -> list[tuple[str, list[Picture]]]:
    """Whole slices of healthy spines, mid-sagittal and beside, for every region offered."""
    rows = []
    for region in REGIONS:
        request = SceneRequest(region=region, healthy=True, numbering="usual")
        scene = sample_scene(seed, request)
        images = contrasts(scene, np.random.default_rng([seed, 4]))
        rows += [
            (f"{region}\n{name}", whole_slices(scene, images, aside))
            for name, aside in (("mid", 0.0), ("parasagittal", PARASAGITTAL_MM))
        ]
    return rows


def numbering_rows(seed: int) -> list[tuple[str, list[Picture]]]:
    """Whole mid-sagittal slices of the lowest levels under every numbering variant."""
    rows = []
    for variant in NUMBERINGS:
        request = SceneRequest(region="lumbosacral", healthy=True, numbering=variant)
        scene = sample_scene(seed, request)
        images = contrasts(scene, np.random.default_rng([seed, 5]))
        rows.append(
            (f"{variant}\n{scene.spine.subject.castellvi}", whole_slices(scene, images, 0.0))
        )
    return rows


def whole_slices(scene: Scene, images: Mapping[str, Volume], aside_mm: float) -> list[Picture]:
    """The slices `aside_mm` left of the middle of the scene, whole."""
    pictures = []
    for name, volume in images.items():
        k = to_index(volume.affine, scene.aim.middle + np.array([aside_mm, 0.0, 0.0]))[0]
        slice_ = volume.array[int(np.clip(round(float(k)), 0, volume.shape[0] - 1))]
        step = max(1, round(CROP_STEP_MM / volume.spacing.row_mm))
        pictures.append((name, windowed(slice_[::step, ::step], volume.role)))
    return pictures


def of_datasheet(rows: list[tuple[str, list[Picture]]]) -> list[tuple[str, list[Picture]]]:
    """Rows with the columns of the datasheet only."""
    return [(title, [one for one in line if one[0] in DATASHEET_COLUMNS]) for title, line in rows]


def draw_datasheet(out: Path, seed: int) -> None:
    """The two pictures of the datasheet: the middle of healthy spines, and some diseases."""
    healthy = of_datasheet(normal_rows(seed)[::2])
    draw_grid(
        out / "phantom_anatomy.png", healthy, tile_inches=1.4 * DATASHEET_INCHES, dpi=SMALL_DPI
    )
    named = {one.name: one for one in requests(seed, DRAWS)}
    rows = of_datasheet(
        [disease_row(named[name], seed + n) for n, name in enumerate(DATASHEET_ROWS)]
    )
    draw_grid(out / "phantom_diseases.png", rows, tile_inches=DATASHEET_INCHES, dpi=SMALL_DPI)


def main() -> None:
    """Draw the gallery into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--datasheet", action="store_true", help="the pictures of the datasheet")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.datasheet:
        draw_datasheet(given.out, given.seed)
        return
    wanted = requests(given.seed, DRAWS)
    chosen = [one for one in wanted if given.only.lower() in one.name.lower()]
    for sheet, first in enumerate(range(0, len(chosen), ROWS_A_SHEET), start=1):
        part = chosen[first : first + ROWS_A_SHEET]
        rows = [disease_row(one, given.seed + first + n) for n, one in enumerate(part)]
        draw_grid(given.out / f"diseases-{sheet}.png", rows, tile_inches=TILE_INCHES)
        sys.stdout.write(f"diseases-{sheet}.png: {', '.join(one.name for one in part)}\n")
    if not given.only:
        draw_grid(given.out / "normal.png", normal_rows(given.seed), tile_inches=2.4)
        draw_grid(given.out / "numbering.png", numbering_rows(given.seed), tile_inches=2.4)


if __name__ == "__main__":
    main()
