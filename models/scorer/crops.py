"""Level-aligned crops: one body in the middle, its neighbours in view, one channel a role.

A level is judged against its neighbours, as a reader does. Every crop has the same grid: slices to
the left, rows downwards along the body's own axis, columns to the back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation, StudyVolumes, Vertebra
from models.geometry import Affine, sagittal_order
from models.scorer.boxes import Box, body_boxes
from models.scorer.normalisation import (
    LOG_RANGE,
    MarrowField,
    fit_marrow_field,
    marrow_points,
    to_log_ratio,
)
from models.scorer.resampling import pooled, resample_together
from models.volume import FLUID_SENSITIVE, Role, Volume, in_sagittal_order

CROP_SHAPE: Final = (12, 72, 48)
"""(slice, row, column) voxels of a crop."""

CROP_PITCH_MM: Final = (4.0, 1.4, 1.4)
"""(slice, row, column) pitch: 48 x 101 x 67 mm, a body with both neighbours and the canal."""

POSTERIOR_SHIFT_MM: Final = 6.0
"""The crop's centre lies this far behind the body's centroid, so that the canal is in view."""

CHANNELS: Final = ("fluid", "t1", "t2", "dixon_fat", "body", "bodies")
"""What each channel of a crop is; the last two are masks (0 to 1)."""

PRESENCE: Final = ("stir", "t2_fs", "dixon_water", "gradient_echo", "t1", "t2", "dixon_fat")
"""What each value of the presence vector says is there; the first three are exclusive."""

NORMAL_QUANTILE: Final = {"fluid": 0.35, "t1": 0.65, "t2": 0.5, "dixon_fat": 0.65}
"""Quantile of a body's signal that stands for its normal marrow: edema is bright in the first and
dark in T1 and fat."""

GRADIENT_ECHO_LIMIT: Final = "gradient_echo_water_image"
"""The volume limit that sets the `gradient_echo` flag."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A series made ready for cropping: sagittal order, pooled, with its marrow field."""

    name: str
    volume: Volume
    field: MarrowField


@dataclass(frozen=True, slots=True)
class LevelCrops:
    """The network's input for a study.

    Attributes:
        array: (level, channel, slice, row, column) float32, channels as in `CHANNELS`.
        presence: (level, len(PRESENCE)) float32 of 0 and 1.
        affines: (level, 4, 4) crop index to LPS mm.
        channels: The series used, by channel name, for measurements.
        boxes: Where each body lies in the label volume, by its index.
    """

    array: NDArray[np.float32]
    presence: NDArray[np.float32]
    affines: NDArray[np.float64]
    channels: dict[str, Channel]
    boxes: dict[int, Box] = field(default_factory=dict)


def fluid_sensitive(study: StudyVolumes) -> Volume | None:
    """The study's best fluid-sensitive volume, or None."""
    for role in FLUID_SENSITIVE:
        if role in study.by_role:
            return study.by_role[role]
    return None


Ready = Callable[[NDArray[np.float32], NDArray[np.float32]], object]
"""Takes (level, channel, *CROP_SHAPE) crops and their (level, len(PRESENCE)) presence."""


def crop_affine(vertebra: Vertebra, slice_direction: NDArray[np.float64]) -> Affine:
    """Grid of a vertebra's crop.

    Args:
        vertebra: Its centroid and axes are used.
        slice_direction: (3,) from one slice of the reference volume to the next, to the left. The
            crop turns in plane only: with slices 4 mm apart a tilt would invent anatomy.

    Returns:
        Crop index (slice, row, column) to LPS mm.
    """
    left = slice_direction / np.linalg.norm(slice_direction)
    head = vertebra.axes_lps[2] - left * float(vertebra.axes_lps[2] @ left)
    head = head / np.linalg.norm(head)
    back = np.cross(head, left)
    affine = np.eye(4)
    directions = (left, -head, back)
    for axis, (direction, pitch) in enumerate(zip(directions, CROP_PITCH_MM, strict=True)):
        affine[:3, axis] = direction * pitch
    centre = vertebra.centroid_lps_mm + POSTERIOR_SHIFT_MM * back
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(CROP_SHAPE) - 1) / 2)
    return affine


def ready_channels(
    study: StudyVolumes, points: dict[int, NDArray[np.float64]]
) -> dict[str, Channel]:
    """Choose, reorder, pool and normalise the series a crop is made of.

    Args:
        study: The chosen volumes.
        points: Of `marrow_points`.

    Returns:
        Channel name to channel; a series in which no body shows signal is left out.
    """
    chosen: dict[str, Volume | None] = {
        "fluid": fluid_sensitive(study),
        "t1": study.by_role.get(Role.T1),
        "t2": study.by_role.get(Role.T2),
        "dixon_fat": study.by_role.get(Role.DIXON_FAT),
    }
    channels = {}
    for name, volume in chosen.items():
        if volume is None:
            continue
        ordered = in_sagittal_order(volume)
        array, affine = pooled(ordered.array, ordered.affine, CROP_PITCH_MM)
        small = Volume(array=array, affine=affine, role=volume.role, limits=volume.limits)
        field = fit_marrow_field(small, points, NORMAL_QUANTILE[name])
        if field is not None:
            channels[name] = Channel(name, small, field)
    return channels


def presence_of(channels: dict[str, Channel]) -> NDArray[np.float32]:
    """(len(PRESENCE),) float32 flags of what the channels hold."""
    there = set(channels) - {"fluid"}
    if "fluid" in channels:
        fluid = channels["fluid"].volume
        there.add(fluid.role.value)
        if GRADIENT_ECHO_LIMIT in fluid.limits:
            there.add("gradient_echo")
    return np.array([name in there for name in PRESENCE], dtype=np.float32)


