"""How likely each level is for a body, from what is seen of it and around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.anatomy import LEVELS, LUMBAR, THORACIC
from models.localiser.landmarks import RIB_ML, Landmarks

BELOW_S1: Final = len(LEVELS)
"""State of a body-like segment under S1 (S2 of a lumbarised sacrum): found, not a level."""

STATES: Final = len(LEVELS) + 1

S1: Final = LEVELS.index("S1")
C2: Final = LEVELS.index("C2")

SMALL_DISC: Final = 0.3
"""Part of the usual disc volume under which the disc above a body is a remnant."""

SMALL_BODY: Final = 0.4
"""Part of the usual body volume that most sacral segments stay under, and few bodies."""

NO_RIB: Final = 0.03
"""How often what is taken for a rib is found beside a body that has none and is not L1."""

_PLACE: Final = {
    **{name: float(i - 12) for i, name in enumerate(THORACIC)},
    "T13": -0.5,
    **{name: float(i) for i, name in enumerate((*LUMBAR, "L6"))},
}
"""Levels around the end of the cord on a scale whose zero is the centre of L1."""


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """What the decoding rests on; kept in the bundle's metadata, not in code.

    Attributes:
        thoracic_11, thoracic_13, lumbar_4, lumbar_6: Prior probability of each variant.
        sacrum_share: Smallest S1 share that counts as the sacrum being seen.
        sacrum_midpoint: S1 share that speaks neither for nor against S1. Presacral bodies have
            next to none, the true S1 any share above it.
        c2_share, c2_midpoint: The same of C2.
        sharpness: Weight of the S1 and C2 evidence.
        anchor_odds: Odds, before its share is seen, that the body taken for the anchor is it.
        below_s1: Prior that a segment under S1 is found as a body.
        legible: Part of the images whose ribs can be read at all.
        rib_ml, rib_clear_ml: Rib beside a body that counts as one, and as a clear one.
        rib_thoracic, rib_last, rib_lumbar: How often a rib is found, in such an image, beside T1 to
            T11, beside T12 or T13, and beside L1; others have next to none.
        clear_thoracic, clear_last, clear_lumbar: How often one that is found there is clear.
        rib_anywhere: How often one is found beside a body in an image whose ribs can't be read.
        conus_place, conus_spread: Where the cord ends, in levels below the centre of L1, and the
            standard deviation of that.
        conus_mistaken: How likely it is, beside the peak, that roots were taken for cord.
        doubtful: A name less sure than this makes the numbering uncertain.
        smallest_alternative: Names less probable than this are not reported.
        least_confidence: Mean confidence of the bodies under which an image is unlike those that
            the network was trained on.
    """

    thoracic_11: float = 0.01
    thoracic_13: float = 0.01
    lumbar_4: float = 0.03
    lumbar_6: float = 0.04
    sacrum_share: float = 0.2
    sacrum_midpoint: float = 0.12
    c2_share: float = 0.3
    c2_midpoint: float = 0.2
    sharpness: float = 1.0
    anchor_odds: float = 3.0
    below_s1: float = 0.2
    legible: float = 0.4
    rib_ml: float = RIB_ML
    rib_clear_ml: float = 0.6
    rib_thoracic: float = 0.95
    rib_last: float = 0.85
    rib_lumbar: float = 0.15
    clear_thoracic: float = 0.85
    clear_last: float = 0.6
    clear_lumbar: float = 0.3
    rib_anywhere: float = 0.1
    conus_place: float = 0.1
    conus_spread: float = 0.9
    conus_mistaken: float = 0.15
    doubtful: float = 0.75
    smallest_alternative: float = 0.01
    least_confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a chain of n bodies, cranial to caudal.

    Attributes:
        s1_shares, c2_shares: (n,) part of each body that the network calls S1, or C2.
        volumes_ml: (n,) of the bodies.
        discs_ml: (n,) of the disc above each; 0 for the first.
        landmarks: Ribs and conus; None where the network does not know them.
    """

    s1_shares: NDArray[np.float64]
    c2_shares: NDArray[np.float64]
    volumes_ml: NDArray[np.float64]
    discs_ml: NDArray[np.float64]
    landmarks: Landmarks | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to take what was seen of n bodies.

    Attributes:
        weight: How probable it is beforehand.
        evidence: (n, states) likelihood of what was seen.
    """

    weight: float
    evidence: NDArray[np.float64]


SLIVER: Final = 0.25
"""Part of its neighbours' volume under which a body that the image cuts is a sliver."""


AXIS_LEAST: Final = 0.8
"""C2 with its dens is no smaller than this part of the bodies under it."""


