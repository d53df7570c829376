"""Scan a synthetic spine: tissue maps in, an MR volume with a scanner's faults out.

Everything heavy is a table lookup or a small matrix product at the acquired resolution, because
training draws several volumes a second from here. The order is the scanner's: signal, partial
volume and point spread, receive field, ghosts, complex noise, magnitude, stored values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.geometry import to_lps
from models.localiser.classes import Structure
from models.volume import Role, Volume
from training.phantom.conditions import (
    Conditions,
    band_map,
    coil_map,
    draw_conditions,
    failure_map,
    smooth_map,
)
from training.phantom.physics import SignalTable, mixture_index, signal_table
from training.phantom.protocols import Protocol, random_contrast, sample_protocol, sample_role
from training.phantom.sampling import (
    Sampler,
    SliceGeometry,
    axis_positions,
    filtered,
    label_sampler,
    nearest,
    point_spread,
    slice_profile,
)
from training.phantom.tissues import Tissue, TissueGrid

STORED_MAXIMUM: Final = 4095.0
FAILED_SUPPRESSION: Final = 0.7
"""Part of the fat signal that comes back where spectral suppression fails."""

PROFILE_EDGE: Final = 0.10
"""Softness of a slice's edges, as a part of its thickness."""

GRAIN_MM: Final = 1.6
"""Pitch of the correlated grain; real marrow decorrelates over 1.4 to 3 mm."""


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


def place_slices(grid: TissueGrid, protocol: Protocol, rng: np.random.Generator) -> SliceGeometry:
    """Lay a protocol's slices over the grid, centred with a little scatter, inside the tissue.

    The field of view is cut to the grid, so that no image edge shows tissue ending in nothing.
    """
    pitch = np.linalg.norm(grid.affine[:3, :3], axis=0)
    extent = np.asarray(grid.tissue.shape) * pitch
    steps = np.array([protocol.pitch_mm, protocol.pixel_mm, protocol.pixel_mm])
    fits = int((extent[0] - protocol.thickness_mm) / protocol.pitch_mm) + 1
    shape = (
        max(1, min(protocol.slices, fits)),
        max(8, int(min(protocol.fov_mm[0], extent[1]) / protocol.pixel_mm)),
        max(8, int(min(protocol.fov_mm[1], extent[2]) / protocol.pixel_mm)),
    )
    spare = np.clip(extent - np.asarray(shape) * steps, 0.0, None)
    # The spine is planned to the middle slice; up and down the planning scatters more.
    scatter = np.array([rng.normal(0.0, 0.15), rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)])
    start_mm = spare * (0.5 + np.clip(scatter, -0.5, 0.5)) + (steps - pitch) / 2
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] / pitch * steps
    affine[:3, 3] = to_lps(grid.affine, start_mm / pitch)
    return SliceGeometry(shape, affine, protocol.thickness_mm)


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
    signal = _sample_signal(grid, frame, slices, protocol, conditions, table)
    reference = _reference_signal(table, signal)
    moving = _moving_tissue(grid, frame)
    signal *= _grain(signal.shape, slices, conditions.texture, rng)
    _darken_flowing_csf(signal, moving == Tissue.CSF, conditions.csf_void, rng)
    coil = coil_map(conditions, signal.shape[1], _depth_cm(grid, frame))
    signal *= _gain_map(conditions, coil, _front_of_spine(grid, frame))
    signal *= rng.normal(1.0, conditions.slice_gain, (len(signal), 1, 1)).astype(np.float32)
    _add_ghosts(signal, moving, conditions, protocol.phase_axis, rng)
    sigma = reference / protocol.snr
    level = _noise_level(conditions, coil, signal.shape) * np.float32(sigma)
    magnitude = _with_noise(signal, level, slices, protocol, rng)
    magnitude *= np.float32(conditions.scale / reference)
    np.clip(np.rint(magnitude, out=magnitude), 0.0, STORED_MAXIMUM, out=magnitude)
    return Volume(array=magnitude, affine=slices.affine.copy(), role=protocol.role)


