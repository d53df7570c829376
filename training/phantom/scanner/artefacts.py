"""What goes wrong after the signal is formed: flow, ghosts, wrap, metal, uneven slices, grain."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter

from training.phantom.painting.tissues import Tissue
from training.phantom.scanner.conditions import Conditions
from training.phantom.scanner.kernels import add_shifted, turn

Signal = NDArray[np.float32]
Tissues = NDArray[np.uint8]

GRAIN_MM: Final = 1.6
"""Pitch of the correlated grain; real marrow decorrelates over 1.4 to 3 mm."""

GRAIN_EDGE: Final = 512
"""Edge of the periodic grain table, in pixels."""

METAL_REACH_MM: Final = 9.0
"""Length over which the field around metal dies out."""

SCREW_SHARE: Final = 8.0
"""Inverse of what a screw of 6 mm fills of the volume its field reaches: a full field around it."""

VOID_MM: Final = 1.2
VOID_SHARPNESS: Final = 2.5
"""Width of the soft edge of the void around metal, and how soon it is full."""

CEMENT_SUSCEPTIBILITY: Final = 0.01
"""Of bone cement (its contrast agent), against metal."""


def add_grain(
    signal: Signal,
    pixel_mm: float,
    acquired_mm: float,
    strength: float,
    rng: np.random.Generator,
) -> None:
    """Multiply by correlated grain around 1: a window of a fixed table, another in every slice.

    Args:
        signal: (slice, row, column); changed in place.
        pixel_mm: Its pitch in plane.
        acquired_mm: True resolution of the scan, beyond which it shows no grain.
        strength: Standard deviation.
        rng: Chooses the windows.
    """
    if strength == 0.0:
        return
    table = _grain_table(max(1, round(2.0 * max(GRAIN_MM, acquired_mm) / pixel_mm)))
    rows, columns = signal.shape[1:]
    for plane in signal:
        down, right = rng.integers(0, GRAIN_EDGE, 2)
        if rows <= GRAIN_EDGE and columns <= GRAIN_EDGE:
            window = table[down : down + rows, right : right + columns]
        else:
            window = np.take(
                np.take(table, np.arange(down, down + rows) % GRAIN_EDGE, axis=0),
                np.arange(right, right + columns) % GRAIN_EDGE,
                axis=1,
            )
        np.multiply(plane, 1.0 + np.float32(strength) * window, out=plane)


@cache
def _grain_table(half_pixels: int) -> Signal:
    """Periodic grain of unit variance, its corner repeated so that any window can be cut."""
    rng = np.random.default_rng(40961)
    white = rng.standard_normal((GRAIN_EDGE, GRAIN_EDGE))
    smooth = gaussian_filter(white, 0.4 * half_pixels / 2.0 + 0.1, mode="wrap")
    table = np.tile((smooth / smooth.std()).astype(np.float32), (2, 2))
    table.setflags(write=False)
    return table


def darken_flowing_csf(
    signal: Signal, csf: NDArray[np.bool_], strength: float, rng: np.random.Generator
) -> None:
    """Flow voids in CSF: smooth dark patches along the canal, different in every slice.

    Args:
        signal: (slice, row, column), changed in place.
        csf: The same shape: CSF and what floats in it.
        strength: Largest part of the signal that is lost.
        rng: Source.
    """
    columns = np.flatnonzero(csf.any(axis=(0, 1)))
    if strength == 0.0 or not columns.size:
        return
    box = slice(max(0, int(columns[0]) - 1), int(columns[-1]) + 2)
    # Voxels at the rim hold CSF too, so the mask must fade out or they would stay bright.
    share = uniform_filter(csf[:, :, box].astype(np.float32), (0, 3, 3))
    knots = rng.uniform(0.0, strength, (signal.shape[0], 8))
    along = np.linspace(0.0, 7.0, signal.shape[1])
    darker = np.stack([np.interp(along, np.arange(8), row) for row in knots])
    signal[:, :, box] *= 1.0 - darker.astype(np.float32)[:, :, None] * share


def add_ghosts(
    signal: Signal,
    tissue: Tissues,
    conditions: Conditions,
    phase_axis: int,
    reference: float,
    rng: np.random.Generator,
) -> None:
    """Faint displaced copies of what pulses or breathes, along phase, fading with distance."""
    sources: list[tuple[float, Signal, int]] = []
    if conditions.csf_ghost > 0.0:
        box = _columns_of(tissue == Tissue.CSF)
        csf = np.where(tissue[:, :, box] == Tissue.CSF, signal[:, :, box], np.float32(0.0))
        sources.append((conditions.csf_ghost, csf, box.start))
    if conditions.breathing_ghost > 0.0:
        reach = 0.35 * signal.shape[2]
        fade = (1.0 - np.arange(int(np.ceil(reach))) / reach).astype(np.float32)
        sources.append((conditions.breathing_ghost, signal[:, :, : len(fade)] * fade, 0))
    if conditions.vessel_ghost > 0.0:
        box = _columns_of(tissue == Tissue.FLOWING_BLOOD)
        vessel = (tissue[:, :, box] == Tissue.FLOWING_BLOOD) * np.float32(reference)
        sources.append((conditions.vessel_ghost, vessel, box.start))
    for strength, source, first in sources:
        distance = int(rng.integers(12, max(13, signal.shape[phase_axis] // 3)))
        for order in (-2, -1, 1, 2):
            share = float(strength * rng.choice((-1.0, 1.0)) / abs(order) ** 2)
            away = order * distance % signal.shape[phase_axis]
            add_shifted(signal, source, first, away, phase_axis == 1, share)


def _columns_of(where: NDArray[np.bool_]) -> slice:
    """The columns from the first to the last that has any."""
    hits = np.flatnonzero(where.any(axis=(0, 1)))
    return slice(int(hits[0]), int(hits[-1]) + 1) if hits.size else slice(0, 0)


def wrap_around(signal: Signal, strength: float, phase_axis: int) -> None:
    """Fold in, at both ends of phase, what lies just beyond the other end.

    That is much like what lies just inside it, which is what is folded.
    """
    if strength == 0.0:
        return
    along = np.moveaxis(signal, phase_axis, 0)
    reach = max(2, len(along) // 8)
    fade = np.linspace(strength, 0.0, reach, dtype=np.float32)[:, None, None]
    top, bottom = along[:reach].copy(), along[-reach:].copy()
    # Beyond the top at distance x looks like x below the top, and shows at x above the bottom.
    along[-reach:] += (fade * top)[::-1]
    along[:reach] += fade * bottom[::-1]


def turned(signal: Signal, degrees: float) -> Signal:
    """The slices turned about their middle: the patient has moved, the header has not."""
    if abs(degrees) < 0.1:
        return signal
    out = np.empty_like(signal)
    turn(signal, float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))), out)
    return out


def distort_by_metal(
    signal: Signal,
    tissue: Tissues,
    conditions: Conditions,
    spacing_mm: tuple[float, float, float],
    readout_axis: int,
) -> Signal:
    """Void, displacement and pile-up along the readout around metal and, a little, cement.

    The field is that of a cloud of dipoles along the magnet: positive at its ends, negative beside.
    Signal lands where the field sends it, brighter where neighbours land together.
    """
    metal, cement = tissue == Tissue.METAL, tissue == Tissue.CEMENT
    if conditions.metal == 0.0 or not (metal.any() or cement.any()):
        return signal
    source = metal + np.float32(CEMENT_SUSCEPTIBILITY) * cement
    box = _around(source, spacing_mm)
    part, inner = source[box], signal[box]
    sigma = [METAL_REACH_MM / 2.0 / mm for mm in spacing_mm]
    ends = gaussian_filter(part, sigma, order=(0, 2, 0)) * (sigma[1] ** 2)
    field = np.clip(SCREW_SHARE * (0.3 * gaussian_filter(part, sigma) - ends), -1.0, 1.0)
    displaced_px = conditions.metal * field / spacing_mm[readout_axis]
    stretch = np.gradient(displaced_px, axis=readout_axis)
    at = [axis.astype(np.float32) for axis in np.indices(inner.shape, dtype=np.float32)]
    at[readout_axis] = at[readout_axis] + displaced_px
    moved = map_coordinates(inner, at, order=1, mode="nearest")
    moved *= np.clip(1.0 + stretch, 0.0, 3.0)
    steep = np.hypot(*np.gradient(displaced_px * spacing_mm[readout_axis], axis=(1, 2)))
    moved *= np.exp(-((steep / 1.2) ** 2)).astype(np.float32)
    # Metal itself has no signal, and right beside it the field is too uneven for any.
    core = gaussian_filter(metal[box].astype(np.float32), [VOID_MM / mm for mm in spacing_mm])
    moved *= np.clip(1.0 - VOID_SHARPNESS * core, 0.0, 1.0)
    out = signal.copy()
    out[box] = moved
    return out


def slice_gains(conditions: Conditions, count: int, rng: np.random.Generator) -> Signal:
    """(slices, 1, 1) gains: odd and even slices see each other's pulses unequally."""
    gains = rng.normal(1.0, conditions.slice_gain, count)
    gains *= 1.0 - conditions.cross_talk * (np.arange(count) % 2)
    return gains.astype(np.float32)[:, None, None]


def _around(source: Signal, spacing_mm: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """Box that holds the source and everything its field reaches."""
    margin = [int(np.ceil(2.5 * METAL_REACH_MM / mm)) for mm in spacing_mm]
    ranges = []
    for axis, reach in enumerate(margin):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero((source > 0).any(axis=others))
        low, high = max(0, hits[0] - reach), min(source.shape[axis], hits[-1] + reach + 1)
        ranges.append(slice(int(low), int(high)))
    return ranges[0], ranges[1], ranges[2]
