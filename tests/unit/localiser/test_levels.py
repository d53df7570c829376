"""Naming: chains, variants, gaps, what lies under S1, and abstention."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.anatomy import LEVELS
from models.findings import Anchor
from models.localiser.evidence import STATES, LevelSettings, Seen, trusted, trusted_axis
from models.localiser.landmarks import Landmarks
from models.localiser.levels import Naming, Told, missing_between, name_levels


def seen(
    shares: list[float],
    *,
    small: int | None = None,
    discs_ml: NDArray[np.float64] | None = None,
    c2: int | None = None,
    marks: Landmarks | None = None,
) -> Seen:
    """Bodies with these S1 shares; `small` is the index of a small one, `c2` of one like C2."""
    volumes = np.full(len(shares), 30.0)
    if small is not None:
        volumes[small] = 7.0
    c2_shares = np.zeros(len(shares))
    if c2 is not None:
        c2_shares[c2] = 0.95
    return Seen(
        np.array(shares),
        c2_shares,
        volumes,
        discs(len(shares)) if discs_ml is None else discs_ml,
        marks,
    )


def places(count: int, gap_after: int | None = None) -> NDArray[np.float64]:
    steps = np.linspace(28.0, 36.0, count)
    if gap_after is not None:
        steps[gap_after + 1] *= 2
    return np.stack([np.zeros(count), np.zeros(count), -np.cumsum(steps)], axis=1)


def discs(count: int, **changed: float) -> NDArray[np.float64]:
    """Usual discs above every body but the first; `b5=0.5` sets the one above body 5."""
    volumes = np.full(count, 12.0)
    volumes[:1] = 0.0
    for body, volume in changed.items():
        volumes[int(body[1:])] = volume
    return volumes


def best(naming: Naming) -> list[str | None]:
    return [names[0].level if names else None for names in naming.names]


def test_usual_chain_is_counted_from_the_sacrum() -> None:
    naming = name_levels(seen([0.0] * 7 + [0.97]), places(8), LevelSettings())

    assert naming.anchor is Anchor.SACRUM
    assert best(naming) == ["T11", "T12", "L1", "L2", "L3", "L4", "L5", "S1"]
    confidence = [names[0].confidence for names in naming.names]
    assert confidence[-1] > 0.95
    assert 0.8 < confidence[-2] < confidence[-1]
    # Every variant between the sacrum and a level makes its name less sure.
    assert confidence[0] < confidence[-2]


def test_alternatives_are_the_shifted_names() -> None:
    naming = name_levels(seen([0.0] * 5 + [0.97]), places(6), LevelSettings())

    l5 = {name.level: name.confidence for name in naming.names[-2]}
    assert set(l5) == {"L5", "L4", "L6"}
    assert l5["L6"] > l5["L4"]
    assert sum(l5.values()) == pytest.approx(0.99, abs=0.02)


def test_nothing_is_named_without_the_sacrum() -> None:
    naming = name_levels(seen([0.0, 0.02, 0.1]), places(3), LevelSettings())

    assert naming.anchor is Anchor.NONE
    assert best(naming) == [None, None, None]


def test_what_looks_like_a_sacrum_at_the_top_anchors_nothing() -> None:
    naming = name_levels(seen([0.42, 0.06] + [0.0] * 9 + [0.02]), places(12), LevelSettings())
    assert naming.anchor is Anchor.NONE
    # Nor does it hide the anchor that there is.
    naming = name_levels(seen([0.0, 0.0, 0.3] + [0.0] * 4, c2=0), places(7), LevelSettings())
    assert naming.anchor is Anchor.C2
    assert best(naming) == ["C2", "C3", "C4", "C5", "C6", "C7", "T1"]


def test_a_sliver_at_the_edge_of_the_image_is_no_anchor() -> None:
    volumes = np.array([20.0, 26.0, 23.0, 31.0, 1.0])
    shares, cut = np.array([0.0, 0.0, 0.0, 0.0, 0.4]), np.array([False] * 4 + [True])
    assert trusted(shares, volumes, cut).tolist() == [0.0] * 5
    assert trusted(shares, volumes, ~cut).tolist() == shares.tolist()  # small, but whole
    half = np.array([20.0, 26.0, 23.0, 31.0, 14.0])
    assert trusted(shares, half, cut).tolist() == shares.tolist()  # half a sacrum is one
    assert trusted(np.array([0.9]), np.array([1.0]), np.array([True])).tolist() == [0.9]
    assert shares[-1] == 0.4


def test_c2_is_whole_and_no_smaller_than_the_bodies_under_it() -> None:
    shares = np.array([0.9, 0.0, 0.0, 0.0])
    volumes = np.array([2.8, 1.4, 1.7, 2.0])
    whole, cut = np.zeros(4, bool), np.array([True, False, False, False])

    assert trusted_axis(shares, volumes, whole).tolist() == shares.tolist()
    assert not trusted_axis(shares, volumes, cut).any()
    # A body of the chest at the end of the image, and one of no neighbours to compare it with.
    assert not trusted_axis(shares, np.array([1.3, 2.5, 3.4, 4.5]), whole).any()
    assert trusted_axis(shares[:1], volumes[:1], whole[:1]).tolist() == [0.9]


def test_no_bodies() -> None:
    naming = name_levels(seen([]), np.zeros((0, 3)), LevelSettings())

    assert naming == Naming(Anchor.NONE, (), (), np.zeros((0, STATES)))


def test_segment_under_s1_is_no_level() -> None:
    chain = seen([0.01] * 4 + [0.7, 0.97], small=5, discs_ml=discs(6, b5=0.8))
    naming = name_levels(chain, places(6), LevelSettings())

    assert best(naming) == ["L2", "L3", "L4", "L5", "S1", None]
    assert naming.below_s1 == (False, False, False, False, False, True)


def test_large_blob_under_s1_is_no_level() -> None:
    naming = name_levels(seen([0.0] * 4 + [0.8, 0.0]), places(6), LevelSettings())

    assert best(naming) == ["L2", "L3", "L4", "L5", "S1", None]


def test_upper_of_two_s1_like_bodies_loses_when_the_lower_is_surer() -> None:
    naming = name_levels(seen([0.0, 0.0, 0.0, 0.2, 0.98]), places(5), LevelSettings())

    assert best(naming) == ["L2", "L3", "L4", "L5", "S1"]


def test_missed_body_leaves_a_gap_in_the_names() -> None:
    naming = name_levels(seen([0.0] * 6 + [0.97]), places(7, gap_after=2), LevelSettings())

    assert best(naming) == ["T11", "T12", "L1", "L3", "L4", "L5", "S1"]


def test_gap_needs_twice_the_usual_distance() -> None:
    assert missing_between(places(7)).max() < 0.01
    gaps = missing_between(places(7, gap_after=3))
    assert gaps[3] > 0.9
    assert np.delete(gaps, 3).max() < 0.01


def test_priors_of_the_bundle_decide_rare_variants() -> None:
    often = LevelSettings(lumbar_6=0.7)
    naming = name_levels(seen([0.0] * 5 + [0.97]), places(6), often)

    assert best(naming)[-2] == "L6"


@given(
    shares=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20),
    gap=st.none() | st.integers(0, 17),
)
def test_names_descend_without_repeats(shares: list[float], gap: int | None) -> None:
    gap_after = gap if gap is not None and gap + 1 < len(shares) else None
    naming = name_levels(seen(shares), places(len(shares), gap_after), LevelSettings())

    ranks = [LEVELS.index(names[0].level) for names in naming.names if names]
    assert ranks == sorted(set(ranks))
    for names in naming.names:
        assert 0.0 <= sum(name.confidence for name in names) <= 1.0 + 1e-9
    if naming.anchor is Anchor.SACRUM:
        assert "S1" in [names[0].level for names in naming.names if names]


def ribs(beside: str) -> NDArray[np.float64]:
    """Volumes beside bodies: "r" a rib, "." none, "?" out of view."""
    return np.array([{"r": 2.0, ".": 0.0, "?": np.nan}[one] for one in beside])


def test_names_are_counted_down_from_c2() -> None:
    naming = name_levels(seen([0.0] * 9, c2=0), places(9), LevelSettings())

    assert naming.anchor is Anchor.C2
    assert best(naming) == ["C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3"]


@pytest.mark.parametrize(("beside", "more_likely"), [("rr......", False), ("r.......", True)])
def test_ribs_on_the_sixth_body_above_the_sacrum_speak_against_six_lumbar_ones(
    beside: str, more_likely: bool
) -> None:
    marks = Landmarks(ribs(beside), None)
    plain = name_levels(seen([0.0] * 7 + [0.97]), places(8), LevelSettings())
    naming = name_levels(seen([0.0] * 7 + [0.97], marks=marks), places(8), LevelSettings())

    assert best(naming) == best(plain)
    assert naming.names[0][0].level == "T11"
    fifth = {name.level: name.confidence for name in naming.names[6]}
    before = {name.level: name.confidence for name in plain.names[6]}
    assert (fifth.get("L6", 0.0) > before["L6"]) is more_likely


def test_six_bodies_without_ribs_under_clear_ones_are_l6() -> None:
    marks = Landmarks(ribs("rrr......."), 3.2)
    settings = LevelSettings(rib_last=0.98)
    naming = name_levels(seen([0.0] * 9 + [0.97], marks=marks), places(10), settings)

    assert best(naming)[-2] == "L6"
    assert naming.sureness < 0.95


def test_a_clear_rib_on_the_fifth_body_above_the_sacrum_makes_the_numbering_doubtful() -> None:
    marks = Landmarks(ribs("rrrr....."), None)
    naming = name_levels(seen([0.0] * 8 + [0.97], marks=marks), places(9), LevelSettings())

    assert naming.sureness < LevelSettings().doubtful
    assert "L4" in {name.level for name in naming.names[-2]}


@pytest.mark.parametrize("beside", ["..........", "?????....."])
def test_an_image_without_any_rib_says_nothing_of_the_numbering(beside: str) -> None:
    plain = name_levels(seen([0.0] * 9 + [0.97]), places(10), LevelSettings())
    marks = Landmarks(ribs(beside), None)
    naming = name_levels(seen([0.0] * 9 + [0.97], marks=marks), places(10), LevelSettings())

    assert best(naming) == best(plain)
    assert naming.sureness == pytest.approx(plain.sureness, abs=0.03)


def test_ribs_out_of_view_say_nothing() -> None:
    marks = Landmarks(ribs("??????"), None)
    plain = name_levels(seen([0.0] * 5 + [0.97]), places(6), LevelSettings())

    assert name_levels(seen([0.0] * 5 + [0.97], marks=marks), places(6), LevelSettings()) == plain


def test_without_an_anchor_landmarks_leave_possibilities_and_no_name() -> None:
    marks = Landmarks(ribs("rr..."), 2.2)
    naming = name_levels(seen([0.0] * 5, marks=marks), places(5), LevelSettings())

    assert naming.anchor is Anchor.NONE
    assert naming.sureness == 0.0
    third = {name.level: name.confidence for name in naming.names[2]}
    ranked = sorted(third, key=lambda level: -third[level])
    assert set(ranked[:2]) == {"T12", "L1"}
    assert third[ranked[0]] < 0.9


def test_another_view_anchors_a_chain_without_an_anchor() -> None:
    likelihood = np.ones((4, STATES))
    likelihood[1] = 0.001
    likelihood[1, LEVELS.index("T7")] = 0.95
    told = Told(Anchor.LOCALIZER, likelihood)
    naming = name_levels(seen([0.0] * 4), places(4), LevelSettings(), told)

    assert naming.anchor is Anchor.LOCALIZER
    assert best(naming) == ["T6", "T7", "T8", "T9"]
    assert naming.sureness > 0.9


def test_another_view_overrules_the_usual_count() -> None:
    likelihood = np.ones((7, STATES))
    likelihood[0] = 1e-4
    likelihood[0, LEVELS.index("L1")] = 0.97
    told = Told(Anchor.LOCALIZER, likelihood)
    naming = name_levels(seen([0.0] * 6 + [0.97]), places(7), LevelSettings(), told)

    assert best(naming) == ["L1", "L2", "L3", "L4", "L5", "L6", "S1"]
