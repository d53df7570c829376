"""The static field over a patient: air bends it, the magnet ends, the shim mends what is smooth.

Deviations are in ppm of the field. Spectral fat suppression and Dixon reconstructions go wrong
where they are large, so both follow from the same map: at the neck, the diaphragm and the back's
curves, and at the ends of the field of view.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from training.phantom.painting.tissues import Tissue
from training.phantom.scanner.physics import Suppression

Map = NDArray[np.float32]

MODES: Final = 3
"""Cosine modes per axis of what is left of the field for reasons out of view."""

FAT_SHIFT_PPM: Final = 3.4
"""Methylene protons of fat resonate that much below water."""

AIR_PPM: Final = 9.4
"""Volume susceptibility of air against tissue: 0.36 and -9.05 ppm (Schenck 1996)."""

LUNG_PPM: Final = 7.0
"""Of breathing lung, a quarter of which is tissue."""

COARSE_MM: Final = 8.0
SAMPLES: Final = 3
"""Pitch of the map along rows and columns, and places per axis that its air is counted in."""

MARGIN_MM: Final = 100.0
"""The patient goes on beyond the slices and the field of view as at their edges."""

SHIMMED: Final = 0.35
"""Half of the box that the shim is made for, in parts of the field of view along the rows."""

SHIMMED_MM: Final = 70.0
"""And in front of and behind the spine."""

ENDS_CM: Final = 22.0
"""Distance from the isocentre that `StaticField.ends_ppm` is given for."""

EDGE_PPM: Final = 0.15
"""Softness of the edges of a pulse's band."""

SWAP_EDGE_PPM: Final = 0.03
"""A reconstruction takes one or the other: swaps have sharp edges."""

LOW_FIELD_T: Final = 1.0
"""Below it a pulse's band is as wide in hertz, hence wider in ppm."""

_SUSCEPTIBILITY: Final = np.zeros(256, dtype=np.float32)
_SUSCEPTIBILITY[[Tissue.AIR, Tissue.GAS]] = AIR_PPM
_SUSCEPTIBILITY[Tissue.LUNG] = LUNG_PPM


class StaticField(NamedTuple):
    """What the field of one acquisition is made of.

    Attributes:
        air: How much of the field of air in view is there; shims of other quality leave less.
        order: Of the shim: 1 takes out constant and slopes, 2 the curvature too.
        modes: (MODES, MODES, MODES) ppm, of what lies out of view: arms, bowel, teeth.
        ends_ppm: Growth towards the magnet's ends, at `ENDS_CM` from the isocentre.
        isocentre_cm: Its place along the rows, from the middle of the image.
        band_ppm: Half the width of the band that a fat pulse works in.
    """

    air: float
    order: int
    modes: NDArray[np.float64]
    ends_ppm: float
    isocentre_cm: float
    band_ppm: float


def draw_static_field(
    suppression: Suppression, field_t: float, faults: float, rng: np.random.Generator
) -> StaticField:
    """Draw the field of an acquisition and the pulse that has to stand it.

    Args:
        suppression: What is done about fat: SPAIR pulses have a wider band than CHESS.
        field_t: Of the scanner: bands are as wide in hertz at all fields.
        faults: Factor of all that bends the field.
        rng: Source of randomness.
    """
    order = np.indices((MODES,) * 3).sum(axis=0)
    modes = rng.normal(0.0, max(0.09 * faults, 1e-9), order.shape) / (1.0 + order)
    modes[0, 0, 0] = rng.normal(0.0, max(0.08 * faults, 1e-9))  # a centre frequency not quite met
    width = float(rng.uniform(1.0, 1.5)) + (0.25 if suppression is Suppression.SPAIR else 0.0)
    return StaticField(
        air=float(rng.uniform(0.4, 0.9)) * faults,
        order=int(rng.choice((1, 2), p=(0.35, 0.65))),
        modes=modes,
        ends_ppm=float(rng.normal(0.0, 1.3)) * faults,
        isocentre_cm=float(rng.normal(0.0, 2.5)),
        band_ppm=width * max(1.0, LOW_FIELD_T / field_t),
    )


def static_field_map(
    field: StaticField, tissue: NDArray[np.uint8], spacing_mm: tuple[float, float, float]
) -> Map:
    """Deviation of the field in ppm on a coarse grid over the slices.

    Args:
        field: Of the acquisition.
        tissue: (slice, row, column) `Tissue` at the acquired voxels; rows run along the magnet.
        spacing_mm: Of the voxels.

    Returns:
        (slices, n, m) float32; first and last row and column lie at those of the image.

    Source: convolution of susceptibility with the field of a dipole, in k-space (Marques and
    Bowtell 2005, Salomir 2003).
    """
    blocks = _susceptibility(tissue, spacing_mm)
    pitch = np.array(
        [
            spacing_mm[0],
            *(
                spacing * (count - 1) / (coarse - 1)
                for spacing, count, coarse in zip(
                    spacing_mm[1:], tissue.shape[1:], blocks.shape[1:], strict=True
                )
            ),
        ]
    )
    ppm = field.air * _shimmed(_of_dipoles(blocks, pitch), blocks, pitch, field.order)
    basis = [cosines(count) for count in blocks.shape]
    ppm += np.einsum("abc,ia,jb,kc->ijk", field.modes, *basis, optimize=True)
    row_cm = (np.arange(blocks.shape[1]) - (blocks.shape[1] - 1) / 2) * pitch[1] / 10.0
    ppm += field.ends_ppm * (((row_cm - field.isocentre_cm) / ENDS_CM) ** 4)[:, None]
    return ppm.astype(np.float32)


