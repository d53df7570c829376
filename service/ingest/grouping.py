"""Which frames of a series belong to one stack: orientation, size, echo, Dixon part, station."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.ingest.records import FrameRecord, InstanceRecord

Slice = tuple[InstanceRecord, FrameRecord]
"""One image with the instance it lies in."""

SAME_DIRECTION_DEGREES: Final = 0.5
"""Frames whose orientations differ by less belong to one stack (prescriptions are parallel)."""


SAME_SPACING_MM: Final = 1e-3
SAME_ECHO_MS: Final = 0.3
STATION_MM: Final = 50.0
"""Stations of one spine lie a good part of a field of view apart; a tilt per slice is far less."""


def acquisition_order(one: Slice) -> tuple[object, ...]:
    """Sort key that is total and owes nothing to the order of files."""
    record, frame = one
    return (
        frame.temporal_position or 0,
        record.instance_number or 0,
        record.sop_instance_uid,
        record.file,
        frame.number,
    )


def has_geometry(frame: FrameRecord) -> bool:
    """Whether the frame's place in the patient is stated with finite numbers."""
    if frame.position is None or frame.orientation is None or frame.pixel_spacing is None:
        return False
    return bool(np.all(np.isfinite((*frame.position, *frame.orientation, *frame.pixel_spacing))))


def directions_of(slices: Sequence[Slice]) -> list[int]:
    """Number the orientations of frames; nearly equal ones share a number."""
    chord = float(np.radians(SAME_DIRECTION_DEGREES))
    return _numbered([frame.orientation or () for _, frame in slices], chord)


def _numbered(values: Sequence[tuple[float, ...]], limit: float) -> list[int]:
    """Number values so that those within `limit` of one seen earlier share its number.

    Decimal strings hold at most 16 characters (PS3.5 6.2), so equal values can differ in their
    last digits: never compare with ==, and never by rounding, which splits at its boundaries.
    """
    seen: list[tuple[float, ...]] = []
    exact: dict[tuple[float, ...], int] = {}
    for value in values:
        if value not in exact:
            near = [i for i, other in enumerate(seen) if _apart(value, other) <= limit]
            exact[value] = near[0] if near else len(seen)
            if not near:
                seen.append(value)
    return [exact[value] for value in values]


def _apart(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Largest difference of a component: for unit vectors a chord, so an angle when small."""
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def stack_keys(slices: Sequence[Slice]) -> list[tuple[object, ...]]:
    """What frames of one stack share besides their series."""
    directions = directions_of(slices)
    spacings = _numbered([frame.pixel_spacing or () for _, frame in slices], SAME_SPACING_MM)
    echoes = _numbered([(frame.physics.echo_time_ms or 0.0,) for _, frame in slices], SAME_ECHO_MS)
    return [
        (
            direction,
            spacing,
            echo,
            record.rows,
            record.columns,
            record.frame_of_reference_uid,
            frame.stack_id,
            frame.echo_number,
            frame.physics.inversion_time_ms,
            frame.physics.image_type,
            frame.physics.complex_component,
            frame.physics.diffusion_b_value,
        )
        for (record, frame), direction, spacing, echo in zip(
            slices, directions, spacings, echoes, strict=True
        )
    ]


def stations_of(group: list[Slice]) -> list[list[Slice]]:
    """Separate parts of the spine scanned in one series: same planes, another place in them."""
    along_row, along_column = np.asarray(group[0][1].orientation).reshape(2, 3)
    stations = [group]
    for direction in (along_column, along_row):
        stations = [part for station in stations for part in _apart_along(station, direction)]
    return stations


def _apart_along(group: list[Slice], direction: NDArray[np.float64]) -> list[list[Slice]]:
    """Cut a group where first voxels jump along a direction; a tilt moves them little by little."""
    offsets = np.asarray([one.position for _, one in group]) @ direction
    order = np.argsort(offsets, kind="stable")
    numbers = np.concatenate(([0], np.cumsum(np.diff(offsets[order]) > STATION_MM)))
    parts: list[list[Slice]] = [[] for _ in range(int(numbers[-1]) + 1)]
    for index, number in sorted(zip(order.tolist(), numbers.tolist(), strict=True)):
        parts[number].append(group[index])
    return parts


def planes_of(
    group: Sequence[Slice], normal: NDArray[np.float64], same_plane_mm: float
) -> list[list[Slice]]:
    """Frames by plane, ascending along the normal; frames of a plane in acquisition order."""
    heights = np.asarray([frame.position for _, frame in group]) @ normal
    order = np.argsort(heights, kind="stable")
    planes: list[list[int]] = []
    for index in order.tolist():
        if planes and heights[index] - heights[planes[-1][0]] < same_plane_mm:
            planes[-1].append(index)
        else:
            planes.append([index])
    return [[group[index] for index in sorted(plane)] for plane in planes]
