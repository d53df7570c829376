"""Frames to stacks to volumes: order and pitch from projected positions, never from numbers.

A series may hold several stacks (orientations, echoes, Dixon parts, repeats). Each is laid on a
regular grid along its own slice step; what does not fit is a finding with a code, and the policy
says which findings are repaired and which refuse the stack. Series readers of common toolkits
misplace slices silently when one is missing; nothing here takes their word.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.errors import GeometryError
from models.geometry import Affine, Plane, Spacing, affine_lps, plane_of, slice_normal
from models.volume import Role, Volume
from service.ingest.grid import Action, StackFinding, StackPolicy, grid_findings, places_of
from service.ingest.grouping import (
    Slice,
    acquisition_order,
    directions_of,
    has_geometry,
    planes_of,
    stack_keys,
    stations_of,
)
from service.ingest.records import FramePhysics, FrameRecord, InstanceRecord, Refusal


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames of one series that lie on one grid, ascending along the right-handed normal.

    Attributes:
        slices: Kept frames in order of position.
        places: Index of each on the regular grid; a number left out is a missing slice.
        dropped: Second pictures of a plane that is already there.
        affine: Index (slice, row, column) to LPS mm, or None when the geometry is refused.
        plane: Of the slice normal, or None without orientation.
        planes_in_series: How many orientations the series has.
        findings: Checks that did not pass.
    """

    slices: tuple[Slice, ...]
    places: tuple[int, ...] = ()
    dropped: tuple[Slice, ...] = ()
    affine: Affine | None = None
    plane: Plane | None = None
    planes_in_series: int = 1
    findings: tuple[StackFinding, ...] = field(default=())

    @property
    def instance(self) -> InstanceRecord:
        """An instance that stands for the series."""
        return self.slices[0][0]

    @property
    def physics(self) -> FramePhysics:
        """Acquisition attributes; one stack has one physics."""
        return self.slices[0][1].physics

    @property
    def count(self) -> int:
        """Slices of the grid, missing ones included."""
        return self.places[-1] + 1 if self.places else len(self.slices)

    @property
    def spacing(self) -> Spacing | None:
        """Pitch in mm; None when the geometry is refused."""
        if self.affine is None:
            return None
        pitch = np.linalg.norm(self.affine[:3, :3], axis=0)
        return Spacing(float(pitch[0]), float(pitch[1]), float(pitch[2]))

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of all findings."""
        return tuple(finding.code for finding in self.findings)

    @property
    def refusal(self) -> Refusal | None:
        """Why the policy refuses this stack, or None."""
        for finding in self.findings:
            if finding.action is Action.REFUSE:
                return Refusal(finding.code, finding.detail)
        return None


def stacks_of(records: Iterable[InstanceRecord], policy: StackPolicy) -> tuple[Stack, ...]:
    """Split instances into stacks and check the geometry of each.

    Every frame is in exactly one stack, kept or dropped. The order of the input changes nothing.

    Args:
        records: Instances of any number of series.
        policy: Tolerances and repairs.

    Returns:
        Stacks ordered by series number, series UID and first frame.
    """
    by_series: dict[str, list[Slice]] = defaultdict(list)
    for record in records:
        by_series[record.series_instance_uid].extend((record, frame) for frame in record.frames)
    stacks: list[Stack] = []
    for slices in by_series.values():
        stacks += _stacks_of_series(sorted(slices, key=acquisition_order), policy)
    return tuple(sorted(stacks, key=_stack_order))


def _stack_order(stack: Stack) -> tuple[object, ...]:
    record, frame = stack.slices[0]
    return (
        record.series_number or 0,
        record.series_instance_uid,
        frame.echo_number or 0,
        frame.physics.echo_time_ms or 0.0,
        *acquisition_order(stack.slices[0]),
    )


def _stacks_of_series(slices: Sequence[Slice], policy: StackPolicy) -> list[Stack]:
    placed = [one for one in slices if has_geometry(one[1])]
    unplaced = tuple(one for one in slices if not has_geometry(one[1]))
    groups: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for key, one in zip(stack_keys(placed), placed, strict=True):
        groups[key].append(one)
    stacks = [
        stack
        for group in groups.values()
        for station in stations_of(group)
        for stack in _split_repeats(station, policy)
    ]
    count = len(set(directions_of(placed)))
    warning = _end_slices_finding(slices, stacks)
    stacks = [replace(s, planes_in_series=count, findings=(*s.findings, *warning)) for s in stacks]
    if unplaced:
        detail = f"{len(unplaced)} frames without position, orientation or pixel spacing"
        finding = StackFinding("geometry_missing", Action.REFUSE, detail)
        stacks.append(Stack(unplaced, findings=(finding,), planes_in_series=count))
    return stacks


def _split_repeats(group: list[Slice], policy: StackPolicy) -> list[Stack]:
    """Separate whole repeats of a stack; drop single second pictures of a plane."""
    try:
        normal = slice_normal(group[0][1].orientation or ())
    except (GeometryError, ValueError):
        finding = StackFinding(
            "orientation_invalid", Action.REFUSE, "not two unit vectors at 90 degrees"
        )
        return [Stack(tuple(group), findings=(finding,))]
    planes = planes_of(group, normal, policy.same_plane_mm)
    counts = {len(plane) for plane in planes}
    if counts == {1}:
        return [_checked([plane[0] for plane in planes], (), normal, policy)]
    repeats = max(counts)
    if counts == {repeats} and len(planes) > 1:
        detail = f"{repeats} pictures of every plane: {repeats} stacks"
        finding = StackFinding("duplicate_positions", Action.WARN, detail)
        runs = [_checked([p[i] for p in planes], (), normal, policy) for i in range(repeats)]
        return [replace(run, findings=(finding, *run.findings)) for run in runs]
    kept = [plane[0] for plane in planes]
    dropped = tuple(one for plane in planes for one in plane[1:])
    finding = StackFinding("duplicate_positions", Action.WARN, f"{len(dropped)} pictures dropped")
    stack = _checked(kept, dropped, normal, policy)
    return [replace(stack, findings=(finding, *stack.findings))]


def _checked(
    kept: list[Slice],
    dropped: tuple[Slice, ...],
    normal: NDArray[np.float64],
    policy: StackPolicy,
) -> Stack:
    """Lay slices, one per plane and ascending, on a regular grid and check it."""
    plane = plane_of(normal)
    frame = kept[0][1]
    stack = Stack(tuple(kept), tuple(range(len(kept))), dropped, plane=plane)
    positions = np.asarray([one.position for _, one in kept], dtype=np.float64)
    if len(kept) == 1:
        # One slice has no pitch: its thickness keeps the affine regular, and the use is refused.
        step = normal * (frame.slice_thickness_mm or 1.0)
        places = np.zeros(1, dtype=np.int64)
    else:
        heights = positions @ normal
        places = places_of(heights)
        step = (positions[-1] - positions[0]) / places[-1]
    findings = grid_findings(positions, places, step, normal, policy)
    findings += _header_findings(frame, float(np.linalg.norm(step)), len(kept))
    try:
        affine = affine_lps(
            Spacing.from_pixel_spacing(
                frame.pixel_spacing or (0.0, 0.0), float(np.linalg.norm(step))
            ),
            np.reshape(frame.orientation or (), (2, 3)),
            positions[0],
            step,
        )
    except GeometryError:
        refused = StackFinding("geometry_invalid", Action.REFUSE, "pixel spacing is not positive")
        return replace(stack, findings=(*findings, refused))
    return replace(stack, places=tuple(places.tolist()), affine=affine, findings=tuple(findings))


def _header_findings(frame: FrameRecord, pitch_mm: float, slices: int) -> list[StackFinding]:
    """Measured pitch against the stated one: every second slice missing shows in nothing else."""
    stated = frame.spacing_between_slices_mm
    if slices < 2 or not stated or stated <= 0 or pitch_mm < 1.5 * stated:
        return []
    detail = f"slices {pitch_mm:.2f} mm apart, {stated:.2f} stated"
    return [StackFinding("pitch_disagrees_with_header", Action.WARN, detail)]


def _end_slices_finding(
    slices: Sequence[Slice], stacks: Sequence[Stack]
) -> tuple[StackFinding, ...]:
    """Instance numbers left out that no gap inside a stack explains.

    No geometry check can see a missing first or last slice; numbers hint at it. Only classic
    instances are counted: an enhanced object holds its stack whole.
    """
    numbers = {
        record.instance_number
        for record, _ in slices
        if record.instance_number is not None and len(record.frames) == 1
    }
    if len(numbers) < 2:
        return ()
    absent = max(numbers) - min(numbers) + 1 - len(numbers)
    # A series numbered from 2 or 3 on has lost its beginning; vendors that number the series of
    # an examination through start far above.
    absent += min(numbers) - 1 if 1 < min(numbers) <= 3 else 0
    inside = sum(stack.count - len(stack.slices) for stack in stacks)
    unexplained = absent - inside
    if not 0 < unexplained <= len(numbers) // 2:
        return ()
    detail = f"{unexplained} instance numbers left out"
    return (StackFinding("end_slices_may_be_missing", Action.WARN, detail),)


def use_findings(stack: Stack, policy: StackPolicy) -> tuple[StackFinding, ...]:
    """Checks on whether a stack of sound geometry can hold a spine."""
    findings = []
    spacing = stack.spacing
    if len(stack.slices) == 1:
        findings.append(StackFinding("single_slice", Action.REFUSE, "one slice is no volume"))
    elif stack.count < policy.min_slices:
        detail = f"{stack.count} slices, {policy.min_slices} needed"
        findings.append(StackFinding("too_few_slices", Action.REFUSE, detail))
    if spacing is not None and spacing.slice_mm > policy.max_pitch_mm and len(stack.slices) > 1:
        detail = f"slices {spacing.slice_mm:.1f} mm apart, {policy.max_pitch_mm:g} allowed"
        findings.append(StackFinding("pitch_too_large", Action.REFUSE, detail))
    longer = max(stack.instance.rows, stack.instance.columns)
    if longer < policy.min_matrix:
        detail = f"{longer} pixels along the longer side, {policy.min_matrix} needed"
        findings.append(StackFinding("matrix_too_small", Action.REFUSE, detail))
    return tuple(findings)


def without(stack: Stack, unread: Sequence[Slice], policy: StackPolicy) -> Stack | None:
    """The stack without slices whose pixels could not be read, checked again; None if none is left.

    A second picture of the same plane takes the place of an unread one.
    """
    gone = {(record.file, frame.number) for record, frame in unread}
    left = [
        (record, frame)
        for record, frame in (*stack.slices, *stack.dropped)
        if (record.file, frame.number) not in gone
    ]
    if not left:
        return None
    again = _split_repeats(sorted(left, key=acquisition_order), policy)
    best = max(again, key=lambda s: len(s.slices))
    lost = StackFinding("unreadable_slices", Action.WARN, f"{len(unread)} slices not readable")
    return replace(best, planes_in_series=stack.planes_in_series, findings=(*best.findings, lost))


def volume_of(
    stack: Stack, planes: Sequence[NDArray[np.float32]], role: Role, limits: tuple[str, ...] = ()
) -> Volume:
    """Put pixels on the grid of a stack; slices missing inside are interpolated.

    Args:
        stack: With an affine and no refusal.
        planes: (row, column) float32 pixels, one per slice of `stack.slices`, in their order.
        role: What the series is.
        limits: Codes that bound conclusions.

    Returns:
        The volume; an interpolated slice has no instance ("") and frame number 0.

    Raises:
        GeometryError: The stack was refused, or pixels do not match it.
    """
    if stack.affine is None or stack.refusal is not None:
        raise GeometryError("a refused stack has no volume")
    shape = (stack.count, stack.instance.rows, stack.instance.columns)
    if len(planes) != len(stack.slices) or any(plane.shape != shape[1:] for plane in planes):
        raise GeometryError("pixels do not match the stack")
    array = np.empty(shape, dtype=np.float32)
    uids, numbers = [""] * stack.count, [0] * stack.count
    for (record, frame), place, plane in zip(stack.slices, stack.places, planes, strict=True):
        array[place] = plane
        uids[place], numbers[place] = record.sop_instance_uid, frame.number
    for place in sorted(set(range(stack.count)) - set(stack.places)):
        array[place] = (array[place - 1] + array[place + 1]) / 2
    return Volume(
        array,
        stack.affine.copy(),
        role,
        series_instance_uid=stack.instance.series_instance_uid,
        frame_of_reference_uid=stack.instance.frame_of_reference_uid,
        sop_instance_uids=tuple(uids),
        frame_numbers=tuple(numbers),
        limits=limits,
    )
