"""Naming: chains, variants, gaps, what lies under S1, and abstention."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.anatomy import LEVELS
from models.findings import Anchor
from models.localiser.instances import Candidate
from models.localiser.levels import LevelSettings, Naming, missing_between, name_levels


def bodies(shares: list[float]) -> list[Candidate]:
    return [
        Candidate(i + 1, np.array([7.0, 30.0 * i, 50.0]), 30.0, share, 0.9, cut=False)
        for i, share in enumerate(shares)
    ]


def places(count: int, gap_after: int | None = None) -> NDArray[np.float64]:
    steps = np.linspace(28.0, 36.0, count)
    if gap_after is not None:
        steps[gap_after + 1] *= 2
    return np.stack([np.zeros(count), np.zeros(count), -np.cumsum(steps)], axis=1)


def discs(count: int, **changed: float) -> NDArray[np.float64]:
    """Usual discs above every body but the first; `b5=0.5` sets the one above body 5."""
    volumes = np.full(count, 12.0)
    volumes[0] = 0.0
    for body, volume in changed.items():
        volumes[int(body[1:])] = volume
    return volumes


def best(naming: Naming) -> list[str | None]:
    return [names[0].level if names else None for names in naming.names]


def test_usual_chain_is_counted_from_the_sacrum() -> None:
    naming = name_levels(bodies([0.0] * 7 + [0.97]), places(8), discs(8), LevelSettings())

    assert naming.anchor is Anchor.SACRUM
    assert best(naming) == ["T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1"]
    confidence = [names[0].confidence for names in naming.names]
    assert confidence[-1] > 0.95
    assert 0.8 < confidence[-2] < confidence[-1]
    # Every variant between the sacrum and a level makes its name less sure.
    assert confidence[0] < confidence[-2]


def test_alternatives_are_the_shifted_names() -> None:
    naming = name_levels(bodies([0.0] * 5 + [0.97]), places(6), discs(6), LevelSettings())

    l5 = {name.level: name.confidence for name in naming.names[-2]}
    assert set(l5) == {"L5", "L4", "L6"}
    assert l5["L6"] > l5["L4"]
    assert sum(l5.values()) == pytest.approx(0.99, abs=0.02)


def test_nothing_is_named_without_the_sacrum() -> None:
    naming = name_levels(bodies([0.0, 0.02, 0.1]), places(3), discs(3), LevelSettings())

    assert naming.anchor is Anchor.NONE
    assert best(naming) == [None, None, None]


def test_no_bodies() -> None:
    naming = name_levels([], np.zeros((0, 3)), np.zeros(0), LevelSettings())

    assert naming == Naming(Anchor.NONE, (), ())


def test_segment_under_s1_is_no_level() -> None:
    small = bodies([0.01] * 4 + [0.7, 0.97])
    small[-1] = replace(small[-1], volume_ml=7.0)
    naming = name_levels(small, places(6), discs(6, b5=0.8), LevelSettings())

    assert best(naming) == ["L2", "L3", "L4", "L5", "S1", None]
    assert naming.below_s1 == (False, False, False, False, False, True)


def test_large_blob_under_s1_is_no_level() -> None:
    naming = name_levels(bodies([0.0] * 4 + [0.8, 0.0]), places(6), discs(6), LevelSettings())

    assert best(naming) == ["L2", "L3", "L4", "L5", "S1", None]


def test_upper_of_two_s1_like_bodies_loses_when_the_lower_is_surer() -> None:
    naming = name_levels(bodies([0.0, 0.0, 0.0, 0.2, 0.98]), places(5), discs(5), LevelSettings())

    assert best(naming) == ["L2", "L3", "L4", "L5", "S1"]


def test_missed_body_leaves_a_gap_in_the_names() -> None:
    naming = name_levels(
        bodies([0.0] * 6 + [0.97]), places(7, gap_after=2), discs(7), LevelSettings()
    )

    assert best(naming) == ["T11", "T12", "L1", "L3", "L4", "L5", "S1"]


def test_gap_needs_twice_the_usual_distance() -> None:
    assert missing_between(places(7)).max() < 0.01
    gaps = missing_between(places(7, gap_after=3))
    assert gaps[3] > 0.9
    assert np.delete(gaps, 3).max() < 0.01


def test_priors_of_the_bundle_decide_rare_variants() -> None:
    often = LevelSettings(lumbar_6=0.7)
    naming = name_levels(bodies([0.0] * 5 + [0.97]), places(6), discs(6), often)

    assert best(naming)[-2] == "L6"


@given(
    shares=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20),
    gap=st.none() | st.integers(0, 17),
)
def test_names_descend_without_repeats(shares: list[float], gap: int | None) -> None:
    gap_after = gap if gap is not None and gap + 1 < len(shares) else None
    naming = name_levels(
        bodies(shares), places(len(shares), gap_after), discs(len(shares)), LevelSettings()
    )

    ranks = [LEVELS.index(names[0].level) for names in naming.names if names]
    assert ranks == sorted(set(ranks))
    for names in naming.names:
        assert 0.0 <= sum(name.confidence for name in names) <= 1.0 + 1e-9
    if naming.anchor is Anchor.SACRUM:
        assert "S1" in [names[0].level for names in naming.names if names]
