"""Scan a synthetic spine: tissue maps in, an MR volume with a scanner's faults out.

Everything heavy is a table lookup or a short sum at the acquired resolution, because training draws
several volumes a second from here. The order is the scanner's: signal, partial volume and point
spread, metal, flow, receive field, ghosts, complex noise, magnitude, stored values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.localiser.classes import Structure
from models.volume import Role, Volume
from training.phantom.painting.tissues import Tissue, TissueGrid
from training.phantom.scanner import artefacts
from training.phantom.scanner.conditions import Conditions, draw_conditions
from training.phantom.scanner.fields import (
    band_map,
    coil_map,
    inversion_map,
    noise_map,
    smooth_volume,
    stretched_over,
)
from training.phantom.scanner.kernels import magnitude, mix_slices, pick
from training.phantom.scanner.physics import DixonPart, SignalTable, Suppression, signal_table
from training.phantom.scanner.placement import StackTarget, place_slices
from training.phantom.scanner.protocols import Protocol
from training.phantom.scanner.sampling import (
    Band,
    Sampler,
    SliceGeometry,
    axis_positions,
    combined,
    filtered,
    nearest,
    point_spread,
    slice_profile,
)
from training.phantom.scanner.static_field import farthest, out_of_band, static_field_map
from training.phantom.scanner.truth import fraction_on, truth_on

__all__ = [
    "LabelledVolume",
    "StackTarget",
    "acquire",
    "fraction_on",
    "place_slices",
    "truth_on",
]

FAILED_SUPPRESSION: Final = 0.7
"""Part of the fat signal that comes back, and of water's that is lost, where a pulse meant for fat
works off its band."""

INVERTED_WATER: Final = 2.5
"""By how much the water signal of a short-TI inversion falls for each part the pulse falls short:
2 exp(-TI/T1) over the signal, nearly the same for marrow, muscle and disc."""

PROFILE_EDGE: Final = 0.10
"""Softness of a slice's edges, as a part of its thickness."""

USUAL_SPINE_CM: Final = 7.5
"""Depth of vertebral bodies below the skin of the back."""


Gains = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Of water and of fat over the image."""


@dataclass(frozen=True, slots=True)
class LabelledVolume:
    """A volume with its truth on the same grid.

    Attributes:
        volume: As acquired.
        structure: (slice, row, column) uint8 `Structure` values.
        body: (slice, row, column) uint8; 0 or the body's index.
        protocol: What the volume was acquired with.
    """

    volume: Volume
    structure: NDArray[np.uint8]
    body: NDArray[np.uint8]
    protocol: Protocol


@dataclass(frozen=True, slots=True)
class _Frame:
    """Fine-grid positions of acquired voxels, the patient's own shift included."""

    slices: NDArray[np.float64]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    pitch_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    thickness_mm: float


