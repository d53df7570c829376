"""The ruler for signals: tissue ratios, texture, shading and noise of an image with bodies.

Everything is found from the outlines of the bodies alone, by boxes and percentiles, because that
is all that the measured real volumes have; so synthetic and real images are measured alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_erosion,
    convolve,
    distance_transform_edt,
    find_objects,
    map_coordinates,
)

from training.realism.specimens import Specimen

Points = NDArray[np.float64]
Values = NDArray[np.float32]

SLAB_MM: Final = 5.0
"""Half-thickness of the mid-sagittal slab that boxes are taken from."""

INNER_MM: Final = 2.5
"""Marrow is measured this far inside a body's outline, away from cortex and blur."""

CANAL_MM: Final = (4.0, 14.0)
"""Box of the canal, behind the posterior wall."""

MUSCLE_BACK_MM: Final = (34.0, 54.0)
MUSCLE_SIDE_MM: Final = (13.0, 25.0)
"""Box of the paraspinal muscle, behind the posterior wall and beside the midline."""

FAT_BELOW_SKIN_MM: Final = (3.0, 10.0)
FAT_PERCENTILE: Final = 70
"""Over the loins fat can be thinner than the depth looked at, so not the median. Set so that the
ruler gives the published figures on real scans of which they are known."""

AIR_SHARE: Final = 0.4
"""Part of the marrow signal below which a voxel behind the back counts as air."""

LAPLACIAN: Final = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
"""Kernel of the noise estimator of Immerkaer 1996."""

INTENSITY_ROWS: Final = (
    "disc",
    "disc p90",
    "canal p75",
    "canal p90",
    "muscle p35",
    "muscle median",
    "dorsal fat",
    "in-body CV",
    "flat CV",
    "AP gradient",
    "between-body CV",
    "marrow ACF mm",
    "noise",
)
"""What `measure_intensities` gives: ratios to the median marrow, and the figures named so.

The flat CV is what is left of the in-body CV after a log-linear field is taken off each body; the
AP gradient is log signal per cm towards the back."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a body lies, in mm along the array's axes (slice, row, column).

    Attributes:
        index: In the body map.
        centre: (3,).
        down, back: (2,) unit vectors in the (row, column) plane, along the spine and to the back.
        half_depth, half_height: Along them, mm.
    """

    index: int
    centre: Points
    down: Points
    back: Points
    half_depth: float
    half_height: float


def places(specimen: Specimen) -> list[Place]:
    """The specimen's whole bodies in place, cranial to caudal."""
    pitch = np.array(specimen.volume.spacing.mm)
    voxels = {i: np.argwhere(specimen.body == i) * pitch for i in specimen.levels}
    order = sorted((v.mean(axis=0)[1], i) for i, v in voxels.items() if len(v) > 20)
    centres = {i: voxels[i].mean(axis=0) for _, i in order}
    out = []
    for n, (_, i) in enumerate(order):
        above = centres[order[max(n - 1, 0)][1]]
        below = centres[order[min(n + 1, len(order) - 1)][1]]
        step = (below - above)[1:]
        down = step / max(float(np.linalg.norm(step)), 1e-6) if len(order) > 1 else np.array([1, 0])
        back = np.array([-down[1], down[0]])
        near = voxels[i][np.abs(voxels[i][:, 0] - centres[i][0]) <= SLAB_MM]
        flat = near[:, 1:] - centres[i][1:]
        depth, height = (np.ptp(np.percentile(flat @ axis, (2, 98))) for axis in (back, down))
        out.append(Place(i, centres[i], down, back, 0.5 * float(depth), 0.5 * float(height)))
    return out


def inner_marrow(specimen: Specimen) -> NDArray[np.uint8]:
    """Body map with each body cut back in its slices by `INNER_MM`."""
    out = np.zeros_like(specimen.body)
    spacing = specimen.volume.spacing
    boxes = find_objects(specimen.body)
    for index in specimen.levels:
        box = boxes[index - 1]
        for mask, inside in zip(specimen.body[box] == index, out[box], strict=True):
            depth = distance_transform_edt(
                np.pad(mask, 1), sampling=(spacing.row_mm, spacing.column_mm)
            )[1:-1, 1:-1]
            inside[depth > INNER_MM] = index
    return out


