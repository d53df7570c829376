"""What is true of a whole spine: variant, curve, slips, conus, discs, metal and sacrum."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

import numpy as np

from training.phantom.anatomy.canal import CONUS_TAPER_MM
from training.phantom.anatomy.disc import GRADE_LIMITS
from training.phantom.anatomy.spine import Bone, Spine, Subject
from training.phantom.scene import Scene
from training.phantom.truth.model import (
    DiscTruth,
    ImplantsTruth,
    SacralFractureTruth,
    SlipTruth,
    SpineTruth,
)


def spine_truth(scene: Scene) -> SpineTruth:
    """Read off a patient what is true of the whole spine."""
    spine = scene.spine
    slips = sorted(spine.slips, key=lambda slip: spine.levels.index(slip[0]))
    return SpineTruth(
        castellvi=spine.subject.castellvi,
        castellvi_side=_castellvi_side(spine.subject),
        cobb_deg=_cobb(spine),
        slips=tuple(SlipTruth(*slip) for slip in slips),
        conus_level=spine.conus_level,
        conus_tip_level=_level_at(scene, scene.canal.conus_z - CONUS_TAPER_MM),
        discs=tuple(_disc(scene, above, below) for above, below in pairwise(scene.numbers)),
        implants=_implants(scene),
        sacral_fracture=_sacral_fracture(scene),
    )


def pfirrmann_grade(hydration: float) -> int:
    """Grade 1 to 5 of a nucleus by its hydration, 0..1."""
    return len(GRADE_LIMITS) + 1 - bisect_right(GRADE_LIMITS, hydration)


def _disc(scene: Scene, above: str, below: str) -> DiscTruth:
    look, disease = scene.discs[above], scene.disease(above).disc
    state = scene.spine.bone(above).disc
    return DiscTruth(
        above=above,
        below=below,
        hydration=look.hydration,
        pfirrmann_grade=pfirrmann_grade(look.hydration),
        height_factor=1.0 if state is None else state.height_factor,
        bulge_mm=look.bulge,
        hernia_mm=look.hernia,
        gas=look.vacuum > 0.0 or (disease is not None and disease.vacuum > 0.0),
        pus=0.0 if disease is None else disease.pus,
        high_intensity_zone=look.zone == 1,
    )


def _castellvi_side(subject: Subject) -> str:
    if subject.castellvi == "none":
        return "none"
    if subject.castellvi.endswith("b"):
        return "both"
    return "left" if subject.joined_left else "right"


def _cobb(spine: Spine) -> float:
    tilts = [_tilt(spine.bone(level)) for level in spine.levels if not level.startswith("C")]
    return max(tilts) - min(tilts)


def _tilt(bone: Bone) -> float:
    """Degrees by which the left side of a body stands higher, in the coronal plane."""
    left = bone.axes[0]
    return float(np.degrees(np.arctan2(left[2], left[0])))


def _level_at(scene: Scene, height: float) -> str:
    """The lowest level whose superior endplate lies above a height, LPS mm."""
    found = scene.spine.levels[0]
    for level in scene.numbers:
        bone = scene.spine.bone(level)
        top = bone.centre + 0.5 * bone.shape.height_rim * bone.axes[2]
        if top[2] >= height:
            found = level
    return found


def _implants(scene: Scene) -> ImplantsTruth | None:
    own = scene.implants
    if own is None:
        return None
    return ImplantsTruth(own.levels, 2.0 * own.screw_mm, 2.0 * own.rod_mm)


def _sacral_fracture(scene: Scene) -> SacralFractureTruth | None:
    own = scene.sacral_fracture
    if own is None:
        return None
    return SacralFractureTruth(own.left > 0.0, own.right > 0.0, own.bar > 0.0, own.line)