def acquire(  # one scan: what, how, chance, where, under which conditions, with which contrast
    grid: TissueGrid,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    slices: SliceGeometry | None = None,
    conditions: Conditions | None = None,
    table: SignalTable | None = None,
) -> Volume:
    """Scan the grid.

    Args:
        grid: Tissue maps.
        protocol: What the scanner is told to do.
        rng: Noise and whatever of the rest is not given.
        slices: Where; `place_slices` by default. Its axes must follow the grid's.
        conditions: Nuisance; drawn by default. Give the same to images of one acquisition.
        table: Signals; those of the protocol's sequence by default.

    Returns:
        Volume of the protocol's role, in sagittal order, whole numbers in 0..4095.

    Raises:
        GeometryError: The slices do not follow the grid's axes.
    """
    slices = slices or place_slices(grid, protocol, rng)
    conditions = conditions or draw_conditions(protocol, rng)
    table = (table or signal_table(protocol.sequence)).scaled(conditions.tissue_gain)
    frame = _frame(grid, slices, conditions)
    tissue = _tissue_at(grid, frame)
    gains = _compartment_maps(conditions, protocol, table, tissue, frame.spacing_mm)
    signal = _sample_signal(grid, frame, protocol, conditions, table, gains)
    reference = _reference_signal(table, signal)
    signal = artefacts.distort_by_metal(
        signal, tissue, conditions, frame.spacing_mm, 3 - protocol.phase_axis
    )
    signal = artefacts.turned(signal, conditions.turn_deg)
    resolution = float(np.mean(protocol.acquired_mm))
    artefacts.add_grain(signal, frame.spacing_mm[2], resolution, conditions.texture, rng)
    floating = (tissue == Tissue.CSF) | (tissue == Tissue.NERVE)
    artefacts.darken_flowing_csf(signal, floating, conditions.csf_void, rng)
    depth = _depth_cm(grid, frame)
    coil = coil_map(conditions, _row_cm(frame), depth, _spine_cm(grid, frame, depth))
    signal *= smooth_volume(conditions.field_modes, slices.shape)
    signal *= _gain_map(conditions, coil, grid, frame)
    signal *= artefacts.slice_gains(conditions, len(signal), rng)
    artefacts.add_ghosts(signal, tissue, conditions, protocol.phase_axis, reference, rng)
    artefacts.wrap_around(signal, conditions.wrap, protocol.phase_axis)
    level = noise_map(conditions, coil, protocol.acceleration, protocol.phase_axis)
    level *= np.float32(reference / protocol.snr)
    noise = _unit_noise(frame, slices.shape, protocol, rng)
    roll = (slices.shape[1] // 2, slices.shape[2] // 3)
    magnitude(signal, noise, level, conditions.scale / reference, roll)
    return Volume(array=signal, affine=slices.affine.copy(), role=protocol.role)


def with_spacing(protocol: Protocol, in_plane_mm: float | None, slice_mm: float | None) -> Protocol:
    """A protocol at another pitch; thickness and gap keep their ratio, None keeps its own."""
    if in_plane_mm is not None:
        shift = protocol.shift_px * protocol.pixel_mm / in_plane_mm
        protocol = replace(protocol, pixel_mm=in_plane_mm, shift_px=shift)
    if slice_mm is not None:
        share = slice_mm / protocol.pitch_mm
        thickness, gap = protocol.thickness_mm * share, protocol.gap_mm * share
        protocol = replace(protocol, thickness_mm=thickness, gap_mm=gap)
    return protocol


def _frame(grid: TissueGrid, slices: SliceGeometry, conditions: Conditions) -> _Frame:
    pitch = np.linalg.norm(grid.affine[:3, :3], axis=0)
    spacing = np.linalg.norm(slices.affine[:3, :3], axis=0)
    positions = axis_positions(grid.affine, slices.affine, slices.shape)
    moved = [
        centres - shift / step
        for centres, shift, step in zip(positions, conditions.shift_mm, pitch, strict=True)
    ]
    steps = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return _Frame(moved[0], moved[1], moved[2], pitch, steps, slices.thickness_mm)


def _sample_signal(
    grid: TissueGrid,
    frame: _Frame,
    protocol: Protocol,
    conditions: Conditions,
    table: SignalTable,
    gains: Gains | None,
) -> NDArray[np.float32]:
    """Signed signal at the acquired voxels; fat is shifted, and gains vary, where that happens."""
    shift = protocol.shift_px if abs(protocol.shift_px) >= 0.3 else 0.0
    through = slice_profile(
        frame.slices,
        len(grid.tissue),
        frame.thickness_mm / float(frame.pitch_mm[0]),
        PROFILE_EDGE,
    )
    plain = _in_plane(grid, frame, through, protocol, conditions, 0.0)
    if gains is None and (shift == 0.0 or abs(table.fat_gain) < 0.05):
        return plain.in_plane(_mixed(grid, table.combined[None], through)[0])
    shifted = _in_plane(grid, frame, through, protocol, conditions, shift) if shift else plain
    thick = _mixed(grid, np.stack([table.water, table.fat]), through)
    water, fat = plain.in_plane(thick[0]), shifted.in_plane(thick[1])
    if gains is None:
        water *= np.float32(table.water_gain)
        fat *= np.float32(table.fat_gain)
    else:
        water *= gains[0]
        fat *= gains[1]
    water += fat
    return water


def _compartment_maps(
    conditions: Conditions,
    protocol: Protocol,
    table: SignalTable,
    tissue: NDArray[np.uint8],
    spacing_mm: tuple[float, float, float],
) -> Gains | None:
    """Gains of water and of fat, (slices, rows, columns) or less; None when even everywhere."""
    sequence = protocol.sequence
    physical = protocol.role is not Role.OTHER or sequence.dixon_part is DixonPart.OUT_OF_PHASE
    if not physical:
        return None
    spectral = sequence.suppression in (Suppression.CHESS, Suppression.SPAIR)
    if spectral and conditions.static_field is not None:
        ppm = static_field_map(conditions.static_field, tissue, spacing_mm)
        missed, hit = out_of_band(ppm, conditions.static_field.band_ppm)
        back = max(FAILED_SUPPRESSION - table.fat_gain, 0.0)
        fat = np.float32(table.fat_gain) + np.float32(back) * missed
        water = np.float32(table.water_gain) * (1.0 - np.float32(FAILED_SUPPRESSION) * hit)
        return stretched_over(water, tissue.shape), stretched_over(fat, tissue.shape)
    if conditions.inversion_loss > 0.0 or conditions.inversion_modes is not None:
        loss = inversion_map(conditions, *tissue.shape[1:])
        left = 2.0 * np.float32(np.exp(-(sequence.inversion_ms or 0.0) / sequence.fat_t1_ms))
        return (
            np.float32(table.water_gain) * (1.0 - np.float32(INVERTED_WATER) * loss),
            np.float32(table.fat_gain) + left * loss,
        )
    if sequence.dixon_part in (DixonPart.WATER, DixonPart.FAT) and conditions.swapped > 0.0:
        share = _swapped_share(conditions, tissue, spacing_mm)
        exchanged = share * np.float32(table.fat_gain - table.water_gain)
        return np.float32(table.water_gain) + exchanged, np.float32(table.fat_gain) - exchanged
    return None


def _swapped_share(
    conditions: Conditions, tissue: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Where a Dixon reconstruction has water and fat the wrong way round, 0 to 1."""
    if conditions.swapped >= 1.0 or conditions.static_field is None:
        # In an even field no part is farther off than another: all of it or none.
        return np.full((1, 1, 1), conditions.swapped >= 1.0, dtype=np.float32)
    ppm = static_field_map(conditions.static_field, tissue, spacing_mm)
    places = [
        np.rint(np.linspace(0, count - 1, few)).astype(np.int64)
        for count, few in zip(tissue.shape, ppm.shape, strict=True)
    ]
    inside = tissue[np.ix_(*places)] != Tissue.AIR
    return stretched_over(farthest(ppm, inside, conditions.swapped), tissue.shape)


def _mixed(grid: TissueGrid, tables: NDArray[np.float32], through: Band) -> NDArray[np.float32]:
    """Signals (signal, slice, row, column) of every slice on the fine rows and columns."""
    shape = (len(tables), len(through.start), *grid.tissue.shape[1:])
    out = np.zeros(shape, dtype=np.float32)
    # One memory layout: the kernels are compiled once and run along memory.
    tissue, fat, water = (
        np.ascontiguousarray(part) for part in (grid.tissue, grid.fat_percent, grid.free_water)
    )
    tables = np.ascontiguousarray(tables)
    mix_slices((tissue, fat, water), tables, through.start, through.weights, out)
    return out


def _in_plane(  # what the two in-plane bands are made of
    grid: TissueGrid,
    frame: _Frame,
    through: Band,
    protocol: Protocol,
    conditions: Conditions,
    shift_px: float,
) -> Sampler:
    bands = []
    for axis, positions in ((1, frame.rows), (2, frame.columns)):
        pitch, pixel = float(frame.pitch_mm[axis]), frame.spacing_mm[axis]
        shift = 0.0 if axis == protocol.phase_axis else shift_px * pixel / pitch
        resolution = protocol.acquired_mm[axis - 1] / pitch
        count = grid.tissue.shape[axis]
        band = point_spread(positions + shift, count, resolution, conditions.window)
        if axis == protocol.phase_axis:
            band = _blurred(band, conditions.blur_mm / pixel)
        bands.append(filtered(band, protocol.filter_strength))
    return Sampler(through, bands[0], bands[1])


def _blurred(band: Band, pixels: float) -> Band:
    """A band smeared by motion with a standard deviation in pixels: two half-way stations."""
    if pixels < 0.15:
        return band
    step = max(1, round(pixels))
    away = min(pixels**2 / step**2 / 2.0, 0.45)
    return combined(band, {-step: away, 0: 1.0 - 2.0 * away, step: away})


def _reference_signal(table: SignalTable, signal: NDArray[np.float32]) -> float:
    """Level that noise and stored values are set by: marrow's, or the image's when marrow is dark.

    Fat-poor or fat-only images would otherwise get no noise at all, or nothing else.
    """
    marrow = table.at(Tissue.MARROW, fat_percent=45)
    bright = float(np.percentile(np.abs(signal[::2, ::8, ::8]), 90))
    return max(marrow, 0.25 * bright, 1e-6)


def _tissue_at(grid: TissueGrid, frame: _Frame) -> NDArray[np.uint8]:
    """Tissue at the acquired voxel centres, for effects that need no partial volume."""
    places = [
        nearest(at, count)
        for at, count in zip(
            (frame.slices, frame.rows, frame.columns), grid.tissue.shape, strict=True
        )
    ]
    out = np.empty([len(at) for at in places], dtype=np.uint8)
    pick(np.ascontiguousarray(grid.tissue), places[0], places[1], places[2], out)
    return out


def _row_cm(frame: _Frame) -> NDArray[np.float64]:
    """Acquired rows from the middle of the image, downwards."""
    count = len(frame.rows)
    return np.asarray((np.arange(count) - (count - 1) / 2) * frame.spacing_mm[1] / 10.0)


def _depth_cm(grid: TissueGrid, frame: _Frame) -> NDArray[np.float64]:
    """Depth of each acquired column below the skin of the back."""
    middle = grid.tissue[grid.tissue.shape[0] // 2]
    filled = np.flatnonzero((middle != Tissue.AIR).mean(axis=0) > 0.02)
    skin = float(filled[-1]) if filled.size else float(grid.tissue.shape[2])
    return np.asarray((skin - frame.columns) * frame.pitch_mm[2] / 10.0)


def _spine_cm(grid: TissueGrid, frame: _Frame, depth_cm: NDArray[np.float64]) -> float:
    """Depth of the bodies in the middle slice."""
    columns = nearest(frame.columns, grid.body.shape[2])
    bone = np.count_nonzero(grid.body[grid.body.shape[0] // 2], axis=0)[columns]
    return float(np.average(depth_cm, weights=bone)) if bone.any() else USUAL_SPINE_CM


def _gain_map(
    conditions: Conditions, coil: NDArray[np.float32], grid: TissueGrid, frame: _Frame
) -> NDArray[np.float32]:
    gain = np.ones_like(coil) if conditions.corrected else coil
    if conditions.saturation is not None:
        wall = _front_of_spine(grid, frame)
        gain = gain * band_map(conditions.saturation, wall, coil.shape[1])
    return gain


def _front_of_spine(grid: TissueGrid, frame: _Frame) -> NDArray[np.float64]:
    """First column of a body in each acquired row of the middle slice, as a part of the columns."""
    shape = grid.structure.shape
    rows, columns = nearest(frame.rows, shape[1]), nearest(frame.columns, shape[2])
    middle = grid.structure[shape[0] // 2][np.ix_(rows, columns)]
    bone = (middle == Structure.BODY) | (middle == Structure.SACRUM_S1)
    return np.where(bone.any(axis=1), bone.argmax(axis=1) / bone.shape[1], np.inf)


def _unit_noise(
    frame: _Frame, shape: tuple[int, int, int], protocol: Protocol, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise of unit standard deviation, white at the acquired matrix and interpolated from it.

    (half the slices, rows, columns): `magnitude` uses each of them for two slices.
    """
    counts = [
        min(count, max(8, round(count * mm / acquired)))
        for count, mm, acquired in zip(
            shape[1:], frame.spacing_mm[1:], protocol.acquired_mm, strict=True
        )
    ]
    noise = rng.standard_normal(((shape[0] + 1) // 2, *counts), dtype=np.float32)
    if counts == list(shape[1:]):
        return noise
    rows, columns = (_interpolation(few, many) for few, many in zip(counts, shape[1:], strict=True))
    return Sampler(rows, rows, columns).in_plane(noise)


def _interpolation(few: int, many: int) -> Band:
    """Band-limited interpolation of white noise that keeps its variance."""
    band = point_spread(np.linspace(0.0, few - 1.0, many), few, 1.0, 0.3)
    norm = np.linalg.norm(band.weights, axis=1, keepdims=True)
    return Band(band.start, band.weights / norm)
