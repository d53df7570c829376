"""Series beside the scans: localizer, axial slices, and images computed from others.

They are there to be recognised and passed over, so tissue is looked up at voxel centres, without
partial volume or artefacts.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.geometry import Plane, to_lps
from models.volume import Role, Volume
from training.phantom.dicom.pixels import STORED_MAXIMUM
from training.phantom.dicom.vendors.header import SequenceHeader
from training.phantom.painting.tissues import TissueGrid
from training.phantom.scanner.mix import TRAIN, AcquisitionMix
from training.phantom.scanner.physics import Readout, Sequence, mixture_index, signal_table
from training.phantom.scanner.protocols import Protocol, Site, sample_protocol
from training.phantom.scanner.sampling import SliceGeometry

_LOCALIZER_MM: Final = 400.0
_LOCALIZER_MATRIX: Final = 256
_LOCALIZER_SLICES: Final = 3
_LOCALIZER_PITCH_MM: Final = 20.0
_AXIAL_MM: Final = 200.0
_AXIAL_SLICES: Final = 15
_AXIAL_THICKNESS_MM: Final = 4.0
_AXIAL_GAP_SHARE: Final = 0.1
_SNR: Final = 18.0
_BRIGHT: Final = 1100.0
_REFORMAT_SLICES: Final = 12

_AXES: Final = {
    # (slice, row, column) directions in LPS.
    Plane.SAGITTAL: ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    Plane.CORONAL: ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
    Plane.AXIAL: ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
}
_REFORMAT_TYPE: Final = {
    "siemens": ("DERIVED", "SECONDARY", "MPR", "CSA MPR"),
    "ge": ("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"),
}
_SUBTRACTION_TYPE: Final = {
    "siemens": ("DERIVED", "PRIMARY", "M", "ND", "SUB"),
    "ge": ("DERIVED", "SECONDARY", "SUBTRACT"),
}
_PHASE_TYPE: Final = {
    "siemens": ("ORIGINAL", "PRIMARY", "P", "ND"),
    "philips": ("ORIGINAL", "PRIMARY", "PHASE MAP", "P", "SE"),
}


@dataclass(frozen=True, slots=True)
class ExtraStack:
    """A stack beside the scans: image, protocol and plane."""

    volume: Volume
    protocol: Protocol
    plane: Plane


def localizer(
    grid: TissueGrid,
    site: Site,
    matrix: int,
    rng: np.random.Generator,
    mix: AcquisitionMix = TRAIN,
) -> tuple[ExtraStack, ...]:
    """Three planes of a spoiled gradient echo through the middle of the grid.

    Args:
        grid: Tissue of any of the scans.
        site: The scanner.
        matrix: Rows and columns at most.
        rng: Noise.
        mix: What the protocol is drawn from.
    """
    matrix = min(matrix, _LOCALIZER_MATRIX)
    sequence = Sequence(Readout.GRADIENT_ECHO, site.field_t, 8.0, 3.8, flip_deg=20.0)
    protocol = replace(
        sample_protocol(Role.T2, rng, site, mix=mix),
        role=Role.LOCALIZER,
        sequence=replace(sequence, echo_train_length=1),
        fov_mm=(_LOCALIZER_MM, _LOCALIZER_MM),
        pixel_mm=_LOCALIZER_MM / matrix,
        thickness_mm=8.0,
        gap_mm=_LOCALIZER_PITCH_MM - 8.0,
        slices=_LOCALIZER_SLICES,
        saturation_band=False,
    )
    centre = _centre(grid)
    return tuple(
        ExtraStack(
            _looked_up(grid, protocol, _slices(protocol, plane, centre), rng, mix),
            protocol,
            plane,
        )
        for plane in (Plane.CORONAL, Plane.SAGITTAL, Plane.AXIAL)
    )


def axial_t2(
    grid: TissueGrid,
    site: Site,
    pixel_mm: float,
    rng: np.random.Generator,
    mix: AcquisitionMix = TRAIN,
) -> ExtraStack:
    """Axial T2 slices around the middle of the grid; arguments as those of `localizer`."""
    thickness = round(_AXIAL_THICKNESS_MM * mix.thickness_factor, 1)
    protocol = replace(
        sample_protocol(Role.T2, rng, site, mix=mix),
        fov_mm=(_AXIAL_MM, _AXIAL_MM),
        pixel_mm=pixel_mm,
        thickness_mm=thickness,
        gap_mm=round(_AXIAL_GAP_SHARE * thickness * mix.gap_factor, 2),
        slices=_AXIAL_SLICES,
    )
    slices = _slices(protocol, Plane.AXIAL, _centre(grid))
    return ExtraStack(_looked_up(grid, protocol, slices, rng, mix), protocol, Plane.AXIAL)


def subtraction(after: Volume, before: Volume) -> Volume:
    """The image after contrast agent minus that before, on the same grid; negative values are 0."""
    return replace(after, array=np.maximum(after.array - before.array, 0.0), role=Role.OTHER)


def coronal_reformat(volume: Volume) -> Volume:
    """Coronal slices of a sagittal volume, interpolated to square pixels."""
    spacing = volume.spacing
    count = max(2, round((volume.shape[0] - 1) * spacing.slice_mm / spacing.row_mm) + 1)
    step = max(1, volume.shape[2] // _REFORMAT_SLICES)
    across = np.linspace(0.0, volume.shape[0] - 1.0, count)
    below = np.minimum(across.astype(int), volume.shape[0] - 2)
    part = (across - below).astype(np.float32)[:, None, None]
    cut = volume.array[:, :, ::step]
    filled = cut[below] * (1.0 - part) + cut[below + 1] * part
    affine = np.eye(4)
    affine[:3, 0] = volume.affine[:3, 2] * step
    affine[:3, 1] = volume.affine[:3, 1]
    affine[:3, 2] = volume.affine[:3, 0] * (volume.shape[0] - 1) / (count - 1)
    affine[:3, 3] = volume.affine[:3, 3]
    array = np.ascontiguousarray(np.rint(filled).transpose(2, 1, 0))
    return replace(volume, array=array, affine=affine, role=Role.OTHER)


def phase_map(volume: Volume, rng: np.random.Generator) -> Volume:
    """A phase image of the same grid: smooth where there is signal, noise in air."""
    rows, columns = (np.linspace(-1.0, 1.0, size) for size in volume.shape[1:])
    smooth = 0.5 + 0.25 * rows[:, None] + 0.2 * rows[:, None] * columns[None, :]
    noise = rng.random(volume.shape, dtype=np.float32)
    air = volume.array < 0.1 * np.percentile(volume.array, 99)
    phase = np.where(air, noise, smooth[None].astype(np.float32) + 0.03 * (noise - 0.5))
    array = np.rint(np.clip(phase, 0.0, 1.0) * STORED_MAXIMUM).astype(np.float32)
    return replace(volume, array=array, role=Role.OTHER)


def reformat_header(header: SequenceHeader, vendor: str) -> SequenceHeader:
    """The header of a coronal reformat."""
    kind = _REFORMAT_TYPE.get(vendor, ("DERIVED", "SECONDARY", "MPR"))
    return replace(
        header, image_type=kind, descriptions=("MPR cor", f"{header.descriptions[0]} MPR")
    )


def subtraction_header(header: SequenceHeader, vendor: str) -> SequenceHeader:
    """The header of a subtraction."""
    kind = _SUBTRACTION_TYPE.get(vendor, ("DERIVED", "SECONDARY", "SUB"))
    return replace(header, image_type=kind, descriptions=(f"{header.descriptions[0]}_SUB", "SUB"))


def phase_header(header: SequenceHeader, vendor: str) -> SequenceHeader:
    """The header of a phase image, stored beside the magnitude one."""
    return replace(
        header,
        image_type=_PHASE_TYPE.get(vendor, ("ORIGINAL", "PRIMARY", "PHASE")),
        frame_type=("ORIGINAL", "PRIMARY", "PHASE_MAP", "NONE"),
        component="PHASE",
    )


def _centre(grid: TissueGrid) -> NDArray[np.float64]:
    return to_lps(grid.affine, (np.asarray(grid.tissue.shape) - 1) / 2)


def _slices(protocol: Protocol, plane: Plane, centre: NDArray[np.float64]) -> SliceGeometry:
    """A protocol's slices in an exact patient plane around a point."""
    steps = np.array([protocol.pitch_mm, protocol.pixel_mm, protocol.pixel_mm])
    shape = (
        protocol.slices,
        max(8, round(protocol.fov_mm[0] / protocol.pixel_mm)),
        max(8, round(protocol.fov_mm[1] / protocol.pixel_mm)),
    )
    affine = np.eye(4)
    affine[:3, :3] = np.array(_AXES[plane], dtype=np.float64).T * steps
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return SliceGeometry(shape, affine, protocol.thickness_mm)


