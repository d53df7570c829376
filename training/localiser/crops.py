"""Training crops: synthetic patients are drawn, scanned, prepared as in serving, and cut.

The image goes through `models.localiser.preprocess` itself, so that training and serving cannot
drift apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils.data import IterableDataset, get_worker_info

from models.geometry import to_index
from models.localiser.classes import Structure
from models.localiser.preprocess import (
    OFFSET_UNIT_MM,
    PIXEL_MM,
    WorkingGrid,
    network_image,
    prepare,
)
from training.localiser.outlines import asked_for
from training.phantom.draw import draw_image
from training.phantom.recipe import PhantomRecipe, load_recipe
from training.phantom.scanner.mix import AcquisitionMix
from training.phantom.scene import Scene

Crop = dict[str, torch.Tensor]
"""image (2, D, H, W) float32, structure (D, H, W) uint8, offsets (2, D, H, W) float32."""

PLACES: Final = {"lumbosacral": 0.45, "body": 0.45, "anywhere": 0.10}
"""Where crops are centred: the sacrum decides the names, so it is shown more often."""

_BODIES: Final = (Structure.BODY, Structure.SACRUM_S1, Structure.C2)


@dataclass(frozen=True, slots=True)
class CropSettings:
    """What a crop looks like.

    Attributes:
        slices, rows, columns: Its size on the working grid.
        per_volume: Crops cut from one scan.
        turned: Part of the crops that is turned and scaled.
        turn_degrees, scale: Largest turn, and largest change of size (a factor).
        ragged: Part of the crops in which an image edge is set inside the crop.
        spoilt: Part of the crops in which one slice is lost, blank, or noise.
        cut_through: Part of the crops that end within a body, S1 for choice: real images often end
            there, and what is left of S1 must still be told from a lumbar body.
        hidden: Part of the crops in which places are blurred beyond recognition: no body may be
            told by one sign alone, since real ones may look otherwise there.
    """

    slices: int = 12
    rows: int = 192
    columns: int = 160
    per_volume: int = 6
    turned: float = 0.4
    turn_degrees: float = 24.0
    scale: float = 1.15
    ragged: float = 0.3
    spoilt: float = 0.08
    cut_through: float = 0.35
    hidden: float = 0.5


@dataclass(frozen=True, slots=True)
class Scan:
    """A prepared scan with its truth, on the working grid.

    Attributes:
        image: (2, slices, rows, columns) float32, as the network sees it.
        structure: (slices, rows, columns) uint8.
        body: (slices, rows, columns) uint8; 0 or the body's index.
        centres: Body index to its centre (row, column) on this grid.
    """

    image: NDArray[np.float32]
    structure: NDArray[np.uint8]
    body: NDArray[np.uint8]
    centres: dict[int, NDArray[np.float64]]


def scan_scene(scene: Scene, rng: np.random.Generator, mix: AcquisitionMix) -> Scan:
    """Scan a patient with a random protocol and prepare it as serving would."""
    pitch = 1.0 if rng.random() < 0.85 else float(rng.uniform(0.7, 1.4))
    scanned = draw_image(scene, rng, in_plane_mm=pitch, mix=mix)
    grid, image = prepare(scanned.volume)
    structure, body = asked_for(scanned.structure, scanned.body, scanned.volume.role, scene.numbers)
    if grid.step != (1.0, 1.0, 1.0):
        structure, body = (_nearest(grid, truth) for truth in (structure, body))
    if rng.random() < 0.3:
        image = image ** np.float32(np.exp(rng.normal(0.0, 0.2)))
    rows, columns = image.shape[1:]
    seen = network_image(image)[0, :, :, :rows, :columns]
    centres = {
        index: to_index(grid.affine, scene.spine.bone(level).centre)[1:]
        for level, index in scene.numbers.items()
    }
    return Scan(seen, structure, body, centres)


def _nearest(grid: WorkingGrid, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring labels to the working grid."""
    at = [
        np.clip(np.rint(start + step * np.arange(n)), 0, limit - 1).astype(np.intp)
        for start, step, n, limit in zip(
            grid.start, grid.step, grid.shape, grid.sagittal_shape, strict=True
        )
    ]
    return truth[np.ix_(*at)]


def cut(scan: Scan, settings: CropSettings, rng: np.random.Generator) -> Crop | None:
    """Cut one random crop; None when the scan has too few slices."""
    depth = scan.structure.shape[0]
    if depth < settings.slices:
        return None
    first = int(rng.integers(0, depth - settings.slices + 1))
    slices = slice(first, first + settings.slices)
    to_scan = _placement(scan, settings, rng)
    shape = (settings.rows, settings.columns)
    turned = not np.array_equal(to_scan[:, :2], np.eye(2))
    order = 1 if turned else 0
    image = np.stack(
        [
            [_placed(layer, to_scan, shape, order) for layer in channel[slices]]
            for channel in scan.image
        ]
    )
    structure = np.stack([_placed(layer, to_scan, shape, 0) for layer in scan.structure[slices]])
    body = np.stack([_placed(layer, to_scan, shape, 0) for layer in scan.body[slices]])
    offsets = _offsets(body, scan.centres, to_scan)
    if rng.random() < settings.cut_through:
        _end_within_body(image, structure, offsets, rng)
    elif rng.random() < settings.ragged:
        _blank_beyond_edge(image, structure, offsets, rng)
    if rng.random() < settings.spoilt:
        _spoil_slice(image, rng)
    if rng.random() < settings.hidden:
        _hide_places(image, structure, rng)
    if rng.random() < 0.5:
        image, structure, offsets = image[:, ::-1], structure[::-1], offsets[:, ::-1]
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image, np.float32)),
        "structure": torch.from_numpy(np.ascontiguousarray(structure)),
        "offsets": torch.from_numpy(np.ascontiguousarray(offsets, np.float32)),
    }


