"""Which levels of a spine have what: drawn together, as they come together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from training.phantom.anatomy.spine import Subject
from training.phantom.disease.discs import disc_under
from training.phantom.disease.endplates import (
    sample_andersson,
    sample_corners,
    sample_discitis,
    sample_modic,
    sample_schmorl,
    sample_unrest,
)
from training.phantom.disease.fracture import sample_fracture
from training.phantom.disease.marrow import faint
from training.phantom.disease.metastasis import (
    sample_marrow_disease,
    sample_marrow_pattern,
    sample_metastasis,
    sample_sacral_metastasis,
)
from training.phantom.disease.mimics import (
    sample_bone_island,
    sample_facet_edema,
    sample_haemangioma,
    sample_limbus,
    sample_post_radiation,
    sample_red_marrow,
    sample_red_marrow_pattern,
    sample_scheuermann,
    sample_spot,
)
from training.phantom.disease.mix import DiseaseMix
from training.phantom.disease.model import HEALTHY, Disease, ImpossibleDiseaseError, combine
from training.phantom.numbers import held

__all__ = ["DiseaseMix", "bone_risk", "disc_under", "sample_diseases"]

_FRACTURE_LOAD: Final = {
    "T12": 1.0, "L1": 1.0, "T13": 0.9, "T11": 0.5, "L2": 0.5, "T7": 0.45, "T8": 0.5, "L3": 0.3,
    "T9": 0.28, "T10": 0.28, "T6": 0.3, "L4": 0.24, "T5": 0.18, "L5": 0.14, "L6": 0.1, "T4": 0.1,
    "C7": 0.02, "C6": 0.02, "C5": 0.02, "C4": 0.01, "C3": 0.01, "C2": 0.0, "S1": 0.0,
}  # fmt: skip
"""Relative frequency of osteoporotic fractures: peaks at T12-L1 and at T7-T8, rare in the neck.