def measure_intensities(specimen: Specimen) -> dict[str, float]:
    """The figures of `INTENSITY_ROWS`; NaN where the image does not show the tissue.

    Raises:
        ValueError: The specimen has fewer than two whole bodies.
    """
    where = places(specimen)
    if len(where) < 2:
        raise ValueError("fewer than two whole bodies in the image")
    inner = inner_marrow(specimen)
    marrow = float(np.median(specimen.volume.array[inner > 0]))
    per_body = [_texture(specimen, inner, place) for place in where]
    medians = np.array([row["median"] for row in per_body])
    nucleus = [_disc(specimen, upper, lower) for upper, lower in pairwise(where)]
    canal = np.concatenate([_canal(specimen, place) for place in where])
    muscle = np.concatenate([_muscle(specimen, place) for place in where])
    found = {
        "disc": _median([float(np.median(v)) for v in nucleus if v.size]) / marrow,
        "disc p90": _median([float(np.percentile(v, 90)) for v in nucleus if v.size]) / marrow,
        "canal p75": _percentile(canal, 75) / marrow,
        "canal p90": _percentile(canal, 90) / marrow,
        "muscle p35": _percentile(muscle, 35) / marrow,
        "muscle median": _percentile(muscle, 50) / marrow,
        "dorsal fat": _percentile(_dorsal_fat(specimen, where, marrow), FAT_PERCENTILE) / marrow,
        "in-body CV": _mean([row["cv"] for row in per_body]),
        "flat CV": _mean([row["flat_cv"] for row in per_body]),
        "AP gradient": _median([row["gradient"] for row in per_body]),
        "between-body CV": float(medians.std() / medians.mean()),
        "marrow ACF mm": _median([row["acf"] for row in per_body]),
        "noise": _laplacian_noise(specimen, inner) / marrow,
    }
    return {name: found[name] for name in INTENSITY_ROWS}


def sample(specimen: Specimen, points: Points) -> Values:
    """Signal at (…, 3) places in mm (slice, row, column); points outside the image are dropped."""
    at = points.reshape(-1, 3) / np.array(specimen.volume.spacing.mm)
    inside = ((at >= 0) & (at <= np.array(specimen.volume.shape) - 1)).all(axis=1)
    return np.asarray(map_coordinates(specimen.volume.array, at[inside].T, order=1))


def _slab(specimen: Specimen, middle: float, low: float, high: float) -> Points:
    """Places in mm of the slices at `low`..`high` from the middle, at least the nearest one."""
    pitch = specimen.volume.spacing.slice_mm
    offsets = np.arange(specimen.volume.shape[0]) * pitch - middle
    chosen = offsets[(offsets >= low) & (offsets <= high)]
    if not chosen.size:
        chosen = offsets[[int(np.abs(offsets - 0.5 * (low + high)).argmin())]]
    return np.asarray(chosen + middle)


def _box(slices: Points, origin: Points, down: Points, back: Points) -> Points:
    """Points (slice, row, column) of an in-plane lattice on several slices; mm.

    Args:
        slices: (n,) places of slices.
        origin: (2,) (row, column).
        down: (m, 2) steps from it.
        back: (l, 2) steps from it.
    """
    plane = (origin + down[:, None, :] + back[None, :, :]).reshape(-1, 2)
    depth = np.repeat(slices, len(plane))
    return np.column_stack([depth, np.tile(plane, (len(slices), 1))])


def _disc(specimen: Specimen, upper: Place, lower: Place) -> Values:
    """Signals in the middle of the gap between two bodies, over the middle of their depth."""
    gap = lower.centre - upper.centre
    if abs(gap[1]) > 2.2 * (upper.half_height + lower.half_height):
        return np.empty(0, np.float32)
    along = gap[1:] / np.linalg.norm(gap[1:])
    back = upper.back + lower.back
    back = back / np.linalg.norm(back)
    reach = 0.5 * (upper.half_depth + lower.half_depth)
    across = np.arange(-0.5 * reach, 0.5 * reach + 1e-6, 1.0)
    steps = np.arange(0.0, float(np.linalg.norm(gap[1:])), 0.5)
    slices = _slab(specimen, 0.5 * (upper.centre[0] + lower.centre[0]), -SLAB_MM, SLAB_MM)
    lattice = _box(slices, upper.centre[1:], steps[:, None] * along, across[:, None] * back)
    lattice = lattice.reshape(len(slices), len(steps), len(across), 3)
    at = np.rint(lattice / np.array(specimen.volume.spacing.mm)).astype(int)
    at = np.clip(at, 0, np.array(specimen.volume.shape) - 1)
    free = specimen.body[at[..., 0], at[..., 1], at[..., 2]] == 0
    first, count = free.argmax(axis=1), free.sum(axis=1)
    rank = np.arange(len(steps))[None, :, None] - first[:, None, :]
    middle = free & (rank >= 0.25 * count[:, None, :]) & (rank < 0.75 * count[:, None, :])
    return sample(specimen, lattice[middle])


def _canal(specimen: Specimen, place: Place) -> Values:
    slices = _slab(specimen, place.centre[0], -SLAB_MM, SLAB_MM)
    down = np.arange(-0.8, 0.81, 0.2)[:, None] * place.half_height * place.down
    back = (place.half_depth + np.arange(CANAL_MM[0], CANAL_MM[1], 1.0))[:, None] * place.back
    return sample(specimen, _box(slices, place.centre[1:], down, back))


def _muscle(specimen: Specimen, place: Place) -> Values:
    middle = place.centre[0]
    low, high = MUSCLE_SIDE_MM
    left = _slab(specimen, middle, low, high)
    slices = np.concatenate([left, _slab(specimen, middle, -high, -low)])
    down = np.arange(-0.8, 0.81, 0.2)[:, None] * place.half_height * place.down
    reach = np.arange(MUSCLE_BACK_MM[0], MUSCLE_BACK_MM[1], 1.5)
    back = (place.half_depth + reach)[:, None] * place.back
    return sample(specimen, _box(slices, place.centre[1:], down, back))


