"""Name the bodies: the whole chain is decoded at once, as a hidden Markov chain over levels.

Each body is a step, each level a state; from head to foot a chain may only move on to the next
level, with rare variants (11 or 13 thoracic, 4 or 6 lumbar vertebrae). What is seen of a body (the
network's S1 share today; ribs, C2, conus later) weighs its states. Names are given only when
something anchors the chain; the probability left to other names is reported with each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.anatomy import LEVELS
from models.findings import Anchor, LevelName
from models.localiser.instances import Candidate

BELOW_S1: Final = len(LEVELS)
"""State of a body-like segment under S1 (S2 of a lumbarised sacrum): found, not a level."""

MOST_ALTERNATIVES: Final = 4

S1: Final = LEVELS.index("S1")

SMALL_DISC: Final = 0.3
"""Part of the usual disc volume under which the disc above a body is a remnant."""

SMALL_BODY: Final = 0.4
"""Part of the usual body volume that most sacral segments stay under, and few bodies."""

_STATES: Final = len(LEVELS) + 1
_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class LevelSettings:
    """What the decoding rests on; kept in the bundle's metadata, not in code.

    Attributes:
        thoracic_11, thoracic_13, lumbar_4, lumbar_6: Prior probability of each variant.
        sacrum_share: Smallest S1 share that counts as the sacrum being seen.
        sacrum_midpoint: S1 share that speaks neither for nor against S1. Presacral bodies have
            next to none, the true S1 any share above it.
        sharpness: Weight of the S1 evidence.
        anchor_odds: Odds, before its share is seen, that the body taken for S1 is S1.
        below_s1: Prior that a segment under S1 is found as a body.
        smallest_alternative: Names less probable than this are not reported.
    """

    thoracic_11: float = 0.02
    thoracic_13: float = 0.02
    lumbar_4: float = 0.02
    lumbar_6: float = 0.04
    sacrum_share: float = 0.2
    sacrum_midpoint: float = 0.12
    sharpness: float = 1.0
    anchor_odds: float = 3.0
    below_s1: float = 0.2
    smallest_alternative: float = 0.01


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of a chain.

    Attributes:
        anchor: What the names were counted from; with `Anchor.NONE` nothing is named.
        names: Per candidate, cranial to caudal: most probable first; empty without an anchor.
        below_s1: Per candidate, whether it lies under S1 and is no level.
    """

    anchor: Anchor
    names: tuple[tuple[LevelName, ...], ...]
    below_s1: tuple[bool, ...]


def name_levels(
    candidates: Sequence[Candidate],
    centres_lps_mm: NDArray[np.float64],
    discs_ml: NDArray[np.float64],
    settings: LevelSettings,
) -> Naming:
    """Name a chain of bodies.

    Args:
        candidates: Cranial to caudal.
        centres_lps_mm: (n, 3) of the same bodies.
        discs_ml: (n,) volume of the disc above each body; 0 for the first.
        settings: Priors and thresholds of the bundle.

    Returns:
        Names with probabilities, or none when the sacrum is not seen.
    """
    shares = np.array([body.s1_share for body in candidates])
    if not len(shares) or shares.max() < settings.sacrum_share:
        nothing: tuple[tuple[LevelName, ...], ...] = ((),) * len(candidates)
        return Naming(Anchor.NONE, nothing, (False,) * len(candidates))
    missing = missing_between(centres_lps_mm)
    volumes = np.array([body.volume_ml for body in candidates])
    evidence = sacrum_evidence(shares, below_s1_ratio(volumes, discs_ml), settings)
    best = most_probable_chain(evidence, missing, settings)
    # What follows the anchor is only as sure as the anchor.
    odds = settings.anchor_odds * evidence[best.index(S1), S1]
    posterior = level_probabilities(evidence, missing, settings) * odds / (1.0 + odds)
    names = tuple(
        _ranked(state, probability, settings)
        for state, probability in zip(best, posterior, strict=True)
    )
    return Naming(Anchor.SACRUM, names, tuple(state == BELOW_S1 for state in best))


def sacrum_evidence(
    shares: NDArray[np.float64], below_ratio: NDArray[np.float64], settings: LevelSettings
) -> NDArray[np.float64]:
    """(bodies, states) likelihood of what is seen, as a ratio to that of a presacral body."""
    clipped = np.clip(shares, 0.002, 0.98)
    middle = settings.sacrum_midpoint
    evidence = np.ones((len(shares), _STATES))
    odds = clipped / (1.0 - clipped) * (1.0 - middle) / middle
    evidence[:, S1] = odds**settings.sharpness
    # The share itself says nothing of what lies under S1: S2 may look like S1 or like nothing.
    evidence[:, BELOW_S1] = below_ratio
    return evidence


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


