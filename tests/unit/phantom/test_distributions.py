"""People, curves, marrow and discs scatter as the datasheet says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from training.phantom.anatomy.disc import GRADE_LIMITS
from training.phantom.anatomy.norms import NUMBERINGS
from training.phantom.anatomy.spine import Demographics, Subject, sample_disc, sample_subject
from training.phantom.scene import Scene, SceneRequest, sample_scene

COUNT = 1500


def near(share: float, count: int) -> object:
    """Four standard errors."""
    return pytest.approx(share, abs=4.0 * float(np.sqrt(share * (1.0 - share) / count)))


@cache
def people() -> tuple[Subject, ...]:
    return tuple(sample_subject(np.random.default_rng(seed)) for seed in range(COUNT))


@cache
def spines() -> tuple[Scene, ...]:
    healthy = SceneRequest("lumbar", healthy=True, numbering="usual")
    return tuple(sample_scene(seed, healthy) for seed in range(250))


def test_sex_age_and_stature() -> None:
    women = [one for one in people() if one.sex == "F"]
    men = [one for one in people() if one.sex == "M"]
    assert len(women) / COUNT == near(0.62, COUNT)
    ages = np.array([one.age_years for one in people()])
    assert np.mean(ages) == pytest.approx(62.0, abs=1.5)
    assert ages.min() >= 19.0
    assert ages.max() <= 93.0
    assert np.mean([one.stature_cm for one in women]) == pytest.approx(163.0, abs=1.0)
    assert np.mean([one.stature_cm for one in men]) == pytest.approx(176.0, abs=1.2)


def test_numbering_variants_have_their_shares() -> None:
    for name, share in NUMBERINGS.items():
        drawn = sum(one.numbering == name for one in people()) / COUNT
        assert drawn == near(share, COUNT), name


def test_marrow_turns_to_fat_with_age_and_more_in_women() -> None:
    """Baum 2018: about half a percent a year; women overtake men after the menopause."""

    def mean(age: float, sex: str) -> float:
        fixed = Demographics(sex, age)
        drawn = (sample_subject(np.random.default_rng(seed), fixed) for seed in range(400))
        return float(np.mean([one.marrow_fat for one in drawn]))

    assert mean(30.0, "F") == pytest.approx(0.304, abs=0.02)
    assert mean(75.0, "M") - mean(35.0, "M") == pytest.approx(0.0048 * 40, abs=0.03)
    assert mean(75.0, "F") > mean(75.0, "M") + 0.03


def test_discs_wear_with_age_and_most_at_the_lowest() -> None:
    def hydration(level: str, age: float) -> float:
        drawn = (sample_disc(level, age, np.random.default_rng(s), 0.0) for s in range(300))
        return float(np.mean([one.hydration for one in drawn]))

    for level in ("L2", "L5"):
        by_age = [hydration(level, age) for age in (25.0, 45.0, 65.0, 85.0)]
        assert by_age == sorted(by_age, reverse=True), level
    assert hydration("L5", 65.0) < hydration("L1", 65.0)
    # Pfirrmann IV or worse is rare in the young and common in the old.
    least = sorted(GRADE_LIMITS)[1]

    def worn(age: float) -> float:
        drawn = (sample_disc("L4", age, np.random.default_rng(s), 0.0) for s in range(300))
        return float(np.mean([one.hydration < least for one in drawn]))

    assert worn(25.0) < 0.25 < worn(75.0)


def test_discs_lose_height_with_their_water() -> None:
    drawn = [sample_disc("L4", 60.0, np.random.default_rng(seed), 0.0) for seed in range(500)]
    water = np.array([one.hydration for one in drawn])
    height = np.array([one.height_factor for one in drawn])
    assert np.corrcoef(water, height)[0, 1] > 0.4


def test_one_spine_in_eight_or_more_is_bent_sideways() -> None:
    cobb = np.array([scene.spine.cobb_deg for scene in spines()])
    assert 0.08 < np.mean(cobb > 10.0) < 0.3
    assert np.median(cobb) < 8.0
    assert cobb.max() < 70.0


def test_slips_come_with_age() -> None:
    def share(age: float) -> float:
        request = SceneRequest("lumbar", healthy=True, numbering="usual", age_years=age)
        return float(np.mean([bool(sample_scene(s, request).spine.slips) for s in range(150)]))

    assert share(35.0) < 0.06
    assert 0.03 < share(75.0) < 0.3


def test_the_cord_ends_about_the_first_lumbar_body() -> None:
    levels = [scene.spine.conus_level for scene in spines()]
    for level, share in (("T12", 0.3), ("L1", 0.5), ("L2", 0.2)):
        assert levels.count(level) / len(levels) == near(share, len(levels)), level