def _dorsal_fat(specimen: Specimen, where: list[Place], marrow: float) -> Values:
    """Signals 3-10 mm below the skin of the back in the mid-sagittal slab."""
    spacing = specimen.volume.spacing
    pitch = spacing.column_mm
    top, bottom = (place.centre[1] / spacing.row_mm for place in (where[0], where[-1]))
    middle = float(np.median([place.centre[0] for place in where]))
    rows = np.arange(int(top), int(bottom))
    slabs = np.rint(_slab(specimen, middle, -SLAB_MM, SLAB_MM) / spacing.slice_mm).astype(int)
    values = []
    for k in slabs:
        part = specimen.volume.array[k][rows]
        tissue = part > AIR_SHARE * marrow
        skin = tissue.shape[1] - 1 - tissue[:, ::-1].argmax(axis=1)
        below = np.arange(FAT_BELOW_SKIN_MM[0] / pitch, FAT_BELOW_SKIN_MM[1] / pitch, 1.0)
        at = np.rint(skin[:, None] - below[None, :]).astype(int)
        # Where tissue runs into the image's edge there is no skin to count from.
        usable = tissue.any(axis=1) & (skin < tissue.shape[1] - 2) & (at.min(axis=1) >= 0)
        values.append(np.take_along_axis(part[usable], at[usable], axis=1).ravel())
    return np.concatenate(values) if values else np.empty(0, np.float32)


def _texture(specimen: Specimen, inner: NDArray[np.uint8], place: Place) -> dict[str, float]:
    """Median, variation, antero-posterior slope and correlation length of one body's marrow."""
    spacing = specimen.volume.spacing
    values, depth, lengths = [], [], []
    for k in np.flatnonzero((inner == place.index).any(axis=(1, 2))):
        mask = inner[k] == place.index
        if mask.sum() < 30:
            continue
        signal = specimen.volume.array[k][mask].astype(np.float64)
        rows, columns = np.nonzero(mask)
        flat = np.column_stack([rows * spacing.row_mm, columns * spacing.column_mm])
        flat = flat - flat.mean(axis=0)
        values.append(signal)
        depth.append(np.column_stack([flat @ place.back, flat @ place.down]) / 10.0)
        lengths.append(_correlation_length(mask, flat, signal, spacing.row_mm))
    if not values:
        return dict.fromkeys(("median", "cv", "flat_cv", "gradient", "acf"), float("nan"))
    signal, where = np.concatenate(values), np.concatenate(depth)
    bright = signal > 0
    logs = np.log(signal[bright])
    design = np.column_stack([np.ones(len(logs)), where[bright]])
    fit = np.linalg.lstsq(design, logs, rcond=None)[0]
    flat = np.exp(logs - design @ fit)
    return {
        "median": float(np.median(signal)),
        "cv": float(signal.std() / signal.mean()),
        "flat_cv": float(flat.std() / flat.mean()),
        "gradient": float(fit[1]),
        "acf": _median(lengths),
    }


def _correlation_length(
    mask: NDArray[np.bool_], flat: Points, signal: Points, pitch: float
) -> float:
    """In-plane lag in mm at which the autocorrelation falls to 1/e, after a plane is taken off."""
    design = np.column_stack([np.ones(len(flat)), flat])
    rest = signal - design @ np.linalg.lstsq(design, signal, rcond=None)[0]
    rows, columns = np.nonzero(mask)
    mask = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    image = np.zeros(mask.shape)
    image[mask] = rest
    power = float(rest @ rest) / len(rest)
    if power <= 0:
        return float("nan")
    last = 1.0
    for lag in range(1, max(2, int(14.0 / pitch))):
        # The image is zero outside the mask, so that products need no masking.
        total = float((image[lag:] * image[:-lag]).sum())
        total += float((image[:, lag:] * image[:, :-lag]).sum())
        pairs = int((mask[lag:] & mask[:-lag]).sum() + (mask[:, lag:] & mask[:, :-lag]).sum())
        if pairs < 10:
            return float("nan")
        now = total / pairs / power
        if now < np.exp(-1.0):
            return float(pitch * (lag - (np.exp(-1.0) - now) / max(last - now, 1e-9)))
        last = now
    return float("nan")


def _laplacian_noise(specimen: Specimen, inner: NDArray[np.uint8]) -> float:
    """Standard deviation of fine noise inside the marrow (Immerkaer's estimator)."""
    values = []
    box = find_objects((inner > 0).astype(np.uint8))
    for marrow, signal in zip(inner[box[0]], specimen.volume.array[box[0]], strict=True):
        mask = binary_erosion(marrow > 0, np.ones((3, 3)))
        if mask.any():
            values.append(np.abs(convolve(signal, LAPLACIAN)[mask]))
    if not values:
        return float("nan")
    return float(np.sqrt(np.pi / 2) / 6.0 * np.concatenate(values).mean())


def _median(values: list[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.median(finite)) if finite else float("nan")


def _mean(values: list[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _percentile(values: Values, q: float) -> float:
    return float(np.percentile(values, q)) if values.size else float("nan")