def truth_on(grid: TissueGrid, volume: Volume) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Structure and body labels on a volume's grid: what fills the most of each voxel.

    Args:
        grid: The truth.
        volume: A volume whose axes follow the grid's.

    Returns:
        (structure, body), both (slice, row, column) uint8. A voxel has a body's index exactly
        where its structure is a body or S1.

    Raises:
        GeometryError: The axes differ.
    """
    where = _geometry_of(volume)
    sampler = label_sampler(grid.affine, grid.tissue.shape, where)
    box = _occupied(grid.structure)
    small = Sampler(sampler.slices[:, box[0]], sampler.rows[:, box[1]], sampler.columns[:, box[2]])
    structure = np.zeros(volume.shape, dtype=np.uint8)
    rest = np.ones(volume.shape, dtype=np.float32)
    most = np.zeros(volume.shape, dtype=np.float32)
    inner = grid.structure[box]
    for value in list(Structure)[1:]:
        fraction = small(inner == value)
        rest -= fraction
        wins = fraction > most
        structure[wins] = value
        np.copyto(most, fraction, where=wins)
    structure[rest >= most] = Structure.BACKGROUND
    return structure, _body_labels(grid, structure, where)


def fraction_on(fine: NDArray[np.generic], grid: TissueGrid, volume: Volume) -> NDArray[np.float32]:
    """Mean of a fine map over each voxel of a volume, such as the edematous fraction.

    Args:
        fine: (slice, row, column) map on the fine grid, for example `free_water > 64` in marrow.
        grid: The fine grid.
        volume: A volume whose axes follow the grid's.
    """
    return label_sampler(grid.affine, grid.tissue.shape, _geometry_of(volume))(fine)


def acquire_for_training(
    grid: TissueGrid,
    rng: np.random.Generator,
    *,
    role: Role | None = None,
    in_plane_mm: float | None = 1.0,
    slice_mm: float | None = None,
    physics_share: float = 0.7,
) -> LabelledVolume:
    """One random training image of the grid with its truth.

    Args:
        grid: Tissue maps.
        rng: Source of randomness.
        role: What to acquire; drawn by default, and then `physics_share` applies.
        in_plane_mm: Pitch of rows and columns; the protocol's own when None.
        slice_mm: Slice pitch (thickness and gap); the protocol's own when None.
        physics_share: Part of the images with a real sequence's contrast. The others have the
            role "other".
    """
    protocol = sample_protocol(role or sample_role(rng), rng)
    if in_plane_mm is not None:
        protocol = replace(protocol, pixel_mm=in_plane_mm)
    if slice_mm is not None:
        share = slice_mm / protocol.pitch_mm
        thickness, gap = protocol.thickness_mm * share, protocol.gap_mm * share
        protocol = replace(protocol, thickness_mm=thickness, gap_mm=gap)
    table = None
    if role is None and rng.random() >= physics_share:
        table = random_contrast(rng)
        protocol = replace(protocol, role=Role.OTHER)
    volume = acquire(grid, protocol, rng, table=table)
    structure, body = truth_on(grid, volume)
    return LabelledVolume(volume, structure, body, protocol)


def _frame(grid: TissueGrid, slices: SliceGeometry, conditions: Conditions) -> _Frame:
    pitch = np.linalg.norm(grid.affine[:3, :3], axis=0)
    positions = axis_positions(grid.affine, slices.affine, slices.shape)
    moved = [
        centres - shift / step
        for centres, shift, step in zip(positions, conditions.shift_mm, pitch, strict=True)
    ]
    return _Frame(moved[0], moved[1], moved[2], pitch)


def _sample_signal(
    grid: TissueGrid,
    frame: _Frame,
    slices: SliceGeometry,
    protocol: Protocol,
    conditions: Conditions,
    table: SignalTable,
) -> NDArray[np.float32]:
    """Signed signal at the acquired voxels, fat shifted and unsuppressed where that happens."""
    index = mixture_index(grid)
    sampler = _point_sampler(grid, frame, slices, protocol, conditions, 0.0)
    fails = conditions.failure is not None and table.fat_gain < FAILED_SUPPRESSION
    shift = protocol.shift_px if abs(protocol.shift_px) >= 0.3 else 0.0
    if not fails and (shift == 0.0 or abs(table.fat_gain) < 0.05):
        return sampler(table.combined.ravel().take(index))
    water = sampler((np.float32(table.water_gain) * table.water).ravel().take(index))
    shifted = _point_sampler(grid, frame, slices, protocol, conditions, shift)
    fat = shifted(table.fat.ravel().take(index))
    if fails and conditions.failure is not None:
        failing = failure_map(conditions.failure, slices.shape[1], slices.shape[2])
        fat *= table.fat_gain + (FAILED_SUPPRESSION - table.fat_gain) * failing
    else:
        fat *= np.float32(table.fat_gain)
    return np.asarray(water + fat)


def _point_sampler(
    grid: TissueGrid,
    frame: _Frame,
    slices: SliceGeometry,
    protocol: Protocol,
    conditions: Conditions,
    shift_px: float,
) -> Sampler:
    shape = grid.tissue.shape
    shift = shift_px * protocol.pixel_mm / frame.pitch_mm
    along_rows = shift[1] if protocol.phase_axis == 2 else 0.0
    along_columns = shift[2] if protocol.phase_axis == 1 else 0.0
    resolution = np.asarray(protocol.acquired_mm) / frame.pitch_mm[1:]
    rows = point_spread(frame.rows + along_rows, shape[1], resolution[0], conditions.window)
    columns = point_spread(
        frame.columns + along_columns, shape[2], resolution[1], conditions.window
    )
    thickness = slices.thickness_mm / frame.pitch_mm[0]
    return Sampler(
        slice_profile(frame.slices, shape[0], thickness, PROFILE_EDGE),
        filtered(rows, protocol.filter_strength),
        filtered(columns, protocol.filter_strength),
    )


def _reference_signal(table: SignalTable, signal: NDArray[np.float32]) -> float:
    """Level that noise and stored values are set by: marrow's, or the image's when marrow is dark.

    Fat-poor or fat-only images would otherwise get no noise at all, or nothing else.
    """
    marrow = table.at(Tissue.MARROW, fat_percent=45)
    bright = float(np.percentile(np.abs(signal[::2, ::8, ::8]), 90))
    return max(marrow, 0.25 * bright, 1e-6)


def _moving_tissue(grid: TissueGrid, frame: _Frame) -> NDArray[np.uint8]:
    """Tissue at the acquired voxel centres, for effects that need no partial volume."""
    shape = grid.tissue.shape
    at = np.ix_(
        nearest(frame.slices, shape[0]),
        nearest(frame.rows, shape[1]),
        nearest(frame.columns, shape[2]),
    )
    return grid.tissue[at]


def _grain(
    shape: tuple[int, ...], slices: SliceGeometry, strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Correlated multiplicative grain around 1, of the acquired shape."""
    pixel_mm = np.linalg.norm(slices.affine[:3, 1:3], axis=0)
    coarse = [
        max(4, int(count * mm / GRAIN_MM)) for count, mm in zip(shape[1:], pixel_mm, strict=True)
    ]
    grain = rng.standard_normal((shape[0], *coarse), dtype=np.float32)
    rows, columns = (_upsampling(c, n) for c, n in zip(coarse, shape[1:], strict=True))
    smooth = np.matmul(rows, grain) @ columns.T
    smooth *= np.float32(strength)
    smooth += np.float32(1.0)
    return np.asarray(smooth)


