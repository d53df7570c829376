"""What naming rests on and how exact sizes are, counted on synthetic patients.

python -m training.localiser.calibrate --checkpoint RUN/checkpoint.pt --out calibration.json

Patients are of the recipe `validate`, from a number on that the evaluation does not reach. Not
counted, but published figures: how often numbering varies, and where the cord ends.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import Anchor, BodySize, StudyVolumes
from models.geometry import to_index
from models.localiser.bodies import chain_directions
from models.localiser.evidence import LevelSettings, Seen
from models.localiser.exactness import SizeSpread
from models.localiser.levels import name_levels
from models.localiser.localiser import Localiser
from training.evaluate_real.networks import open_localiser
from training.localiser.evaluate.cases import Case, draw_case
from training.localiser.matching import measure_mask
from training.phantom.recipe import load_recipe

FIRST: Final = 10_000
"""Number of the first patient; the evaluation counts from 0."""

UNLIKE_PERCENT: Final = 0.5
"""Part of the synthetic scans that would be called unlike the training ones."""

FEWEST: Final = 8
"""A rate is counted on at least this many bodies, or keeps its default."""

SHARES: Final = (0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
"""Shares of S1 from which on the sacrum counts as seen, that are tried."""

MISTAKEN: Final = 0.003
"""Part of the bodies above S1 that may reach it."""

SHARPNESS: Final = (0.35, 0.5, 0.7, 1.0)
ANCHOR_ODDS: Final = (0.5, 1.0, 2.0, 3.0)
"""Weights of the anchors' evidence, and odds before it is seen, that are tried."""

DOUBTFUL: Final = (0.75, 0.8)
"""Limits of sureness under which a numbering is doubtful, that are tried. A higher one would flag a
quarter of the real scans, on which ribs are seldom found."""

FLAGGED: Final = 0.1
"""Part of the scans named right that may be flagged, so that variants are."""

MOST_FOUND: Final = 0.95
"""Highest rate that is believed of what is found beside bodies. In a tidy synthetic image hardly a
rib is missed; believed to the last, one missed rib would overrule all that speaks for the others.
"""

LEAST_PROBABLE: Final = 1e-3
"""What is less probable surprises no more: some truths are out of anybody's sight."""


@dataclass(frozen=True, slots=True)
class Body:
    """A true body as the localiser saw it.

    Attributes:
        level: Its true name.
        rib_ml: Rib beside it; NaN out of view.
        s1_share: Part of it called S1.
    """

    level: str
    rib_ml: float
    s1_share: float


@dataclass(frozen=True, slots=True)
class TrueChain:
    """The bodies of one scan as found, with their true names.

    Attributes:
        seen: Of n bodies, cranial to caudal.
        centres_lps_mm: (n, 3).
        levels: n true names; None where there is no body.
    """

    seen: Seen
    centres_lps_mm: NDArray[np.float64]
    levels: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """What was seen of many patients.

    Attributes:
        bodies: All that are wholly in view.
        confidence: Per scan, the mean confidence of what was taken for a body.
        chains: Per scan.
    """

    bodies: tuple[Body, ...]
    confidence: tuple[float, ...]
    chains: tuple[TrueChain, ...] = ()


def count(cases: Sequence[Case], localiser: Localiser) -> Counted:
    """Match what the localiser finds with the truth of every case."""
    bodies: list[Body] = []
    confidence: list[float] = []
    chains: list[TrueChain] = []
    for case in cases:
        found = localiser.find(case.volume)
        levels = [_true_level(case, centre) for centre in found.centres_lps_mm]
        chains.append(TrueChain(found.seen, found.centres_lps_mm, tuple(levels)))
        if found.candidates:
            confidence.append(float(np.mean([body.confidence for body in found.candidates])))
        marks = found.seen.landmarks
        if marks is None:
            raise ValueError("this network knows no ribs and no cord")
        bodies += [
            Body(level, float(rib), float(share))
            for level, rib, share in zip(levels, marks.ribs_ml, found.seen.s1_shares, strict=True)
            if level is not None
        ]
    return Counted(tuple(bodies), tuple(confidence), tuple(chains))


