"""A study from bytes to chosen volumes, with an answer for every file and every stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.findings import StudyVolumes
from models.volume import Volume
from service.ingest.body_part import stated_elsewhere
from service.ingest.contrast import (
    INVERTED,
    FatRim,
    agreed,
    fat_rim,
    is_inverted,
    noise_quality,
    plainest_other,
)
from service.ingest.decode import PixelDecoder
from service.ingest.grid import StackPolicy
from service.ingest.grouping import Slice
from service.ingest.inventory import take_inventory
from service.ingest.records import (
    Ingested,
    InstanceRecord,
    Refusal,
    RefusedFile,
    SeriesOutcome,
)
from service.ingest.safety import Limits
from service.ingest.selection import (
    LEVELS_ONLY,
    NEEDED,
    REFERENCE_ORDER,
    Candidate,
    Selection,
    abstentions_for,
    choose,
    companion_of,
    screen,
)
from service.ingest.sequences import SeriesRole, role_of
from service.ingest.series_text import words_of
from service.ingest.source_headers import source_headers
from service.ingest.stacking import Stack, stacks_of, volume_of, without

_OTHER_STUDY = Refusal("other_study", "Another study of the input is read.")
_DUPLICATE = Refusal("duplicate_position", "Another picture of the same plane is used.")


@dataclass(slots=True)
class _Reading:
    """One stack on its way: what is known of it so far."""

    stack: Stack
    role: SeriesRole
    refusal: Refusal | None
    volume: Volume | None = None
    rim: FatRim | None = None
    used: bool = False


def read_study(source: Path, *, limits: Limits, policy: StackPolicy, workspace: Path) -> Ingested:
    """Read one study: take stock, tell roles, decode what matters, check pixels, choose.

    Args:
        source: A folder, zip, DICOMDIR or single file.
        limits: Caps on size, nesting and time.
        policy: Tolerances and repairs of geometry.
        workspace: Where zip members may be spooled; the caller removes it.

    Returns:
        The chosen volumes, or none with the reason; files used and refused add up to all given.
    """
    inventory = take_inventory(source, limits, workspace)
    study_uid, records = main_study(inventory.records)
    readings = [_by_header(stack, policy) for stack in stacks_of(records, policy)]
    unread: dict[str, Refusal] = {}
    with PixelDecoder(limits) as decoder:
        for roles in (NEEDED, LEVELS_ONLY):
            wanted = [r for r in readings if r.refusal is None and r.role.role in roles]
            for reading in wanted:
                unread.update(_decode(reading, decoder, policy))
            if any(r.volume is not None and r.role.role in REFERENCE_ORDER[:-1] for r in wanted):
                break
        _check_pixels(readings)
        selection = _select(readings)
        volumes = _with_companions(selection.volumes, readings, decoder)
    outcomes = tuple(_outcome(reading) for reading in readings)
    used, refused = _account(inventory.records, readings, unread)
    chosen = (record for r in readings if r.used for record, _ in r.stack.slices)
    return Ingested(
        study_uid,
        outcomes,
        len(used),
        (*inventory.refused, *refused),
        volumes,
        abstentions_for(volumes),
        source_headers(chosen, limits),
    )


def main_study(records: Sequence[InstanceRecord]) -> tuple[str, tuple[InstanceRecord, ...]]:
    """The study with most sagittal MR images and its instances; "" when there is none."""
    frames: Counter[str] = Counter()
    for record in records:
        sagittal = sum(_looks_sagittal(frame.orientation) for frame in record.frames)
        # Any image counts a little, so that a study without sagittal ones is still answered for.
        frames[record.study_instance_uid] += 1000 * sagittal + len(record.frames)
    if not frames:
        return "", ()
    chosen = min(frames, key=lambda uid: (-frames[uid], uid))
    return chosen, tuple(r for r in records if r.study_instance_uid == chosen)


def _looks_sagittal(orientation: tuple[float, ...] | None) -> bool:
    if orientation is None:
        return False
    row, column = np.reshape(orientation, (2, 3))
    return bool(abs(np.cross(row, column)[0]) > 0.85)


def _by_header(stack: Stack, policy: StackPolicy) -> _Reading:
    instance = stack.instance
    words = words_of(instance.series_description, instance.protocol_name)
    role = role_of(stack.physics, words, stack.count, stack.planes_in_series)
    if stated_elsewhere(stack):
        role = replace(role, warnings=(*role.warnings, "body_part_disagrees"))
    return _Reading(stack, role, screen(stack, role, policy))


def _decode(reading: _Reading, decoder: PixelDecoder, policy: StackPolicy) -> dict[str, Refusal]:
    """Read a stack's pixels into `reading.volume`; return the files that could not be read.

    A slice that can't be read is a missing slice: the geometry is checked again without it.
    """
    pixels = dict(_pixels(reading.stack.slices, decoder))
    failed = {one: p for one, p in pixels.items() if isinstance(p, Refusal)}
    if failed:
        lost = [one for one in reading.stack.slices if _key(one) in failed]
        spare = dict(_pixels(reading.stack.dropped, decoder)) if reading.stack.dropped else {}
        lost += [one for one in reading.stack.dropped if isinstance(spare[_key(one)], Refusal)]
        pixels |= spare
        stack = without(reading.stack, lost, policy)
        if stack is None:
            reading.refusal = next(iter(failed.values()))
            return {file: refusal for (file, _), refusal in failed.items()}
        reading.stack = stack
        reading.refusal = screen(stack, reading.role, policy)
    if reading.refusal is None:
        planes = [pixels[_key(one)] for one in reading.stack.slices]
        arrays = [plane for plane in planes if not isinstance(plane, Refusal)]
        volume = volume_of(reading.stack, arrays, reading.role.role)
        if is_inverted(volume):
            reading.refusal = INVERTED
        else:
            reading.volume, reading.rim = volume, fat_rim(volume)
    return {file: refusal for (file, _), refusal in failed.items()}


def _key(one: Slice) -> tuple[str, int]:
    return one[0].file, one[1].number


def _pixels(
    slices: Sequence[Slice], decoder: PixelDecoder
) -> Iterable[tuple[tuple[str, int], NDArray[np.float32] | Refusal]]:
    return zip(map(_key, slices), decoder.decode_frames(slices), strict=True)


def _check_pixels(readings: Sequence[_Reading]) -> None:
    """Let the pixels confirm or correct the role of every decoded stack."""
    rims = {
        str(index): reading.rim
        for index, reading in enumerate(readings)
        if reading.volume is not None
    }
    for index, reading in enumerate(readings):
        if reading.volume is None:
            continue
        plainest = plainest_other(str(index), rims)
        reading.role = agreed(reading.role, reading.rim, plainest)
        reading.volume = replace(reading.volume, role=reading.role.role, limits=reading.role.limits)


def _select(readings: Sequence[_Reading]) -> Selection:
    decoded = [reading for reading in readings if reading.volume is not None]
    selection = choose(
        [
            Candidate(r.stack, r.role, r.volume, noise_quality(r.volume))
            for r in decoded
            if r.volume is not None
        ]
    )
    for index, reading in enumerate(decoded):
        reading.used = index in selection.used
        reading.refusal = selection.refused.get(index)
    for reading in readings:
        if reading.volume is None and reading.refusal is None:
            code = "post_contrast" if reading.role.role.value == "t1_post" else "role_not_needed"
            reading.refusal = Refusal(code, "A better suited series of the study is used.")
    return selection


def _with_companions(
    volumes: StudyVolumes | None, readings: Sequence[_Reading], decoder: PixelDecoder
) -> StudyVolumes | None:
    """Add localizers and other stations, to count levels on; what is added is used."""
    if volumes is None:
        return None
    companions: list[Volume] = []
    for reading in readings:
        if reading.refusal is None or not companion_of(
            volumes.reference, reading.stack, reading.refusal
        ):
            continue
        volume = reading.volume
        if volume is None:
            planes = [plane for _, plane in _pixels(reading.stack.slices, decoder)]
            arrays = [plane for plane in planes if not isinstance(plane, Refusal)]
            if len(arrays) < len(planes):
                continue
            volume = volume_of(reading.stack, arrays, reading.role.role)
        companions.append(volume)
        reading.used, reading.refusal = True, None
        reading.role = replace(
            reading.role, warnings=(*reading.role.warnings, "used_to_count_levels_only")
        )
    return replace(volumes, companions=tuple(companions))


def _outcome(reading: _Reading) -> SeriesOutcome:
    stack, role = reading.stack, reading.role
    spacing = stack.spacing
    return SeriesOutcome(
        stack.instance.series_instance_uid,
        role.role,
        role.confidence,
        role.evidence,
        reading.used,
        reading.refusal,
        stack.plane,
        stack.count,
        None if spacing is None else spacing.mm,
        (*stack.codes, *role.warnings),
    )


def _account(
    records: Sequence[InstanceRecord],
    readings: Sequence[_Reading],
    unread: dict[str, Refusal],
) -> tuple[set[str], list[RefusedFile]]:
    """Put every file in one place: its pixels are in a chosen volume, or it is refused."""
    used = {
        record.file for reading in readings if reading.used for record, _ in reading.stack.slices
    }
    why: dict[str, Refusal] = {}
    for reading in readings:
        for record, _ in (*reading.stack.slices, *reading.stack.dropped):
            why.setdefault(
                record.file, _DUPLICATE if reading.used else reading.refusal or _DUPLICATE
            )
    why.update(unread)
    refused = [
        RefusedFile(record.file, why.get(record.file, _OTHER_STUDY))
        for record in records
        if record.file not in used
    ]
    return used, sorted(refused, key=lambda one: one.file)