def _looked_up(
    grid: TissueGrid,
    protocol: Protocol,
    slices: SliceGeometry,
    rng: np.random.Generator,
    mix: AcquisitionMix,
) -> Volume:
    """The signal of the tissue at every voxel centre, with Rician noise, 0 outside the grid."""
    flat, inside = _nearest(grid, slices)
    table = np.abs(signal_table(protocol.sequence).combined).ravel()
    signal = table[mixture_index(grid).ravel()[flat]] * inside
    bright = max(float(np.percentile(signal, 99)), 1e-6)
    noise = rng.standard_normal((2, *slices.shape), dtype=np.float32) * np.float32(
        bright / (_SNR * mix.snr_factor) / 2
    )
    magnitude = np.hypot(signal + noise[0], noise[1]) * np.float32(_BRIGHT / bright)
    array = np.clip(np.rint(magnitude), 0.0, STORED_MAXIMUM).astype(np.float32)
    return Volume(array=array, affine=slices.affine.copy(), role=protocol.role)


def _nearest(
    grid: TissueGrid, slices: SliceGeometry
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Raveled fine index of every voxel centre, and whether it lies inside the grid."""
    steps = np.linalg.inv(grid.affine) @ slices.affine
    along: SequenceOf[NDArray[np.float64]] = np.ogrid[tuple(slice(size) for size in slices.shape)]
    flat = np.zeros(slices.shape, dtype=np.int64)
    inside = np.ones(slices.shape, dtype=np.bool_)
    for axis, size in enumerate(grid.tissue.shape):
        place = steps[axis, 3] + sum(steps[axis, k] * along[k] for k in range(3))
        near = np.rint(place).astype(np.int64)
        inside &= (near >= 0) & (near < size)
        flat = flat * size + np.clip(near, 0, size - 1)
    return flat, inside