def _true_level(case: Case, centre: NDArray[np.float64]) -> str | None:
    at = np.rint(to_index(case.volume.affine, centre)).astype(int)
    if not ((at >= 0) & (at < case.volume.shape)).all():
        return None
    return case.levels.get(int(case.body[tuple(at)]))


def fitted(counted: Counted, usual: LevelSettings) -> LevelSettings:
    """Settings that fit what was counted; what was seen too rarely keeps its default."""
    settings = _sacrum_seen(counted, _ribs_seen(counted, usual))
    if len(counted.confidence) >= FEWEST:
        lowest = float(np.percentile(counted.confidence, UNLIKE_PERCENT))
        settings = replace(settings, least_confidence=round(lowest, 4))
    return _doubtful(counted.chains, as_sure_as_right(counted.chains, settings))


def _ribs_seen(counted: Counted, settings: LevelSettings) -> LevelSettings:
    """How often ribs are found, and clear ones among them, in images whose ribs can be read.

    Those of all synthetic scans can. On many real ones no rib is found at all, so which part can be
    read is not counted here.
    """
    seen = {
        "thoracic": [b.rib_ml for b in counted.bodies if _is_upper_thoracic(b.level)],
        "last": [b.rib_ml for b in counted.bodies if b.level in ("T12", "T13")],
        "lumbar": [b.rib_ml for b in counted.bodies if b.level == "L1"],
    }
    rates: dict[str, float] = {}
    for where, beside in seen.items():
        volumes = np.array([volume for volume in beside if np.isfinite(volume)])
        found = volumes[volumes >= settings.rib_ml]
        if len(volumes) >= FEWEST:
            rates[f"rib_{where}"] = min(_rate(volumes >= settings.rib_ml), MOST_FOUND)
        if len(found) >= FEWEST:
            rates[f"clear_{where}"] = min(_rate(found >= settings.rib_clear_ml), MOST_FOUND)
    return replace(settings, **rates)


def _sacrum_seen(counted: Counted, settings: LevelSettings) -> LevelSettings:
    """The smallest share of S1 that hardly any body above it reaches; never more than the default.

    An image that ends within S1 leaves it a small share, where bodies above it have next to none.
    The share that speaks neither way stays: names that hang on less of S1 are doubtful, since on a
    real scan such a body was L5.
    """
    above = np.array([body.s1_share for body in counted.bodies if body.level != "S1"])
    sacral = np.array([body.s1_share for body in counted.bodies if body.level == "S1"])
    if min(len(above), len(sacral)) < FEWEST:
        return settings
    kept = [t for t in SHARES if t <= settings.sacrum_share and (above >= t).mean() <= MISTAKEN]
    return replace(settings, sacrum_share=min(kept, default=settings.sacrum_share))


def as_sure_as_right(chains: Sequence[TrueChain], settings: LevelSettings) -> LevelSettings:
    """Weigh what anchors a chain so that names are as sure as they are right, and no surer.

    Scans like those that the network learned from make every anchor look sure; on others it is not,
    so what is counted may only make names less sure. Few scans leave the settings as they are.
    """
    if len(chains) < FEWEST:
        return settings
    tried = [
        replace(settings, sharpness=sharpness, anchor_odds=odds)
        for sharpness in SHARPNESS
        for odds in ANCHOR_ODDS
        if sharpness <= settings.sharpness and odds <= settings.anchor_odds
    ]
    return min(tried, key=lambda one: surprise(chains, one))