def extract_crops(
    study: StudyVolumes, localisation: Localisation, ready: Ready | None = None
) -> LevelCrops:
    """Cut one crop per vertebra out of every series of a study.

    Args:
        study: The chosen volumes.
        localisation: Bodies on the reference grid.
        ready: Given the crops of each half of the levels, and their presence, once they are cut, so
            that a network may begin on the first ones; not called where no series has signal.

    Returns:
        Crops in the order of `localisation.vertebrae`; channels without a series are zero.
    """
    boxes = body_boxes(localisation.labels)
    channels = ready_channels(study, marrow_points(localisation, boxes))
    slice_direction = _to_the_left(study.reference.affine)
    groups = _of_one_grid(channels.values())
    count = len(localisation.vertebrae)
    array = np.zeros((count, len(CHANNELS), *CROP_SHAPE), dtype=np.float32)
    affines = np.array(
        [crop_affine(vertebra, slice_direction) for vertebra in localisation.vertebrae]
    ).reshape(count, 4, 4)
    presence = np.repeat(presence_of(channels)[None], count, axis=0)
    for half in (slice(0, count // 2), slice(count // 2, count)):
        for level in range(count)[half]:
            for group in groups:
                columns = [CHANNELS.index(channel.name) for channel in group]
                array[level, columns] = log_ratios_on(group, affines[level])
            index = localisation.vertebrae[level].index
            array[level, -2:] = _masks_on(localisation, index, affines[level])
        if ready is not None and channels and len(array[half]):
            ready(array[half], presence[half])
    return LevelCrops(array, presence, affines, channels, boxes)


def _to_the_left(affine: Affine) -> NDArray[np.float64]:
    """(3,) LPS mm from one slice of a stored grid to the next one on the left."""
    axes, flips = sagittal_order(affine)
    step = affine[:3, axes[0]]
    return np.asarray(-step if flips[0] else step)


def _of_one_grid(channels: Iterable[Channel]) -> list[list[Channel]]:
    """Channels by the grid they lie on: what is interpolated together costs little more than one.

    The series of a study usually share their slices.
    """
    groups: dict[tuple[bytes, tuple[int, ...]], list[Channel]] = {}
    for channel in channels:
        volume = channel.volume
        groups.setdefault((volume.affine.tobytes(), volume.array.shape), []).append(channel)
    return list(groups.values())


def log_ratios_on(channels: Sequence[Channel], grid: Affine) -> NDArray[np.float32]:
    """Series of one grid on a crop's grid, as clipped log multiples of normal marrow.

    Returns:
        (channel, *CROP_SHAPE) float32; voxels outside the series hold the lowest value, like air.
    """
    signals, inside = resample_together(
        [channel.volume.array for channel in channels], channels[0].volume.affine, grid, CROP_SHAPE
    )
    points = _coarse_points(grid)
    logs = np.empty((len(channels), *CROP_SHAPE), dtype=np.float32)
    for number, channel in enumerate(channels):
        # The field is smooth: every fourth row and column is enough, and costs a sixteenth.
        coarse = np.exp(channel.field.log_at(points)).astype(np.float32)
        expected: NDArray[np.float32] = coarse.repeat(4, axis=1).repeat(4, axis=2)
        logs[number] = np.where(inside, to_log_ratio(signals[number] / expected), LOG_RANGE[0])
    return logs


def _coarse_points(grid: Affine) -> NDArray[np.float64]:
    """LPS mm of the centres of 4 x 4 in-plane blocks of a crop."""
    slices, rows, columns = CROP_SHAPE
    index = np.stack(
        np.meshgrid(
            np.arange(slices), np.arange(1.5, rows, 4), np.arange(1.5, columns, 4), indexing="ij"
        ),
        axis=-1,
    )
    return np.asarray(index @ grid[:3, :3].T + grid[:3, 3])


def _masks_on(localisation: Localisation, index: int, grid: Affine) -> NDArray[np.float32]:
    """(2, *CROP_SHAPE): this body's mask and all bodies' mask on a crop's grid."""
    labels = localisation.labels
    corners = np.stack(
        np.meshgrid(*[(0, size - 1) for size in CROP_SHAPE], indexing="ij"), axis=-1
    ).reshape(-1, 3)
    mapping = np.linalg.inv(localisation.affine) @ grid
    reach = corners @ mapping[:3, :3].T + mapping[:3, 3]
    low = np.clip(np.floor(reach.min(axis=0)).astype(int) - 1, 0, labels.shape)
    high = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 2, 0, labels.shape)
    part = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    if not part.size:
        return np.zeros((2, *CROP_SHAPE), dtype=np.float32)
    shifted = localisation.affine.copy()
    shifted[:3, 3] += localisation.affine[:3, :3] @ low
    pitch = _pooling_of(shifted)
    soft = [pooled(mask.astype(np.float32), shifted, pitch) for mask in (part == index, part > 0)]
    values, inside = resample_together([mask for mask, _ in soft], soft[0][1], grid, CROP_SHAPE)
    return np.where(inside, values, np.float32(0.0))


def _pooling_of(affine: Affine) -> tuple[float, float, float]:
    """The crop's pitch in the array order of a stored grid (slices may lie on any axis)."""
    towards_left = int(np.argmax(np.abs(affine[0, :3]) / np.linalg.norm(affine[:3, :3], axis=0)))
    pitch = [CROP_PITCH_MM[1]] * 3
    pitch[towards_left] = CROP_PITCH_MM[0]
    return pitch[0], pitch[1], pitch[2]
