"""Which volumes of a study are used, which is the reference, and why the others are not.

Every stack ends with one answer: used, or refused with a code and a reason. Series are brought
together by patient geometry alone; what does not share the reference's frame of reference or
place is not combined with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.findings import Abstention, StudyVolumes
from models.geometry import Plane, to_index, to_lps
from models.volume import FLUID_SENSITIVE, Role, Volume
from service.ingest.body_part import elsewhere
from service.ingest.grid import Action, StackPolicy
from service.ingest.records import Refusal
from service.ingest.sequences import SeriesRole
from service.ingest.stacking import Stack, use_findings

NEEDED: Final = (*FLUID_SENSITIVE, Role.DIXON_FAT, Role.T1, Role.T2)
"""Roles that later stages read."""
LEVELS_ONLY: Final = (Role.PD, Role.T1_POST, Role.T1_FS)
"""Roles that can show levels and shape when nothing better is there."""
REFERENCE_ORDER: Final = (*FLUID_SENSITIVE, Role.T2, Role.T1, *LEVELS_ONLY, Role.DIXON_FAT)
DOUBTFUL: Final = 0.5
"""A role below this confidence is used only when no surer one is there."""
MIN_OVERLAP: Final = 0.3
"""Part of the smaller volume that must lie in the other for the two to show one place."""
FEWEST_TO_COUNT_ON: Final = 3
"""Slices of a localizer: with fewer none need pass through the bodies."""
SAME_GRID_MM: Final = 0.5
QUALITY_MARGIN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stack that may be used: its role after the pixel check, and its volume.

    Attributes:
        quality: Larger is cleaner, comparable between repeats of one acquisition.
    """

    stack: Stack
    role: SeriesRole
    volume: Volume
    quality: float = 0.0


@dataclass(frozen=True, slots=True)
class Selection:
    """What was chosen: indices into the candidates, and an answer for every other one."""

    volumes: StudyVolumes | None
    used: frozenset[int]
    refused: Mapping[int, Refusal]


_REASONS: Final = {
    "localizer": "A localizer: too few or too coarse slices to read bodies on.",
    "not_sagittal": "The slices are not sagittal.",
    "not_a_spine_examination": "Body part and extent are of another part of the body.",
    "role_not_recognised": "The acquisition is none that is read.",
    "role_not_needed": "A better suited series of the study is used.",
    "post_contrast": "After contrast agent: never used as T1.",
    "lower_quality_repeat": "A repeat of the same acquisition of better quality is used.",
    "other_series_preferred": "Another series of the same role covers more or is finer.",
    "other_station_not_used": "Another part of the spine; one part is read at a time.",
    "different_frame_of_reference": "The patient's position is not shared with the reference.",
    "no_overlap_with_reference": "It shows another place than the reference series.",
    "no_partner": "A fat image without the water image it belongs to.",
}


def _refusal(code: str) -> Refusal:
    return Refusal(code, _REASONS[code])


def screen(stack: Stack, role: SeriesRole, policy: StackPolicy) -> Refusal | None:
    """Refuse, by header and geometry alone, what can't be a volume of the spine."""
    if role.refusal is not None:
        return role.refusal
    if stack.plane is not None and stack.plane is not Plane.SAGITTAL:
        return _refusal("localizer" if role.role is Role.LOCALIZER else "not_sagittal")
    use = [f for f in use_findings(stack, policy) if f.action is Action.REFUSE]
    few = next((f for f in use if f.code in ("single_slice", "too_few_slices")), None)
    tests = (
        _refusal("localizer") if role.role is Role.LOCALIZER else None,
        stack.refusal if stack.affine is None else None,
        Refusal(few.code, few.detail) if few else None,
        _refusal("not_a_spine_examination") if elsewhere(stack) else None,
        stack.refusal,
        Refusal(use[0].code, use[0].detail) if use else None,
        None if role.role in (*NEEDED, *LEVELS_ONLY) else _not_needed(role.role),
    )
    return next((test for test in tests if test is not None), None)