C2 and S1 break otherwise than by collapse."""

_DISC_LOAD: Final = {
    "L5": 2.3, "L6": 2.0, "L4": 2.2, "L3": 1.3, "L2": 0.9, "L1": 0.8, "T12": 0.6,
    "C6": 1.4, "C5": 1.7, "C4": 1.1, "C3": 0.6, "C2": 0.2, "C7": 0.5,
}  # fmt: skip
"""How often the disc under a level degenerates, against the mean of the spine."""

_NODE_LEVELS: Final = ("T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3")

MOST_FRACTURES: Final = 6

Spine = dict[str, Disease]


def sample_diseases(
    rng: np.random.Generator,
    levels_in_view: tuple[str, ...],
    all_levels: tuple[str, ...],
    subject: Subject,
    mix: DiseaseMix,
) -> dict[str, Disease]:
    """Draw the diseases of one spine.

    Args:
        rng: Source of all chance.
        levels_in_view: Levels that the scan will show; focal disease is drawn for these.
        all_levels: Presacral levels from cranial to caudal; S1 follows them.
        subject: Age and sex; risk of fracture and degeneration rise with age.
        mix: How often what is drawn.

    Returns:
        Level name to its disease; healthy levels are left out.

    Raises:
        ImpossibleDiseaseError: A level in view is none of the spine's.
    """
    chain = (*(name for name in all_levels if name != "S1"), "S1")
    unknown = sorted(set(levels_in_view) - set(chain))
    if unknown:
        raise ImpossibleDiseaseError(f"levels in view not in the spine: {', '.join(unknown)}")
    view = tuple(name for name in chain if name in levels_in_view)
    bodies = tuple(name for name in view if name != "S1")
    found: Spine = {}
    if rng.random() >= mix.healthy and bodies:
        _add_pathological(found, rng, view, chain, mix)
        _add_fractures(found, rng, bodies, subject, mix)
        _add_blocks(found, rng, view, chain, subject, mix)
        _add_discs(found, rng, view, subject, mix)
        _add_focal(found, rng, view, mix)
    _add_variants(found, rng, view, mix)
    _mark_company(found)
    return {name: found[name] for name in chain if name in found and found[name] != HEALTHY}


def bone_risk(rng: np.random.Generator, subject: Subject) -> float:
    """Fracture risk against the mean: rises with age, female sex and low bone mass."""
    mass = float(rng.normal())
    age = (subject.age_years - 62.0) / 15.0
    return held(np.exp(0.45 * age - 0.35 * mass + 0.15 * (subject.sex == "F")), 0.25, 1.8)


def _put(found: Spine, level: str, disease: Disease) -> None:
    found[level] = combine(found.get(level, HEALTHY), disease)


def _takes(found: Spine, level: str, disease: Disease) -> bool:
    """Add a disease where nothing stands against it."""
    try:
        _put(found, level, disease)
    except ImpossibleDiseaseError:
        return False
    return True


def _calm(found: Spine, level: str) -> bool:
    """Neither fractured nor infiltrated."""
    disease = found.get(level, HEALTHY)
    return not disease.fractured and disease.etiology == "none"


def _add_pathological(
    found: Spine,
    rng: np.random.Generator,
    view: Sequence[str],
    chain: Sequence[str],
    mix: DiseaseMix,
) -> None:
    if rng.random() < mix.marrow_disease:
        pattern = sample_marrow_pattern(rng)
        for level in chain:
            breaks = _FRACTURE_LOAD.get(level, 0.06) > 0.0
            _put(found, level, sample_marrow_disease(rng, pattern, may_break=breaks))
        return
    if rng.random() >= mix.metastases:
        return
    kinds, shares = list(mix.kinds), list(mix.kinds.values())
    first = str(rng.choice(kinds, p=shares))
    chance = float(rng.uniform(0.15, 0.6)) if rng.random() < mix.metastases_many else 0.0
    seat = str(rng.choice(list(view)))
    for level in view:
        if level != seat and rng.random() >= chance:
            continue
        # One tumour mostly looks alike everywhere.
        kind = first if rng.random() < 0.8 else str(rng.choice(kinds, p=shares))
        if level == "S1":
            _put(found, level, sample_sacral_metastasis(rng, kind))
            continue
        breaks = _FRACTURE_LOAD.get(level, 0.06) > 0.0
        fractured = bool(rng.random() < mix.pathological_fracture) and breaks
        _put(found, level, sample_metastasis(rng, kind, fractured=fractured))


def _add_fractures(
    found: Spine,
    rng: np.random.Generator,
    bodies: Sequence[str],
    subject: Subject,
    mix: DiseaseMix,
) -> None:
    risk = bone_risk(rng, subject)
    free = [n for n in bodies if _calm(found, n) and _FRACTURE_LOAD.get(n, 0.06) > 0.0]
    weights = np.array([_FRACTURE_LOAD.get(level, 0.06) for level in free])
    # The mix speaks of views with the thoracolumbar junction or the mid-thoracic spine in them.
    if rng.random() >= min(0.95, mix.fractures * risk) * min(1.0, float(weights.sum())):
        return
    further = min(0.7, mix.further_fracture * (0.5 + 0.75 * risk))
    count = 1
    while count < MOST_FRACTURES and rng.random() < further:
        count += 1
    count = min(count, len(free))
    chosen = rng.choice(free, size=count, replace=False, p=weights / weights.sum())
    stages, shares = list(mix.stages), list(mix.stages.values())
    for level in chosen:
        _put(found, str(level), sample_fracture(rng, str(rng.choice(stages, p=shares))))


def _block(rng: np.random.Generator, names: Sequence[str], least: int, most: int) -> list[str]:
    """A run of neighbouring levels."""
    count = min(len(names), int(rng.integers(least, most + 1)))
    start = int(rng.integers(0, len(names) - count + 1))
    return list(names[start : start + count])


def _add_blocks(
    found: Spine,
    rng: np.random.Generator,
    view: Sequence[str],
    chain: Sequence[str],
    subject: Subject,
    mix: DiseaseMix,
) -> None:
    """What lies in several neighbouring levels or in all."""
    if rng.random() < mix.scheuermann:
        severity = float(rng.uniform(0.6, 1.3))
        seats = [n for n in view if n[0] == "T" and int(n[1:]) >= 5] + [
            n for n in view if n in ("L1", "L2")
        ]
        for level in _block(rng, seats, 3, 5) if len(seats) >= 3 else ():
            if not found.get(level, HEALTHY).fractured:
                _takes(found, level, sample_scheuermann(rng, severity))
    if rng.random() < mix.post_radiation:
        fat = float(rng.uniform(78.0, 93.0))
        # Fields over the pelvis take the sacrum with the lowest lumbar bodies.
        for level in _block(rng, view, 3, 6):
            if _calm(found, level):
                _put(found, level, sample_post_radiation(rng, fat))
    elif rng.random() < mix.red_marrow * held(1.6 - subject.age_years / 100, 0.5, 1.4):
        pattern = sample_red_marrow_pattern(rng)
        for level in chain:
            if rng.random() < 0.85 and found.get(level, HEALTHY).lesion is None:
                # Below the edema of a fracture, so that this is drawn first.
                found[level] = combine(sample_red_marrow(rng, pattern), found.get(level, HEALTHY))


def _add_discs(
    found: Spine,
    rng: np.random.Generator,
    view: Sequence[str],
    subject: Subject,
    mix: DiseaseMix,
) -> None:
    pairs = [(a, b) for a, b in pairwise(view) if _calm(found, a) and _calm(found, b)]
    inflamed = rng.random() < mix.spondyloarthritis
    if inflamed:
        fatty = float(rng.uniform(0.1, 0.7))
        share = float(rng.uniform(0.25, 0.8))
        for level in view:
            if _calm(found, level) and rng.random() < share:
                _put(found, level, sample_corners(rng, fatty=bool(rng.random() < fatty)))
    if pairs and rng.random() < mix.discitis:
        at = pairs.pop(int(rng.integers(len(pairs))))
        _both(found, at, sample_discitis(rng))
    worn = held(subject.age_years / 60.0, 0.35, 1.5)
    for upper, lower in pairs:
        if inflamed and rng.random() < 0.12:
            _both(found, (upper, lower), sample_andersson(rng))
        elif rng.random() < min(0.8, mix.modic * worn * _DISC_LOAD.get(upper, 0.45)):
            kind = int(rng.choice((1, 2, 3), p=(0.52, 0.42, 0.06)))
            _both(found, (upper, lower), sample_modic(rng, kind))
        elif rng.random() < min(0.9, mix.unrest * _DISC_LOAD.get(upper, 0.6)):
            _both(found, (upper, lower), sample_unrest(rng))


def _both(found: Spine, levels: tuple[str, str], pair: tuple[Disease, Disease]) -> None:
    for level, disease in zip(levels, pair, strict=True):
        _takes(found, level, disease)


def _add_focal(
    found: Spine, rng: np.random.Generator, view: Iterable[str], mix: DiseaseMix
) -> None:
    """Focal findings of single levels; those that need an even body spare fractured ones."""
    for level in view:
        quiet = _calm(found, level)
        # Nodes and cut-off rims are of the thoracic and lumbar spine.
        node = 1.3 if level in _NODE_LEVELS else 0.5 if level[0] in "TL" else 0.0
        if quiet and rng.random() < mix.schmorl * node:
            _put(found, level, sample_schmorl(rng, acute=False))
        if quiet and rng.random() < mix.schmorl_acute * node:
            _put(found, level, sample_schmorl(rng, acute=True))
        # Rarer in the neck and the sacrum.
        angioma = 1.0 if level[0] in "TL" else 0.5
        if rng.random() < mix.haemangioma * angioma:
            _takes(found, level, sample_haemangioma(rng, atypical=False))
        if quiet and rng.random() < mix.haemangioma_atypical * angioma:
            _put(found, level, sample_haemangioma(rng, atypical=True))
        if quiet and rng.random() < mix.bone_island:
            _put(found, level, sample_bone_island(rng))
        if quiet and level[0] == "L" and rng.random() < 2.0 * mix.limbus:
            _put(found, level, sample_limbus(rng))
        if level == "S1":
            continue
        low = 2.0 if level in ("L3", "L4", "L5", "L6") else 0.4
        if rng.random() < mix.facet_edema * low:
            _takes(found, level, sample_facet_edema(rng))


def _add_variants(
    found: Spine,
    rng: np.random.Generator,
    view: Sequence[str],
    mix: DiseaseMix,
) -> None:
    """Unrest of healthy marrow that no truth names, in healthy spines too."""
    for level in view:
        if _calm(found, level) and rng.random() < mix.spot:
            _put(found, level, sample_spot(rng, fatty=bool(rng.random() < 0.5)))
        if _calm(found, level) and rng.random() < 0.5 * mix.unrest:
            _put(found, level, Disease(changes=(faint(rng),)))
    if not found:
        for upper, lower in pairwise(view):
            if rng.random() < mix.unrest:
                _both(found, (upper, lower), sample_unrest(rng))


def _mark_company(found: Spine) -> None:
    """Signs that other levels give: several fractures (G6), lesions elsewhere (B8)."""
    broken = [n for n, d in found.items() if d.fracture != "none"]
    infiltrated = [n for n, d in found.items() if d.lesion is not None]
    for level in broken:
        signs = set(found[level].signs)
        if len(broken) > 1:
            signs.add("G6")
        if set(infiltrated) - {level}:
            signs.add("B8")
        found[level] = replace(found[level], signs=frozenset(signs))