def trusted(
    shares: NDArray[np.float64], volumes_ml: NDArray[np.float64], cut: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Shares of what anchors a chain; none for a sliver at the edge of the image.

    What is left of L5 where the field of view ends may look like a sacrum.
    """
    kept = shares.copy()
    for i in np.flatnonzero(cut):
        near = np.r_[volumes_ml[max(0, i - 3) : i], volumes_ml[i + 1 : i + 4]]
        if len(near) and volumes_ml[i] < SLIVER * float(np.median(near)):
            kept[i] = 0.0
    return kept


def trusted_axis(
    shares: NDArray[np.float64], volumes_ml: NDArray[np.float64], cut: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Shares of C2; none for a body that the image cuts, or that is too small to have a dens.

    Where the image ends among the bodies of neck or chest, the last one often looks like C2.
    """
    kept = np.where(cut, 0.0, shares)
    for i in np.flatnonzero(kept > 0.0):
        below = volumes_ml[i + 1 : i + 4]
        if len(below) and volumes_ml[i] < AXIS_LEAST * float(np.median(below)):
            kept[i] = 0.0
    return kept


def readings_of(seen: Seen, settings: LevelSettings) -> tuple[Reading, ...]:
    """What is seen of the bodies, once as in an image whose ribs can be read, once as in others.

    Whether they can is the same for all bodies of an image, so that a body without a rib says much
    beside bodies that have theirs, and nothing where no rib is found at all.
    """
    evidence = _evidence_of(seen, settings)
    if seen.landmarks is None or not np.isfinite(seen.landmarks.ribs_ml).any():
        return (Reading(1.0, evidence),)
    legible, illegible = _rib_evidence(seen.landmarks.ribs_ml, settings)
    return (
        Reading(settings.legible, evidence * legible),
        Reading(1.0 - settings.legible, evidence * illegible),
    )


def _evidence_of(seen: Seen, settings: LevelSettings) -> NDArray[np.float64]:
    """(bodies, states) likelihood of all but ribs, as a ratio to that of any presacral body."""
    evidence = np.ones((len(seen.s1_shares), STATES))
    evidence[:, S1] = _odds(seen.s1_shares, settings.sacrum_midpoint, settings)
    evidence[:, C2] = _odds(seen.c2_shares, settings.c2_midpoint, settings)
    # The share itself says nothing of what lies under S1: S2 may look like S1 or like nothing.
    evidence[:, BELOW_S1] = below_s1_ratio(seen.volumes_ml, seen.discs_ml)
    if seen.landmarks is not None:
        conus = seen.landmarks.conus
        if conus is not None:
            body = min(len(evidence) - 1, max(0, round(conus)))
            evidence[body] *= conus_evidence(conus - body, settings)
    return evidence


def _odds(
    shares: NDArray[np.float64], midpoint: float, settings: LevelSettings
) -> NDArray[np.float64]:
    clipped = np.clip(shares, 0.002, 0.98)
    odds = clipped / (1.0 - clipped) * (1.0 - midpoint) / midpoint
    return np.asarray(odds**settings.sharpness)


def below_s1_ratio(
    volumes_ml: NDArray[np.float64], discs_ml: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How much more a body looks like a segment under S1 than like a body above it.

    Between sacral segments there is a remnant of a disc at most, and they are small. Both are
    measured against the bodies above; the ratio is bounded, since blobs of any size occur.
    """
    ratios = np.ones(len(volumes_ml))
    for i in range(2, len(volumes_ml)):
        disc = discs_ml[i] / max(float(np.median(discs_ml[max(1, i - 4) : i])), 1e-3)
        volume = volumes_ml[i] / float(np.median(volumes_ml[max(0, i - 4) : i]))
        weight = (SMALL_DISC - disc) / 0.05 + (SMALL_BODY - volume) / 0.08
        ratios[i] = np.clip(np.exp(np.clip(weight, -10.0, 10.0)), 0.1, 300.0)
    return ratios


def _rib_evidence(
    ribs_ml: NDArray[np.float64], settings: LevelSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(bodies, states) likelihood of the ribs found, none where they are out of view.

    Returns:
        In an image whose ribs can be read, and in another.
    """
    found_there = np.full(STATES, NO_RIB)
    clear_there = np.full(STATES, settings.clear_lumbar)
    for names, found, clear in (
        (THORACIC[:11], settings.rib_thoracic, settings.clear_thoracic),
        (("T12", "T13"), settings.rib_last, settings.clear_last),
        (("L1",), settings.rib_lumbar, settings.clear_lumbar),
    ):
        at = [LEVELS.index(name) for name in names]
        found_there[at], clear_there[at] = found, clear
    is_found = ribs_ml[:, None] >= settings.rib_ml
    is_clear = ribs_ml[:, None] >= settings.rib_clear_ml
    of_found = np.where(is_clear, clear_there, 1.0 - clear_there)
    legible = np.where(is_found, found_there * of_found, 1.0 - found_there)
    anywhere = np.where(is_found, 0.5 * settings.rib_anywhere, 1.0 - settings.rib_anywhere)
    known = np.isfinite(ribs_ml)[:, None]
    return np.where(known, legible, 1.0), np.where(known, anywhere, 1.0) * np.ones(STATES)


def conus_evidence(offset: float, settings: LevelSettings) -> NDArray[np.float64]:
    """(states,) likelihood that the cord ends `offset` levels below the centre of a level.

    The cord ends between T12 and L2 in nearly everybody (Tokgoz, KJR 2014), so it tells levels
    apart that lie far from each other and neighbours hardly.
    """
    likelihood = np.full(STATES, settings.conus_mistaken)
    for name, place in _PLACE.items():
        away = (place + offset - settings.conus_place) / settings.conus_spread
        likelihood[LEVELS.index(name)] += np.exp(-0.5 * away * away)
    return likelihood