def _doubtful(chains: Sequence[TrueChain], settings: LevelSettings) -> LevelSettings:
    """The largest limit of sureness that flags few of the scans that are named right."""
    namings = [(c, name_levels(c.seen, c.centres_lps_mm, settings)) for c in chains]
    sure = np.array(
        [
            naming.sureness
            for chain, naming in namings
            if naming.anchor is not Anchor.NONE
            and all(
                level is None or (names and names[0].level == level)
                for level, names in zip(chain.levels, naming.names, strict=True)
            )
        ]
    )
    if len(sure) < FEWEST:
        return settings
    kept = [limit for limit in DOUBTFUL if (sure < limit).mean() <= FLAGGED]
    return replace(settings, doubtful=max(kept, default=settings.doubtful))


def surprise(chains: Sequence[TrueChain], settings: LevelSettings) -> float:
    """Mean surprise, in nats, at whether a name is right, over all bodies that are named."""
    each = []
    for chain in chains:
        naming = name_levels(chain.seen, chain.centres_lps_mm, settings)
        if naming.anchor is Anchor.NONE:
            continue
        for level, names in zip(chain.levels, naming.names, strict=True):
            if level is not None and names:
                sure = names[0].confidence
                came_true = sure if names[0].level == level else 1.0 - sure
                each.append(-np.log(max(came_true, LEAST_PROBABLE)))
    return float(np.mean(each)) if each else 0.0


def _is_upper_thoracic(level: str) -> bool:
    return level.startswith("T") and level not in ("T12", "T13")


def _rate(hits: NDArray[np.bool_]) -> float:
    """With one hit and one miss more, so that nothing is ever certain."""
    return round(float((hits.sum() + 1) / (len(hits) + 2)), 3)


def size_spread(cases: Sequence[Case], localiser: Localiser) -> SizeSpread | None:
    """Robust standard deviations of measured sizes against the same measurement of the truth.

    None where too few bodies are found to say.
    """
    errors: list[tuple[float, ...]] = []
    for case in cases:
        found = localiser(StudyVolumes(case.volume, {case.volume.role: case.volume}))
        bodies = [v for v in found.vertebrae if v.size is not None]
        directions = chain_directions(np.array([v.centroid_lps_mm for v in bodies]).reshape(-1, 3))
        for body, direction in zip(bodies, directions, strict=True):
            at = np.rint(to_index(case.volume.affine, body.centroid_lps_mm)).astype(int)
            inside = ((at >= 0) & (at < case.volume.shape)).all()
            index = int(case.body[tuple(at)]) if inside else 0
            if index not in case.levels:
                continue
            true = measure_mask(case.body == index, found.affine, direction)
            if true is not None and body.size is not None:
                errors.append(_apart(body.size, true))
    if len(errors) < FEWEST:
        return None
    middle, part = (3, 1.4826)
    spread = part * np.median(np.abs(np.array(errors)), axis=0)
    return SizeSpread(
        height_mm=round(float(spread[:middle].max()), 3),
        depth_mm=round(float(spread[middle]), 3),
        width_mm=round(float(spread[middle + 1]), 3),
        volume=round(float(spread[middle + 2]), 4),
    )


def _apart(ours: BodySize, true: BodySize) -> tuple[float, ...]:
    return (
        ours.height_anterior_mm - true.height_anterior_mm,
        ours.height_middle_mm - true.height_middle_mm,
        ours.height_posterior_mm - true.height_posterior_mm,
        ours.depth_mm - true.depth_mm,
        ours.width_mm - true.width_mm,
        ours.volume_ml / true.volume_ml - 1.0,
    )


def main() -> int:
    """Count and write the settings."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--checkpoint", type=Path, help="of training; else a bundle")
    parser.add_argument("--bundle-dir", type=Path)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    recipe = load_recipe("validate")
    cases = [draw_case(recipe, FIRST + number) for number in range(given.count)]
    localiser = open_localiser(given.bundle_dir, given.checkpoint)
    calibration = {"levels": asdict(fitted(count(cases, localiser), LevelSettings()))}
    spread = size_spread(cases, localiser)
    if spread is not None:
        calibration["size_spread"] = asdict(spread)
    given.out.write_text(json.dumps(calibration, indent=2))
    sys.stdout.write(given.out.read_text() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
