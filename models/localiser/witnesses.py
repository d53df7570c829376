"""Counting on other views of the same spine: a localizer, another station, a larger series.

Patient coordinates say which body is which; what the other view knows of a body's level weighs the
reference's own chain.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Anchor, StudyVolumes
from models.localiser.evidence import BELOW_S1, STATES
from models.localiser.levels import Naming, Told
from models.volume import Role, Volume

SAME_BODY_MM: Final = 10.0
"""Centres of one body in two series lie nearer than this; those of neighbours never do. Between
series a patient moves by a few millimetres."""

MOST_ASKED: Final = 3
"""Views asked at most, so that a study with many series stays quick."""


def witnesses(study: StudyVolumes) -> tuple[Volume, ...]:
    """Views to ask, the one that shows most of the spine first; the reference is not one."""
    others = [v for v in study.by_role.values() if v is not study.reference]
    views = [*others, *study.companions]
    return tuple(sorted(views, key=_length_mm, reverse=True)[:MOST_ASKED])


def _length_mm(volume: Volume) -> float:
    """Extent from head to foot."""
    return float(np.abs(volume.affine[2, :3]) @ np.array(volume.shape))


def told_by(
    centres_lps_mm: NDArray[np.float64],
    view: Volume,
    theirs_lps_mm: NDArray[np.float64],
    naming: Naming,
) -> Told | None:
    """What a named chain in another view says of our bodies.

    Args:
        centres_lps_mm: (n, 3) of our bodies.
        view: The other volume.
        theirs_lps_mm: (m, 3) of its bodies.
        naming: Of its bodies.

    Returns:
        None when nothing is named there or no body is in both.
    """
    if naming.anchor is Anchor.NONE or not len(theirs_lps_mm):
        return None
    likelihood = np.ones((len(centres_lps_mm), STATES))
    matched = 0
    for i, centre in enumerate(centres_lps_mm):
        apart = np.linalg.norm(theirs_lps_mm - centre, axis=1)
        nearest = int(np.argmin(apart))
        if apart[nearest] >= SAME_BODY_MM:
            continue
        known = naming.posterior[nearest]
        # What the other view leaves open is open between all levels.
        likelihood[i] = known + max(0.0, 1.0 - known[: BELOW_S1 + 1].sum()) / STATES
        matched += 1
    if not matched:
        return None
    anchor = Anchor.LOCALIZER if view.role is Role.LOCALIZER else naming.anchor
    return Told(anchor, likelihood)