def companion_of(reference: Volume, stack: Stack, refusal: Refusal) -> bool:
    """Whether a refused stack still shows more of the reference's spine, to count levels on.

    Only patient coordinates that are known to be shared will do.
    """
    uid = reference.frame_of_reference_uid
    return (
        refusal.code in ("localizer", "other_station_not_used", "no_overlap_with_reference")
        and stack.plane is Plane.SAGITTAL
        and stack.affine is not None
        and stack.count >= FEWEST_TO_COUNT_ON
        and bool(uid)
        and stack.instance.frame_of_reference_uid == uid
    )


def _not_needed(role: Role) -> Refusal:
    if role is Role.OTHER:
        return _refusal("role_not_recognised")
    return _refusal("post_contrast" if role is Role.T1_POST else "role_not_needed")


def overlap(first: Volume, second: Volume) -> float:
    """Part of the smaller volume's points that lie inside the larger, by patient coordinates."""
    return max(_inside(first, second), _inside(second, first))


def _inside(points_of: Volume, inside: Volume) -> float:
    axes = [np.linspace(0, size - 1, 6) for size in points_of.shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    indices = to_index(inside.affine, to_lps(points_of.affine, grid))
    within = np.all((indices > -0.5) & (indices < np.array(inside.shape) - 0.5), axis=1)
    return float(within.mean())


def same_grid(first: Volume, second: Volume) -> bool:
    """Whether two volumes have the same voxels within half a millimetre."""
    if first.shape != second.shape:
        return False
    corners = np.array([(0, 0, 0), tuple(size - 1 for size in first.shape)])
    apart = to_lps(first.affine, corners) - to_lps(second.affine, corners)
    return bool(np.abs(apart).max() <= SAME_GRID_MM)


def _rank(candidate: Candidate) -> tuple[object, ...]:
    """Larger is better: sure, original, unlimited, large, thin, fine. Steps keep ties ties."""
    volume, physics = candidate.volume, candidate.stack.physics
    extent = np.abs(volume.affine[:3, :3]) @ np.array(volume.shape)
    spacing = volume.spacing
    return (
        candidate.role.confidence >= DOUBTFUL,
        "DERIVED" not in physics.image_type,
        -len(candidate.role.limits),
        round(float(extent[2]) / 20),
        round(float(extent[0]) / 10),
        -round(spacing.slice_mm * 2),
        -round(max(spacing.row_mm, spacing.column_mm) * 10),
        round(candidate.role.confidence, 1),
    )


def _best(candidates: Sequence[Candidate], indices: Sequence[int]) -> int:
    """The best of some candidates; among equals the cleaner, else the later one.

    A repeat is usually made because the first was spoilt, so the later wins when quality does
    not tell.
    """
    top = max(_rank(candidates[i]) for i in indices)
    equal = [i for i in indices if _rank(candidates[i]) == top]
    cleanest = max(candidates[i].quality for i in equal)
    return max(i for i in equal if candidates[i].quality >= cleanest * (1 - QUALITY_MARGIN))


def choose(candidates: Sequence[Candidate]) -> Selection:
    """Choose at most one volume of a role and a reference among them.

    Args:
        candidates: Stacks that passed `screen`, in order of the study.
    """
    by_role: dict[Role, list[int]] = {}
    for index, candidate in enumerate(candidates):
        by_role.setdefault(candidate.role.role, []).append(index)
    reference = _reference(candidates, by_role)
    if reference is None:
        return Selection(
            None, frozenset(), {i: _not_needed(c.role.role) for i, c in enumerate(candidates)}
        )
    chosen, refused = {candidates[reference].role.role: reference}, {}
    for role, indices in by_role.items():
        left = [i for i in indices if i != reference]
        for index in left:
            obstacle = _apart(candidates[reference], candidates[index])
            if obstacle is not None:
                refused[index] = obstacle
        fitting = [i for i in left if i not in refused]
        if role in NEEDED and role not in chosen and fitting:
            chosen[role] = _best(candidates, fitting)
    if candidates[reference].role.role is not Role.DIXON_FAT:
        _pair_fat_with_water(candidates, chosen, refused)
    for index, candidate in enumerate(candidates):
        if index not in refused and index not in chosen.values():
            refused[index] = _why_not(candidates, chosen.get(candidate.role.role), index)
    volumes = {role.value: _limited(candidates, reference, i) for role, i in chosen.items()}
    study = StudyVolumes(volumes[candidates[reference].role.role.value], volumes)
    return Selection(study, frozenset(chosen.values()), refused)


def _reference(
    candidates: Sequence[Candidate], by_role: Mapping[Role, Sequence[int]]
) -> int | None:
    best = {r: _best(candidates, by_role[r]) for r in REFERENCE_ORDER if r in by_role}
    sure = [i for i in best.values() if candidates[i].role.confidence >= DOUBTFUL]
    return next(iter((*sure, *best.values())), None)


def _apart(reference: Candidate, other: Candidate) -> Refusal | None:
    """Why a series can't be brought together with the reference, or None."""
    ours = reference.volume.frame_of_reference_uid
    theirs = other.volume.frame_of_reference_uid
    if ours and theirs and ours != theirs:
        return _refusal("different_frame_of_reference")
    if overlap(reference.volume, other.volume) >= MIN_OVERLAP:
        return None
    same_role = reference.role.role is other.role.role
    return _refusal("other_station_not_used" if same_role else "no_overlap_with_reference")


def _pair_fat_with_water(
    candidates: Sequence[Candidate], chosen: dict[Role, int], refused: Mapping[int, Refusal]
) -> None:
    """Keep a fat image only beside its own water image; prefer the partner among several."""
    if Role.DIXON_FAT not in chosen:
        return
    water = chosen.get(Role.DIXON_WATER)
    partners = [
        index
        for index, candidate in enumerate(candidates)
        if candidate.role.role is Role.DIXON_FAT
        and index not in refused
        and water is not None
        and same_grid(candidate.volume, candidates[water].volume)
    ]
    if partners:
        chosen[Role.DIXON_FAT] = _best(candidates, partners)
    else:
        del chosen[Role.DIXON_FAT]


def _why_not(candidates: Sequence[Candidate], winner: int | None, index: int) -> Refusal:
    candidate = candidates[index]
    if winner is None:
        is_fat = candidate.role.role is Role.DIXON_FAT
        return _refusal("no_partner") if is_fat else _not_needed(candidate.role.role)
    if same_grid(candidate.volume, candidates[winner].volume):
        return _refusal("lower_quality_repeat")
    return _refusal("other_series_preferred")


def _limited(candidates: Sequence[Candidate], reference: int, index: int) -> Volume:
    """The volume, limited when nothing but coordinates ties it to the reference."""
    volume = candidates[index].volume
    uids = {volume.frame_of_reference_uid, candidates[reference].volume.frame_of_reference_uid}
    if index != reference and "" in uids:
        return replace(volume, limits=(*volume.limits, "frame_of_reference_missing"))
    return volume


def abstentions_for(volumes: StudyVolumes | None) -> tuple[Abstention, ...]:
    """What the choice of series withholds from the report."""
    if volumes is None:
        reason = "No sagittal MR series of the spine can be used; see the series for reasons."
        return (Abstention("no_usable_sagittal_series", "study", reason),)
    found: list[Abstention] = []
    if not any(role.value in volumes.by_role for role in FLUID_SENSITIVE):
        reason = "No STIR, fat-saturated T2 or Dixon water series: marrow edema can't be seen."
        found += [
            Abstention("no_fluid_sensitive_series", scope, reason)
            for scope in ("edema", "acuity", "etiology")
        ]
    if not any(role.value in volumes.by_role for role in (Role.T1, Role.DIXON_FAT)):
        reason = "Without T1 or a fat image the benign-versus-pathological call is limited."
        found.append(Abstention("t1_missing", "etiology", reason))
    return tuple(found)