def _placement(scan: Scan, settings: CropSettings, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3): crop (row, column, 1) to scan (row, column)."""
    rows, columns = scan.structure.shape[1:]
    shape = np.array([settings.rows, settings.columns])
    target = _target(scan, rng)
    room = np.array([rows, columns]) - shape
    corner = np.round(target - shape / 2 + rng.uniform(-0.35, 0.35, 2) * shape)
    # Mostly inside the image; a crop may hang over an edge a little, as padding does in serving.
    slack = rng.integers(0, 24, 2) * (rng.random(2) < 0.3)
    corner = np.clip(corner, np.minimum(0, room) - slack, np.maximum(0, room) + slack)
    matrix = np.eye(2)
    if rng.random() < settings.turned:
        angle = np.radians(rng.uniform(-1, 1) * settings.turn_degrees)
        size = np.exp(rng.uniform(-1, 1) * np.log(settings.scale))
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * size
    middle = shape / 2
    return np.column_stack([matrix, corner + middle - matrix @ middle])


def _target(scan: Scan, rng: np.random.Generator) -> NDArray[np.float64]:
    place = rng.choice(list(PLACES), p=list(PLACES.values()))
    wanted = {
        "lumbosacral": scan.structure == Structure.SACRUM_S1,
        "body": scan.body == rng.choice(list(scan.centres)),
    }.get(str(place))
    if wanted is None or not wanted.any():
        wanted = scan.body > 0
    if not wanted.any():
        return np.array(scan.structure.shape[1:]) * rng.uniform(0.2, 0.8, 2)
    return np.asarray(np.argwhere(wanted.any(axis=0)).mean(axis=0))


def _placed(
    layer: NDArray[np.generic], to_scan: NDArray[np.float64], shape: tuple[int, int], order: int
) -> NDArray[np.generic]:
    """One slice seen through the crop window; zero outside the scan."""
    if order == 0 and np.array_equal(to_scan[:, :2], np.eye(2)):
        return _window(layer, (int(to_scan[0, 2]), int(to_scan[1, 2])), shape)
    placed: NDArray[np.generic] = ndimage.affine_transform(
        layer, to_scan[:, :2], to_scan[:, 2], output_shape=shape, order=order
    )
    return placed


def _window(
    layer: NDArray[np.generic], corner: tuple[int, int], shape: tuple[int, int]
) -> NDArray[np.generic]:
    """A plain window, zero where it hangs over."""
    out = np.zeros(shape, layer.dtype)
    spans = []
    for start, size, limit in zip(corner, shape, layer.shape, strict=True):
        low, high = max(start, 0), min(start + size, limit)
        spans.append((slice(low, max(low, high)), slice(low - start, max(low, high) - start)))
    out[spans[0][1], spans[1][1]] = layer[spans[0][0], spans[1][0]]
    return out


def _offsets(
    body: NDArray[np.generic], centres: dict[int, NDArray[np.float64]], to_scan: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(2, D, H, W): from each voxel of a body to its centre, in units of `OFFSET_UNIT_MM`."""
    rows, columns = (np.arange(n, dtype=np.float32) for n in body.shape[1:])
    offsets = np.zeros((2, *body.shape), np.float32)
    to_crop = np.linalg.inv(to_scan[:, :2])
    for index, centre in centres.items():
        mask = body == index
        if mask.any():
            row, column = to_crop @ (centre - to_scan[:, 2])
            np.copyto(offsets[0], np.float32(row) - rows[:, None], where=mask)
            np.copyto(offsets[1], np.float32(column) - columns[None, :], where=mask)
    return offsets * np.float32(PIXEL_MM / OFFSET_UNIT_MM)


def _blank_beyond_edge(
    image: NDArray[np.float32],
    structure: NDArray[np.generic],
    offsets: NDArray[np.float32],
    rng: np.random.Generator,
) -> None:
    """Set an image edge inside the crop: what lies beyond is blank, as in padding."""
    rows, columns = structure.shape[1:]
    which = rng.choice(["bottom", "top", "back", "front"], p=[0.5, 0.25, 0.15, 0.1])
    depth = float(rng.uniform(0.03, 0.35))
    beyond = {
        "bottom": (..., slice(rows - int(depth * rows), None), slice(None)),
        "top": (..., slice(0, int(depth * rows)), slice(None)),
        "back": (..., slice(None), slice(columns - int(0.5 * depth * columns), None)),
        "front": (..., slice(None), slice(0, int(depth * columns))),
    }[str(which)]
    for array in (image, structure, offsets):
        array[beyond] = 0