def missing_between(centres_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that a body was missed between successive ones, from their distances.

    Returns:
        (n - 1,): near 0 for a usual distance, near 1 for twice the usual one.
    """
    distances = np.linalg.norm(np.diff(centres_lps_mm, axis=0), axis=1)
    if len(distances) < 3:
        return np.zeros(len(distances))
    # Distances grow slowly from the neck down, so each is compared with those near it.
    usual = np.array([np.median(distances[max(0, i - 2) : i + 3]) for i in range(len(distances))])
    odds = (distances / usual - 1.6) / 0.06
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(odds, -30.0, 30.0))))


def transitions(settings: LevelSettings) -> NDArray[np.float64]:
    """(states, states): probability of the next level down, given a level."""
    step = np.zeros((_STATES, _STATES))
    usual = [name for name in LEVELS if name not in ("T13", "L6")]
    for upper, lower in pairwise(usual):
        _set(step, upper, lower, 1.0)
    _set(step, "T11", "L1", settings.thoracic_11)
    _set(step, "T11", "T12", 1.0 - settings.thoracic_11)
    _set(step, "T12", "T13", settings.thoracic_13)
    _set(step, "T12", "L1", 1.0 - settings.thoracic_13)
    _set(step, "T13", "L1", 1.0)
    _set(step, "L4", "S1", settings.lumbar_4)
    _set(step, "L4", "L5", 1.0 - settings.lumbar_4)
    _set(step, "L5", "L6", settings.lumbar_6)
    _set(step, "L5", "S1", 1.0 - settings.lumbar_6)
    _set(step, "L6", "S1", 1.0)
    step[S1, BELOW_S1] = settings.below_s1
    step[BELOW_S1, BELOW_S1] = settings.below_s1
    return step


def _set(step: NDArray[np.float64], upper: str, lower: str, probability: float) -> None:
    step[LEVELS.index(upper), LEVELS.index(lower)] = probability


def _steps(missing: NDArray[np.float64], settings: LevelSettings) -> NDArray[np.float64]:
    """(n - 1, states, states): one level on, or two where a body was missed."""
    one = transitions(settings)
    two = one @ one
    return np.asarray((1 - missing)[:, None, None] * one + missing[:, None, None] * two)


def most_probable_chain(
    evidence: NDArray[np.float64], missing: NDArray[np.float64], settings: LevelSettings
) -> list[int]:
    """States of the single most probable chain that reaches S1 (Viterbi)."""
    steps = np.log(_steps(missing, settings) + _TINY)
    weights = np.log(evidence + _TINY)
    score = weights[0] + np.log(_starts(settings))
    came_from = []
    for step, weight in zip(steps, weights[1:], strict=True):
        path = score[:, None] + step
        came_from.append(np.argmax(path, axis=0))
        score = path.max(axis=0) + weight
    states = [int(np.argmax(score + np.log(_ends() + _TINY)))]
    for origin in reversed(came_from):
        states.append(int(origin[states[-1]]))
    return states[::-1]


def level_probabilities(
    evidence: NDArray[np.float64], missing: NDArray[np.float64], settings: LevelSettings
) -> NDArray[np.float64]:
    """(bodies, states) probability of every level at every body, over all chains to S1."""
    steps = _steps(missing, settings)
    count = len(evidence)
    forward, backward = np.ones_like(evidence), np.ones_like(evidence)
    forward[0], backward[-1] = evidence[0] * _starts(settings), _ends()
    for i in range(1, count):
        forward[i] = (forward[i - 1] @ steps[i - 1]) * evidence[i]
        forward[i] /= forward[i].sum() + _TINY
    for i in range(count - 2, -1, -1):
        backward[i] = steps[i] @ (backward[i + 1] * evidence[i + 1])
        backward[i] /= backward[i].sum() + _TINY
    both = forward * backward
    return np.asarray(both / (both.sum(axis=1, keepdims=True) + _TINY))


def _starts(settings: LevelSettings) -> NDArray[np.float64]:
    """(states,): how often a spine has each level, since a view may begin at any."""
    starts = np.ones(_STATES)
    starts[LEVELS.index("T12")] = 1.0 - settings.thoracic_11
    starts[LEVELS.index("T13")] = settings.thoracic_13
    starts[LEVELS.index("L5")] = 1.0 - settings.lumbar_4
    starts[LEVELS.index("L6")] = settings.lumbar_6
    starts[BELOW_S1] = _TINY
    return starts


def _ends() -> NDArray[np.float64]:
    """(states,): where an anchored chain may end."""
    ends = np.zeros(_STATES)
    ends[[S1, BELOW_S1]] = 1.0
    return ends


def _ranked(
    best: int, probability: NDArray[np.float64], settings: LevelSettings
) -> tuple[LevelName, ...]:
    """The chain's own name first, then what else the body may be called."""
    if best == BELOW_S1:
        return ()
    others = [
        state
        for state in np.argsort(-probability[:BELOW_S1])
        if state != best and probability[state] >= settings.smallest_alternative
    ]
    chosen = (best, *others[:MOST_ALTERNATIVES])
    return tuple(LevelName(LEVELS[i], float(probability[i])) for i in chosen)
