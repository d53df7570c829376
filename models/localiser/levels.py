"""Name the bodies: the whole chain is decoded at once, as a hidden Markov chain over levels.

Each body is a step, each level a state; from head to foot a chain may only move on to the next
level, with rare variants (11 or 13 thoracic, 4 or 6 lumbar vertebrae). What is seen of a body
(`evidence.py`: sacrum, C2, ribs, the end of the cord) weighs its states. Names are given only when
something anchors the chain; the probability left to other names is reported with each.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.anatomy import LEVELS
from models.findings import Anchor, LevelName
from models.localiser.evidence import (
    BELOW_S1,
    C2,
    S1,
    STATES,
    LevelSettings,
    Reading,
    Seen,
    readings_of,
)

MOST_ALTERNATIVES: Final = 4

_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Told:
    """What another view of the same spine says of the bodies.

    Attributes:
        anchor: What was counted from there.
        likelihood: (n, states) of each level for each body; 1 throughout where it is not in view.
    """

    anchor: Anchor
    likelihood: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of a chain.

    Attributes:
        anchor: What the names were counted from; with `Anchor.NONE` nothing is named.
        names: Per candidate, cranial to caudal: most probable first. Without an anchor these are
            what ribs and cord leave possible, not names; empty when nothing speaks at all.
        below_s1: Per candidate, whether it lies under S1 and is no level.
        posterior: (n, states) probability of each level for each body.
    """

    anchor: Anchor
    names: tuple[tuple[LevelName, ...], ...]
    below_s1: tuple[bool, ...]
    posterior: NDArray[np.float64] = field(compare=False, repr=False)

    @property
    def sureness(self) -> float:
        """Probability of the least sure name; 0 when nothing is named."""
        if self.anchor is Anchor.NONE:
            return 0.0
        return min((names[0].confidence for names in self.names if names), default=0.0)


def name_levels(
    seen: Seen,
    centres_lps_mm: NDArray[np.float64],
    settings: LevelSettings,
    told: Told | None = None,
) -> Naming:
    """Name a chain of bodies.

    Args:
        seen: Of the bodies, cranial to caudal.
        centres_lps_mm: (n, 3) of the same bodies.
        settings: Priors and thresholds of the bundle.
        told: By another view; it anchors a chain that has no anchor of its own.

    Returns:
        Names with probabilities; possibilities only when nothing anchors the chain.
    """
    count = len(centres_lps_mm)
    missing = missing_between(centres_lps_mm)
    readings = readings_of(seen, settings)
    if told is not None:
        readings = tuple(replace(r, evidence=r.evidence * told.likelihood) for r in readings)
    own = _anchor_of(seen, readings, missing, settings)
    if not count or (own is Anchor.NONE and told is None and not _speaks(seen)):
        return Naming(Anchor.NONE, ((),) * count, (False,) * count, np.zeros((count, STATES)))
    ends = _ends(own)
    best = most_probable_chain(readings, missing, settings, ends)
    posterior = level_probabilities(readings, missing, settings, ends)
    if own is Anchor.NONE and told is None:
        guesses = tuple(_ranked(None, probability, settings) for probability in posterior)
        return Naming(own, guesses, (False,) * count, posterior)
    if own is not Anchor.NONE:
        # What follows the anchor is only as sure as the anchor.
        odds = settings.anchor_odds * _anchor_odds(readings, best, own)
        posterior *= odds / (1.0 + odds)
    names = tuple(
        _ranked(state, probability, settings)
        for state, probability in zip(best, posterior, strict=True)
    )
    anchor = own if told is None or own is not Anchor.NONE else told.anchor
    return Naming(anchor, names, tuple(state == BELOW_S1 for state in best), posterior)


def _anchor_odds(readings: tuple[Reading, ...], best: list[int], anchor: Anchor) -> float:
    """Evidence for the body that the chain takes for its anchor; of the best body if none is."""
    state = S1 if anchor is Anchor.SACRUM else C2
    evidence = sum(reading.weight * reading.evidence[:, state] for reading in readings)
    at = best.index(state) if state in best else int(np.argmax(evidence))
    return float(np.asarray(evidence)[at])


def _anchor_of(
    seen: Seen,
    readings: tuple[Reading, ...],
    missing: NDArray[np.float64],
    settings: LevelSettings,
) -> Anchor:
    """What a chain can be counted from: the sacrum before C2, which is further away.

    The body that the most probable chain takes for its anchor has to look like one: what looks like
    a sacrum somewhere else anchors nothing.
    """
    for anchor, state, shares, least in (
        (Anchor.SACRUM, S1, seen.s1_shares, settings.sacrum_share),
        (Anchor.C2, C2, seen.c2_shares, settings.c2_share),
    ):
        if not len(shares) or shares.max() < least:
            continue
        best = most_probable_chain(readings, missing, settings, _ends(anchor))
        if state not in best or shares[best.index(state)] >= least:
            return anchor
    return Anchor.NONE