def _upsampling(coarse: int, fine: int) -> NDArray[np.float32]:
    """(fine, coarse) band-limited interpolation of white noise that keeps its variance."""
    positions = np.linspace(0.0, coarse - 1.0, fine)
    matrix = point_spread(positions, coarse, 1.0, 0.3)
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))


def _darken_flowing_csf(
    signal: NDArray[np.float32],
    csf: NDArray[np.bool_],
    strength: float,
    rng: np.random.Generator,
) -> None:
    """Flow voids in CSF: smooth dark patches along the canal, different in every slice."""
    if strength == 0.0:
        return
    knots = rng.uniform(0.0, strength, (signal.shape[0], 8))
    along = np.linspace(0.0, 7.0, signal.shape[1])
    darker = np.stack([np.interp(along, np.arange(8), row) for row in knots])
    signal *= 1.0 - csf * darker[:, :, None].astype(np.float32)


def _depth_cm(grid: TissueGrid, frame: _Frame) -> NDArray[np.float64]:
    """Depth of each acquired column below the skin of the back."""
    middle = grid.tissue[grid.tissue.shape[0] // 2]
    filled = np.flatnonzero((middle != Tissue.AIR).mean(axis=0) > 0.02)
    skin = float(filled[-1]) if filled.size else float(grid.tissue.shape[2])
    return np.asarray((skin - frame.columns) * frame.pitch_mm[2] / 10.0)


def _gain_map(
    conditions: Conditions, coil: NDArray[np.float32], wall: NDArray[np.float64]
) -> NDArray[np.float32]:
    gain = smooth_map(conditions.field_modes, *coil.shape)
    if not conditions.corrected:
        gain *= coil
    if conditions.saturation is not None:
        gain *= band_map(conditions.saturation, wall, coil.shape[1])
    return gain


def _front_of_spine(grid: TissueGrid, frame: _Frame) -> NDArray[np.float64]:
    """First column of a body in each acquired row of the middle slice, as a part of the columns."""
    shape = grid.structure.shape
    rows, columns = nearest(frame.rows, shape[1]), nearest(frame.columns, shape[2])
    middle = grid.structure[shape[0] // 2][np.ix_(rows, columns)]
    bone = (middle == Structure.BODY) | (middle == Structure.SACRUM_S1)
    return np.where(bone.any(axis=1), bone.argmax(axis=1) / bone.shape[1], np.inf)


def _noise_level(
    conditions: Conditions, coil: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    level = smooth_map(conditions.noise_modes, shape[1], shape[2])
    if conditions.corrected:
        level /= np.maximum(coil, np.float32(0.15))
    return level


def _add_ghosts(
    signal: NDArray[np.float32],
    tissue: NDArray[np.uint8],
    conditions: Conditions,
    phase_axis: int,
    rng: np.random.Generator,
) -> None:
    """Faint displaced copies of pulsing CSF and of the breathing abdominal wall, along phase."""
    sources: list[tuple[float, NDArray[np.float32]]] = []
    if conditions.csf_ghost > 0.0:
        sources.append((conditions.csf_ghost, signal * (tissue == Tissue.CSF)))
    if conditions.breathing_ghost > 0.0:
        columns = signal.shape[2]
        anterior = np.clip(1.0 - np.arange(columns) / (0.35 * columns), 0.0, 1.0)
        sources.append((conditions.breathing_ghost, signal * anterior.astype(np.float32)))
    for strength, source in sources:
        distance = int(rng.integers(12, max(13, signal.shape[phase_axis] // 3)))
        for order in (-1, 1):
            ghost = np.roll(source, order * distance, axis=phase_axis)
            signal += np.float32(strength * rng.choice((-1.0, 1.0))) * ghost


def _with_noise(
    signal: NDArray[np.float32],
    level: NDArray[np.float32],
    slices: SliceGeometry,
    protocol: Protocol,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Magnitude of the signal with complex noise made at the acquired matrix (Rician)."""
    pixel_mm = np.linalg.norm(slices.affine[:3, 1:3], axis=0)
    counts = [
        min(n, max(8, round(n * mm / acquired)))
        for n, mm, acquired in zip(signal.shape[1:], pixel_mm, protocol.acquired_mm, strict=True)
    ]
    noise = rng.standard_normal((signal.shape[0], *counts), dtype=np.float32)
    if counts != list(signal.shape[1:]):
        rows, columns = (_upsampling(c, n) for c, n in zip(counts, signal.shape[1:], strict=True))
        noise = np.matmul(rows, noise) @ columns.T
    noise *= level
    # The imaginary channel reuses the noise from far away: unrelated at any one voxel.
    imaginary = np.roll(noise, (signal.shape[1] // 2, signal.shape[2] // 3), axis=(1, 2))
    noise += signal
    np.multiply(noise, noise, out=noise)
    imaginary *= imaginary
    noise += imaginary
    return np.asarray(np.sqrt(noise, out=noise))


def _geometry_of(volume: Volume) -> SliceGeometry:
    return SliceGeometry(volume.shape, volume.affine, volume.spacing.slice_mm)


def _occupied(labels: NDArray[np.uint8]) -> tuple[slice, slice, slice]:
    """Bounding box of the non-zero labels; one voxel when there are none."""
    filled = labels != 0
    ranges = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero(filled.any(axis=others))
        ranges.append(slice(hits[0], hits[-1] + 1) if hits.size else slice(0, 1))
    return ranges[0], ranges[1], ranges[2]


def _body_labels(
    grid: TissueGrid, structure: NDArray[np.uint8], where: SliceGeometry
) -> NDArray[np.uint8]:
    """Body indices where the structure is a body: from the nearest fine slices that have one."""
    shape = grid.tissue.shape
    positions = axis_positions(grid.affine, where.affine, where.shape)
    rows, columns = nearest(positions[1], shape[1]), nearest(positions[2], shape[2])
    half = where.thickness_mm / float(np.linalg.norm(grid.affine[:3, 0])) / 2
    wanted = (structure == Structure.BODY) | (structure == Structure.SACRUM_S1)
    body = np.zeros(structure.shape, dtype=np.uint8)
    for offset in (0.0, -0.5 * half, 0.5 * half, -half, half):
        at = np.ix_(nearest(positions[0] + offset, shape[0]), rows, columns)
        missing = wanted & (body == 0)
        if not missing.any():
            break
        body[missing] = grid.body[at][missing]
    structure[wanted & (body == 0)] = Structure.BACKGROUND
    return body