def out_of_band(ppm: Map, band_ppm: float) -> tuple[Map, Map]:
    """Parts of the fat that a pulse misses and of the water that it hits instead."""
    missed = _beyond(np.abs(ppm) - np.float32(band_ppm), EDGE_PPM)
    hit = _beyond(np.float32(band_ppm) - np.abs(ppm + np.float32(FAT_SHIFT_PPM)), EDGE_PPM)
    return missed, hit


def farthest(ppm: Map, inside: NDArray[np.bool_], part: float) -> Map:
    """1 in the part of the tissue where the field deviates most, 0 elsewhere, a soft edge between.

    Args:
        ppm: Deviation of the field.
        inside: Where there is tissue.
        part: 0 to 1.
    """
    away = np.abs(ppm)
    limit = np.quantile(away[inside], 1.0 - part) if inside.any() else np.inf
    return _beyond(away - np.float32(limit), SWAP_EDGE_PPM)


def _beyond(past: Map, edge_ppm: float) -> Map:
    soft = np.clip(past / np.float32(edge_ppm), -50.0, 50.0)
    return (1.0 / (1.0 + np.exp(-soft))).astype(np.float32)


def _susceptibility(tissue: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> Map:
    """Mean susceptibility against tissue of coarse blocks, (slices, n, m)."""
    coarse = [
        max(4, round(count * mm / COARSE_MM))
        for count, mm in zip(tissue.shape[1:], spacing_mm[1:], strict=True)
    ]
    rows, columns = (
        np.rint(np.linspace(0, count - 1, few * SAMPLES)).astype(np.int64)
        for count, few in zip(tissue.shape[1:], coarse, strict=True)
    )
    fine = _SUSCEPTIBILITY[tissue[:, rows[:, None], columns]]
    shape = (len(tissue), coarse[0], SAMPLES, coarse[1], SAMPLES)
    return np.asarray(fine.reshape(shape).mean(axis=(2, 4), dtype=np.float32))


def _of_dipoles(susceptibility: Map, pitch_mm: NDArray[np.float64]) -> Map:
    """Field of a susceptibility in a magnet whose axis runs along the rows, both in ppm."""
    margins = [round(MARGIN_MM / mm) for mm in pitch_mm]
    whole = np.pad(susceptibility, [(margin, margin) for margin in margins], mode="edge")
    shape = [scipy.fft.next_fast_len(count, real=True) for count in whole.shape]
    short = [(0, count - had) for count, had in zip(shape, whole.shape, strict=True)]
    whole = np.pad(whole, short, mode="edge")
    across, along = (scipy.fft.fftfreq(whole.shape[n], pitch_mm[n]) for n in (0, 1))
    back = scipy.fft.rfftfreq(whole.shape[2], pitch_mm[2])
    squares = (across**2)[:, None, None] + (along**2)[:, None] + back**2
    squares[0, 0, 0] = 1.0
    kernel = (1.0 / 3.0 - (along**2)[:, None] / squares).astype(np.float32)
    kernel[0, 0, 0] = 0.0
    field = scipy.fft.irfftn(scipy.fft.rfftn(whole) * kernel, s=whole.shape)
    return np.asarray(
        field[
            tuple(
                slice(margin, margin + count)
                for margin, count in zip(margins, susceptibility.shape, strict=True)
            )
        ],
        dtype=np.float32,
    )


def _shimmed(ppm: Map, susceptibility: Map, pitch_mm: NDArray[np.float64], order: int) -> Map:
    """A field less the polynomial that fits it best in the tissue of the shim box."""
    mm = [
        (np.arange(count) - (count - 1) / 2) * step
        for count, step in zip(ppm.shape, pitch_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*(axis / 100.0 for axis in mm), indexing="ij", sparse=True)
    terms = [np.ones_like(ppm), x, y, z]
    if order > 1:
        terms += [x * y, x * z, y * z, x * x - z * z, 2.0 * y * y - x * x - z * z]
    design = np.stack([np.broadcast_to(term, ppm.shape) for term in terms], axis=-1)
    inside = susceptibility < 0.1 * AIR_PPM
    inside &= np.abs(mm[1])[:, None] <= SHIMMED * ppm.shape[1] * pitch_mm[1]
    inside &= np.abs(mm[2]) <= SHIMMED_MM
    if np.count_nonzero(inside) < 4 * len(terms):
        return ppm
    # Every third place suffices, and keeps the product small.
    found, *_ = np.linalg.lstsq(design[inside][::3], ppm[inside][::3], rcond=None)
    return np.asarray(ppm - np.einsum("abcn,n->abc", design, found), dtype=np.float32)


def cosines(count: int) -> NDArray[np.float64]:
    """(count, MODES) low-order cosines along an axis, the basis of smooth fields."""
    along = np.linspace(0.0, np.pi, count)
    return np.stack([np.cos(order * along) for order in range(MODES)], axis=1)
