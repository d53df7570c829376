"""Maps of gain and noise over the acquired image: coil, transmit field, suppression, bands.

Maps are at the acquired resolution; depth is counted from the skin of the back.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from training.phantom.scanner.conditions import Conditions, SaturationBand
from training.phantom.scanner.sampling import Sampler, stretched
from training.phantom.scanner.static_field import cosines

Map = NDArray[np.float32]

PADDING_CM: Final = 1.5
"""Between the skin and the loops of the coil: mattress and housing."""

NEAREST_LOG: Final = 1.3
FARTHEST_LOG: Final = 2.6
"""Shading levels off at these: at the skin by the width of the loops (suppressed fat under the skin
is measured at only 2.1 times marrow), deep down by the body coil."""

BAND_CLEARANCE: Final = 0.02
"""Part of the field of view between a saturation band and the spine."""


def coil_map(
    conditions: Conditions,
    row_cm: NDArray[np.float64],
    depth_cm: NDArray[np.float64],
    spine_cm: float,
) -> Map:
    """Receive sensitivity (rows, columns), 1 at the depth of the spine on average.

    The root sum of squares of loops of one radius, as from the field on a loop's axis. Its mean
    course with depth is brought to `coil_per_cm` at the spine (scanners flatten it more or less);
    what remains along the rows are the humps of single elements and the coil's ends.

    Args:
        conditions: Of the acquisition.
        row_cm: (rows,) from the middle of the image, downwards.
        depth_cm: (columns,) below the skin of the back; negative behind it.
        spine_cm: Depth of the vertebral bodies.
    """
    depth = np.clip(depth_cm, -PADDING_CM / 2, None) + PADDING_CM
    columns = np.append(depth, spine_cm + PADDING_CM + np.array([-1.0, 0.0, 1.0]))
    power = np.zeros((len(row_cm), len(columns)))
    square = columns[None, :] ** 2 + conditions.element_radius_cm**2
    for element in conditions.elements:
        distance = square + ((row_cm - element.row_cm) ** 2)[:, None]
        power += element.gain**2 / (distance * distance * distance)
    log = 0.5 * np.log(np.maximum(power, 1e-12))
    mean = log.mean(axis=0)
    slope = max((mean[-3] - mean[-1]) / 2.0, 1e-3)
    course = (mean - mean[-2]) * conditions.coil_per_cm / slope
    course = np.where(course > 0, NEAREST_LOG, FARTHEST_LOG) * np.tanh(
        course / np.where(course > 0, NEAREST_LOG, FARTHEST_LOG)
    )
    shading = course[None, :] + conditions.coil_ridge * (log - mean[None, :])
    return np.exp(shading[:, :-3]).astype(np.float32)


def smooth_map(modes: NDArray[np.float64], rows: int, columns: int) -> Map:
    """Smooth gain around 1, (rows, columns): the exponential of a low-order cosine field."""
    return np.exp(cosines(rows) @ modes @ cosines(columns).T).astype(np.float32)


def smooth_volume(modes: NDArray[np.float64], shape: tuple[int, int, int]) -> Map:
    """Smooth gain around 1, (slices, rows, columns)."""
    planes = np.tensordot(cosines(shape[0]), modes, axes=1)
    coarse = [max(8, count // 16) for count in shape[1:]]
    log = np.matmul(cosines(coarse[0]), planes) @ cosines(coarse[1]).T
    return stretched_over(np.exp(log).astype(np.float32), shape)


def stretched_over(coarse: Map, shape: tuple[int, ...]) -> Map:
    """A coarse map of all slices interpolated to (slices, rows, columns), ends on ends."""
    rows, columns = (
        stretched(few, many) for few, many in zip(coarse.shape[1:], shape[1:], strict=True)
    )
    # No product of dense matrices: these are nearly all zero, and their threads spin afterwards.
    return Sampler(rows, rows, columns).in_plane(coarse)


def inversion_map(conditions: Conditions, rows: int, columns: int) -> Map:
    """Part by which the inversion falls short, (rows, columns)."""
    lost = np.full((rows, columns), conditions.inversion_loss)
    if conditions.inversion_modes is not None:
        lost += cosines(rows) @ conditions.inversion_modes @ cosines(columns).T
    return np.clip(lost, -0.03, 0.2).astype(np.float32)


def noise_map(conditions: Conditions, coil: Map, acceleration: float, phase_axis: int) -> Map:
    """Relative noise level (rows, columns), the bands of parallel imaging along phase included."""
    level = smooth_map(conditions.noise_modes, *coil.shape)
    if conditions.noise_bands > 0.0 and acceleration > 1.0:
        along = np.linspace(-0.5, 0.5, coil.shape[phase_axis - 1], dtype=np.float32)
        bands = 1.0 + conditions.noise_bands * np.cos(np.pi * acceleration * along) ** 2
        middle = np.exp(-(np.linspace(-1.2, 1.2, coil.shape[2 - phase_axis]) ** 2))
        heights = 1.0 + np.outer(bands - 1.0, middle)
        level *= (heights if phase_axis == 1 else heights.T).astype(np.float32)
    if conditions.corrected:
        level /= np.maximum(coil, np.float32(0.15))
    return level


def band_map(saturation: SaturationBand, wall: NDArray[np.float64], columns: int) -> Map:
    """Gain under an oblique saturation band in front of the spine, (rows, columns).

    Args:
        saturation: The band.
        wall: (rows,) front of the spine as a part of the columns, infinite where there is none;
            the band is moved to stay before it, as it is planned at the console.
        columns: How many columns.
    """
    centre = np.linspace(saturation.top, saturation.bottom, len(wall))[:, None]
    room = float(np.min(wall - centre[:, 0])) - saturation.width / 2 - BAND_CLEARANCE
    centre = centre + min(room, 0.0)
    distance = np.linspace(0.0, 1.0, columns)[None, :] - centre
    past = (np.abs(distance) - saturation.width / 2) / 0.012
    inside = 1.0 / (1.0 + np.exp(np.clip(past, -50, 50)))
    return (1.0 - saturation.depth * inside).astype(np.float32)