def _end_within_body(
    image: NDArray[np.float32],
    structure: NDArray[np.generic],
    offsets: NDArray[np.float32],
    rng: np.random.Generator,
) -> None:
    """Let the image end at a row that runs through S1, or through any body.

    Through any where S1 is not in view, and one time in three.
    """
    rows = structure.shape[1]
    held = np.flatnonzero((structure == Structure.SACRUM_S1).any(axis=(0, 2)))
    sacral = len(held) > 0 and rng.random() < 2 / 3
    if not sacral:
        held = np.flatnonzero(np.isin(structure, _BODIES).any(axis=(0, 2)))
    if not len(held):
        return
    edge = int(held[0] + rng.uniform(0.15, 0.95) * (held[-1] + 1 - held[0]))
    below = bool(sacral or edge > rows / 2)
    beyond = (..., slice(edge, None) if below else slice(0, edge), slice(None))
    for array in (image, structure, offsets):
        array[beyond] = 0


def _spoil_slice(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """One slice is blank, noise, or its neighbour once more, as repairs leave it."""
    at = int(rng.integers(1, image.shape[1]))
    kind = rng.integers(3)
    if kind == 0:
        image[:, at] = 0.0
    elif kind == 1:
        spread = image.std() + 1e-3
        image[:, at] = rng.normal(image.mean(), spread, image[:, at].shape)
    else:
        image[:, at] = image[:, at - 1]


def _hide_places(
    image: NDArray[np.float32], structure: NDArray[np.generic], rng: np.random.Generator
) -> None:
    """Blur up to three boxes beyond recognition, in all slices or some; near S1 for choice.

    The truth stays: what is hidden is to be told by what is around it, what is not by all the rest.
    """
    slices, rows, columns = structure.shape
    sacral = np.argwhere(structure == Structure.SACRUM_S1)
    for _ in range(int(rng.integers(1, 4))):
        if len(sacral) and rng.random() < 0.6:
            middle = sacral[rng.integers(len(sacral))][1:] + rng.uniform(-40.0, 40.0, 2)
        else:
            middle = rng.uniform(0.0, 1.0, 2) * (rows, columns)
        low = np.clip(middle - 0.5 * rng.uniform(12.0, 44.0, 2), 0, (rows - 2, columns - 2))
        high = np.minimum(low + rng.uniform(12.0, 44.0, 2), (rows, columns))
        first = 0 if rng.random() < 0.7 else int(rng.integers(0, slices - 2))
        last = slices if first == 0 else int(rng.integers(first + 2, slices + 1))
        box = (
            slice(None),
            slice(first, last),
            slice(int(low[0]), int(np.ceil(high[0]))),
            slice(int(low[1]), int(np.ceil(high[1]))),
        )
        hidden = ndimage.gaussian_filter(image[box], (0.0, 0.0, *rng.uniform(4.0, 16.0, 2)))
        # What lies beyond the image stays blank.
        image[box] = np.where(image[box] > 0.0, hidden, image[box])


def whole_images(count: int = 16, recipe: str = "train") -> list[dict[str, NDArray[np.float32]]]:
    """Images as the network meets them in serving, of patients of a recipe.

    Args:
        count: Patients, one image each.
        recipe: Name of it.

    Returns:
        "image" (1, 2, slices, rows, columns), padded; the same in every call.
    """
    drawn_from = load_recipe(recipe)
    shown = []
    for number in range(count):
        rng = np.random.default_rng([number, count])
        scene = drawn_from.scene(number)
        _, image = prepare(draw_image(scene, rng, mix=drawn_from.acquisition).volume)
        shown.append({"image": network_image(image)})
    return shown


class CropStream(IterableDataset[Crop]):
    """Crops without end, every patient drawn anew; nothing is kept on disk."""

    def __init__(self, recipes: Sequence[PhantomRecipe], settings: CropSettings, seed: int) -> None:
        """Draw from `recipes`.

        Args:
            recipes: What patients and scans are drawn from, equally often from each.
            settings: What a crop looks like.
            seed: Every worker draws from its own stream of it.
        """
        self._recipes = tuple(recipes)
        self._settings = settings
        self._seed = seed

    def __iter__(self) -> Iterator[Crop]:
        worker = get_worker_info()
        rng = np.random.default_rng([self._seed, worker.id if worker else 0])
        shelf: list[Crop] = []
        while True:
            recipe = self._recipes[int(rng.integers(len(self._recipes)))]
            scene = recipe.scene(int(rng.integers(recipe.seeds)))
            scan = scan_scene(scene, rng, recipe.acquisition)
            cuts = (cut(scan, self._settings, rng) for _ in range(self._settings.per_volume))
            shelf.extend(crop for crop in cuts if crop is not None)
            # A small shelf keeps crops of one scan out of one batch.
            while len(shelf) > 3 * self._settings.per_volume:
                yield shelf.pop(int(rng.integers(len(shelf))))
