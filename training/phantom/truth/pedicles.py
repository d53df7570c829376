"""Height and width of the pedicles, measured on the parts that an arch is made of."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.morphometry.pedicles import BEHIND_WALL_MM
from training.phantom.anatomy.arch import Arch, pedicle_parts
from training.phantom.anatomy.solids import Table, part_distance
from training.phantom.painting.kernels import jit
from training.phantom.truth.model import PedicleTruth
from training.phantom.truth.outline import Array, Outline

STEP_MM: Final = 0.2
"""Pitch of the lines along which bone is looked for."""

_REACH_MM: Final = 14.0


def pedicles_of(
    own: Outline, canal_mm: tuple[float, float], arch: Arch
) -> tuple[PedicleTruth | None, PedicleTruth | None]:
    """The left and the right pedicle.

    Args:
        own: Outline of the body.
        canal_mm: Half-depth and half-width of the level's canal, by which pedicles are placed.
        arch: Of the same level.

    Returns:
        Left and right; None where no line behind the wall is bone all along.
    """
    left, right = pedicle_parts(own.bone, canal_mm, arch)
    return _measured(own, left), _measured(own, right)


def _measured(own: Outline, part: Table) -> PedicleTruth | None:
    offsets = np.arange(-_REACH_MM, _REACH_MM, STEP_MM)
    # A part's axis leans: its middle is only about where it crosses these depths.
    aside, heads = part[14] + offsets, part[16] + offsets
    bone = _bone(part, aside, own.behind + BEHIND_WALL_MM, heads)
    if not bone.any():
        return None
    x, z = np.argwhere(bone).mean(axis=0) * STEP_MM - _REACH_MM
    middle = np.array([part[14] + x, own.behind + BEHIND_WALL_MM.mean(), part[16] + z])
    return PedicleTruth(
        height_mm=float(bone.sum(axis=1).max() * STEP_MM),
        width_mm=float(bone.any(axis=1).sum() * STEP_MM),
        centre_lps_mm=own.bone.centre + middle @ own.bone.axes,
    )


@jit
def _bone(part: Table, aside: Array, backs: Array, heads: Array) -> np.ndarray:
    """(aside, heads) whether a line to the back lies in a part at all of some depths."""
    found = np.ones((len(aside), len(heads)), np.bool_)
    for i in range(len(aside)):
        for k in range(len(heads)):
            for back in backs:
                if part_distance(part, aside[i], back, heads[k]) >= 0.0:
                    found[i, k] = False
                    break
    return found
