"""Records as the inventory gives them, without files, for tests of stacking and selection."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from service.ingest.records import FramePhysics, FrameRecord, InstanceRecord
from tests.builders import Grid

STIR = FramePhysics(
    image_type=("ORIGINAL", "PRIMARY", "M"),
    scanning_sequence=("SE", "IR"),
    repetition_time_ms=4500,
    echo_time_ms=60,
    inversion_time_ms=160,
    field_strength_t=1.5,
)
T1 = FramePhysics(
    image_type=("ORIGINAL", "PRIMARY", "M"),
    scanning_sequence=("SE",),
    repetition_time_ms=550,
    echo_time_ms=10,
)
T2 = replace(T1, repetition_time_ms=3500, echo_time_ms=95)
ROWS, COLUMNS = 256, 224


def frame(grid: Grid, index: float, physics: FramePhysics = STIR, **changes: object) -> FrameRecord:
    x, y, z = grid.position(index)
    cosines = grid.orientation
    known = FrameRecord(
        number=1,
        position=(x, y, z),
        orientation=(cosines[0], cosines[1], cosines[2], cosines[3], cosines[4], cosines[5]),
        pixel_spacing=(grid.spacing[1], grid.spacing[2]),
        slice_thickness_mm=grid.spacing[0],
        physics=physics,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def instance(
    one: FrameRecord, number: int, series: str = "1.2.3", **changes: object
) -> InstanceRecord:
    known = InstanceRecord(
        path=Path("unread"),
        file=f"{series}-{number}",
        sop_instance_uid=f"{series}.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        study_instance_uid="1.2",
        series_instance_uid=series,
        frame_of_reference_uid="1.9",
        modality="MR",
        rows=ROWS,
        columns=COLUMNS,
        samples_per_pixel=1,
        bits_allocated=16,
        photometric="MONOCHROME2",
        frames=(one,),
        instance_number=number,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def stack(
    grid: Grid | None = None,
    indices: Iterable[float] = range(12),
    physics: FramePhysics = STIR,
    series: str = "1.2.3",
    first_number: int = 1,
    **changes: object,
) -> list[InstanceRecord]:
    """Classic instances at places of a grid, numbered in that order."""
    return [
        instance(frame(grid or Grid(), index, physics), first_number + n, series, **changes)
        for n, index in enumerate(indices)
    ]


def expected_affine(grid: Grid) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Index (slice, row, column) to LPS mm, written down from PS3.3 C.7.6.2.1.1 on its own."""
    row, column = np.reshape(grid.orientation, (2, 3))
    affine = np.eye(4)
    affine[:3, 0] = np.subtract(grid.position(1), grid.position(0))
    affine[:3, 1] = column * grid.spacing[1]
    affine[:3, 2] = row * grid.spacing[2]
    affine[:3, 3] = grid.position(0)
    return affine
