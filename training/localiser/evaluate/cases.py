"""Synthetic cases: a scan with its truth, what can be counted on it, and how it was localised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Anchor, Localisation, StudyVolumes
from models.localiser.localiser import Localiser
from models.volume import Volume
from training.localiser.matching import StudyScore, score_localisation
from training.localiser.outlines import asked_for
from training.phantom.draw import draw_image
from training.phantom.recipe import PhantomRecipe

EDGE_ROWS: Final = 3
"""A body whose truth comes this near to an image edge, in pixels, is cut and not judged."""

MIDDLE_INSIDE_MM: Final = 8.0
"""Nor is one whose middle is this near to the first or last slice."""

USUAL: Final = "usual"


@dataclass(frozen=True, slots=True)
class Case:
    """A scan and its truth.

    Attributes:
        volume: As acquired.
        body: (slice, row, column) uint8 index of the body, on its grid.
        levels: Index to level name, of bodies that lie wholly in view.
        numbering: Of the patient; `USUAL` or a variant's name.
        anchored: Whether the sacrum or C2 lies wholly in view.
        uncountable: Whether neither is in view at all.
    """

    volume: Volume
    body: NDArray[np.uint8]
    levels: dict[int, str]
    numbering: str
    anchored: bool
    uncountable: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case was localised.

    Attributes:
        case: Numbering, and whether it could be counted.
        score: Of the bodies wholly in view.
        named: Per body named: its confidence, and whether the name is right.
        withheld: No body was named.
        flagged: Names were withheld or said to be uncertain.
    """

    numbering: str
    anchored: bool
    uncountable: bool
    score: StudyScore
    named: tuple[tuple[float, bool], ...]
    withheld: bool
    flagged: bool


Change = Callable[[Case, np.random.Generator], Case]


def draw_case(
    recipe: PhantomRecipe,
    number: int,
    *,
    in_plane_mm: float | None = None,
    slice_mm: float | None = None,
) -> Case:
    """Patient `number` of a recipe, scanned once; the same numbers give the same case."""
    scene = recipe.scene(number)
    rng = np.random.default_rng([recipe.seed(number), 404])
    drawn = draw_image(
        scene, rng, in_plane_mm=in_plane_mm, slice_mm=slice_mm, mix=recipe.acquisition
    )
    _, body = asked_for(drawn.structure, drawn.body, drawn.volume.role, {})
    names = {index: level for level, index in scene.numbers.items()}
    present = [int(i) for i in np.unique(body) if i]
    whole = {i: names[i] for i in present if is_whole(body == i, drawn.volume)}
    ends = [i for i in present if names[i] in ("S1", "C2")]
    return Case(
        volume=drawn.volume,
        body=body,
        levels=whole,
        numbering=scene.spine.subject.numbering,
        anchored=any(i in whole for i in ends),
        uncountable=not ends,
    )


def is_whole(mask: NDArray[np.bool_], volume: Volume) -> bool:
    """Whether a body's mask is not cut by an edge of the image or of the stack."""
    places = np.argwhere(mask)
    low, high = places.min(axis=0), places.max(axis=0)
    limits = np.array(volume.shape[1:]) - EDGE_ROWS
    if (low[1:] < EDGE_ROWS).any() or (high[1:] >= limits).any():
        return False
    middle = float(places[:, 0].mean())
    inside = min(middle, volume.shape[0] - 1 - middle) * volume.spacing.slice_mm
    return inside >= MIDDLE_INSIDE_MM


def judge(case: Case, localiser: Localiser) -> Outcome:
    """Localise a case and compare it with its truth."""
    found = localiser(StudyVolumes(case.volume, {case.volume.role: case.volume}))
    score = score_localisation(found, np.where(_of(case), case.body, 0), case.levels)
    named = tuple(
        (confidence, body.named == body.level)
        for body in score.bodies
        if body.named is not None and (confidence := _confidence(found, body.named)) is not None
    )
    withheld = found.anchor is Anchor.NONE
    uncertain = any(one.code == "numbering_uncertain" for one in found.abstentions)
    return Outcome(
        case.numbering,
        case.anchored,
        case.uncountable,
        score,
        named,
        withheld,
        withheld or uncertain,
    )


def _of(case: Case) -> NDArray[np.bool_]:
    return np.isin(case.body, list(case.levels))


def _confidence(found: Localisation, level: str) -> float | None:
    return next((v.name.confidence for v in found.vertebrae if v.name and v.level == level), None)