def _speaks(seen: Seen) -> bool:
    """Whether ribs or the end of the cord say anything of an unanchored chain."""
    marks = seen.landmarks
    if marks is None:
        return False
    return marks.conus is not None or bool(np.nansum(marks.ribs_ml) > 0.0)


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
    step = np.zeros((STATES, STATES))
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
    readings: tuple[Reading, ...],
    missing: NDArray[np.float64],
    settings: LevelSettings,
    ends: NDArray[np.float64],
) -> list[int]:
    """States of the single most probable chain (Viterbi) that ends where `ends` allows."""
    chains = [_best_chain(reading, missing, settings, ends) for reading in readings]
    return max(chains, key=lambda chain: chain[0])[1]


def _best_chain(
    reading: Reading,
    missing: NDArray[np.float64],
    settings: LevelSettings,
    ends: NDArray[np.float64],
) -> tuple[float, list[int]]:
    """The logarithm of the best chain's weight, and its states."""
    steps = np.log(_steps(missing, settings) + _TINY)
    weights = np.log(reading.evidence + _TINY)
    score = weights[0] + np.log(_starts(settings)) + np.log(reading.weight + _TINY)
    came_from = []
    for step, weight in zip(steps, weights[1:], strict=True):
        path = score[:, None] + step
        came_from.append(np.argmax(path, axis=0))
        score = path.max(axis=0) + weight
    score = score + np.log(ends + _TINY)
    states = [int(np.argmax(score))]
    for origin in reversed(came_from):
        states.append(int(origin[states[-1]]))
    return float(score.max()), states[::-1]


def level_probabilities(
    readings: tuple[Reading, ...],
    missing: NDArray[np.float64],
    settings: LevelSettings,
    ends: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(bodies, states) probability of every level at every body, over all chains and readings."""
    each = [_probabilities(reading, missing, settings, ends) for reading in readings]
    weights = np.exp(np.array([weight for weight, _ in each]) - max(weight for weight, _ in each))
    shares = weights / weights.sum()
    return np.asarray(sum(share * found for share, (_, found) in zip(shares, each, strict=True)))


def _probabilities(
    reading: Reading,
    missing: NDArray[np.float64],
    settings: LevelSettings,
    ends: NDArray[np.float64],
) -> tuple[float, NDArray[np.float64]]:
    """The logarithm of the weight of all chains, and `level_probabilities` of one reading."""
    steps, evidence = _steps(missing, settings), reading.evidence
    count = len(evidence)
    forward, backward = np.ones_like(evidence), np.ones_like(evidence)
    forward[0], backward[-1] = evidence[0] * _starts(settings), ends
    weight = float(np.log(reading.weight + _TINY))
    for i in range(1, count):
        forward[i] = (forward[i - 1] @ steps[i - 1]) * evidence[i]
        total = forward[i].sum() + _TINY
        forward[i] /= total
        weight += float(np.log(total))
    weight += float(np.log(forward[-1] @ ends + _TINY))
    for i in range(count - 2, -1, -1):
        backward[i] = steps[i] @ (backward[i + 1] * evidence[i + 1])
        backward[i] /= backward[i].sum() + _TINY
    both = forward * backward
    return weight, np.asarray(both / (both.sum(axis=1, keepdims=True) + _TINY))


def _starts(settings: LevelSettings) -> NDArray[np.float64]:
    """(states,): how often a spine has each level, since a view may begin at any."""
    starts = np.ones(STATES)
    starts[LEVELS.index("T12")] = 1.0 - settings.thoracic_11
    starts[LEVELS.index("T13")] = settings.thoracic_13
    starts[LEVELS.index("L5")] = 1.0 - settings.lumbar_4
    starts[LEVELS.index("L6")] = settings.lumbar_6
    # C1 has no body.
    starts[[LEVELS.index("C1"), BELOW_S1]] = _TINY
    return starts


def _ends(anchor: Anchor) -> NDArray[np.float64]:
    """(states,): where a chain may end."""
    if anchor is Anchor.SACRUM:
        ends = np.zeros(STATES)
        ends[[S1, BELOW_S1]] = 1.0
        return ends
    ends = np.ones(STATES)
    ends[[S1, BELOW_S1]] = 0.0
    return ends


def _ranked(
    best: int | None, probability: NDArray[np.float64], settings: LevelSettings
) -> tuple[LevelName, ...]:
    """The chain's own name first (None: it has none), then what else the body may be called."""
    if best == BELOW_S1:
        return ()
    others = [
        state
        for state in np.argsort(-probability[:BELOW_S1])
        if state != best and probability[state] >= settings.smallest_alternative
    ]
    chosen = (*(() if best is None else (best,)), *others[:MOST_ALTERNATIVES])
    return tuple(LevelName(LEVELS[i], float(probability[i])) for i in chosen)
