"""Comparison and site calibration."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from scipy.special import expit, logit

pytest.importorskip("sklearn", reason="needs the [train] extra")

from models.findings import Call
from models.registry import Bundle, install, read_bundle, resolve, verify
from models.scorer.calibration import OperatingPoint, Platt, read_calibration
from tests.unit.judging.made import drawn
from training.crossing import PARTS
from training.datasets.manifest import Manifest
from training.datasets.rows import Split
from training.judging import compare as comparing
from training.judging import thresholds
from training.judging.calibrate import (
    FEWEST_OUTSIDE,
    _quantiles,
    alike,
    answering,
    site_calibration,
    with_calibration,
)
from training.judging.cases import TASKS, Judged, joined
from training.judging.compare import compare, told
from training.judging.errors import JudgingError, TooFewCasesError
from training.judging.learned import require_unseen
from training.judging.reading import Model
from training.judging.rebundle import resealed
from training.judging.thresholds import (
    ELSEWHERE,
    FEWEST_BEYOND,
    TAUGHT_HERE,
    Before,
    Needs,
    as_many,
    fit_task,
    fit_temperature,
)
from training.judging.verdict import Margins
from training.scorer.calibrate import ACCEPTED
from training.scorer.conformal import etiology_coverage
from training.statistics.resampling import patient_bootstrap

pytestmark = pytest.mark.train


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are rougher and tests quicker."""
    monkeypatch.setattr(thresholds, "ROUNDS", 40)
    monkeypatch.setattr(comparing, "patient_bootstrap", partial(patient_bootstrap, rounds=200))


EDEMA = ACCEPTED["edema"]
SERVED = OperatingPoint(0.21, 0.76, 0.8, 0.9, "where it was made")


def failed(found: dict) -> set[str]:
    return {gate["name"] for gate in found["gates"] if not gate["passed"]}


def test_the_same_answers_pass_every_gate() -> None:
    found = compare(drawn(), drawn())
    assert found["passed"]
    assert found["tasks"]["edema"]["delong"]["p_value"] == 1.0
    assert found["tasks"]["edema"]["mcnemar"]["p_value"] == 1.0


def test_a_better_model_passes_and_a_worse_one_does_not() -> None:
    good, bad = drawn(strength=3.0), drawn(strength=1.2, noise_seed=5)
    assert compare(bad, good)["passed"]
    found = compare(good, bad)
    assert not found["passed"]
    assert {"edema.auroc", "edema.missed", "edema.right"} <= failed(found)
    assert found["tasks"]["edema"]["delong"]["p_value"] < 1e-6
    assert found["tasks"]["edema"]["delong"]["difference"] < 0
    assert "FAILED" in told(found)


def recalled(judged: Judged, before: Call, after: Call, *, positive: bool, share: float) -> Judged:
    """Another call in place of one, for a share of the levels of one class."""
    drawn_ones = np.random.default_rng(3).random(len(judged)) < share
    calls = {
        task: np.where(
            (judged.call[task] == str(before))
            & ((judged.truth[task] > 0.5) == positive)
            & drawn_ones,
            str(after),
            judged.call[task],
        )
        for task in TASKS
    }
    return replace(judged, call=calls)


def test_thresholds_may_trade_sensitivity_for_more_specificity() -> None:
    careful = drawn(patients=100)
    eager = recalled(careful, Call.ABSENT, Call.PRESENT, positive=False, share=0.3)
    eager = recalled(eager, Call.INDETERMINATE, Call.PRESENT, positive=True, share=1.0)
    found = compare(
        eager, recalled(careful, Call.PRESENT, Call.INDETERMINATE, positive=True, share=0.1)
    )
    assert found["passed"]
    assert found["tasks"]["edema"]["candidate"]["sensitivity"]["share"] < (
        found["tasks"]["edema"]["served"]["sensitivity"]["share"] - 0.05
    )  # fmt: skip


def test_neither_errors_nor_doubt_may_grow() -> None:
    doubtful = recalled(drawn(), Call.PRESENT, Call.INDETERMINATE, positive=True, share=0.4)
    assert failed(compare(drawn(), doubtful)) == {f"{task}.right" for task in TASKS}
    # As many right calls as before, but what was in doubt is missed.
    missing = recalled(doubtful, Call.INDETERMINATE, Call.ABSENT, positive=True, share=1.0)
    assert {f"{task}.missed" for task in TASKS} <= failed(compare(doubtful, missing))
    eager = recalled(drawn(), Call.ABSENT, Call.PRESENT, positive=False, share=0.2)
    assert {f"{task}.false" for task in TASKS} <= failed(compare(drawn(), eager))


def test_doubt_in_place_of_wrong_calls_may_cost_some_right_ones() -> None:
    eager = recalled(drawn(), Call.ABSENT, Call.PRESENT, positive=False, share=0.3)
    careful = recalled(eager, Call.PRESENT, Call.INDETERMINATE, positive=False, share=1.0)
    careful = recalled(careful, Call.PRESENT, Call.INDETERMINATE, positive=True, share=0.3)
    assert compare(eager, careful)["passed"]
    # Nothing but doubt is as good as the toss of a coin, and worse than what serves.
    doubt = recalled(careful, Call.PRESENT, Call.INDETERMINATE, positive=True, share=1.0)
    doubt = recalled(doubt, Call.ABSENT, Call.INDETERMINATE, positive=False, share=1.0)
    assert {f"{task}.right" for task in TASKS} <= failed(compare(eager, doubt))


def test_a_model_that_is_as_good_but_not_shown_to_be_fails() -> None:
    few, other = drawn(patients=12, strength=1.5), drawn(patients=12, strength=1.5, noise_seed=3)
    assert not compare(few, other)["passed"]


def test_miscalibration_alone_fails_its_gate() -> None:
    found = compare(drawn(), drawn(scale=4.0, shift=4.0))
    assert "edema.ece" in failed(found)
    assert "edema.auroc" not in failed(found)


@pytest.mark.parametrize("what", ["found", "named"])
def test_a_localiser_that_loses_bodies_or_names_fails_its_gate(what: str) -> None:
    served = drawn()
    assert not [one for one in compare(served, drawn())["gates"] if "bodies" in one["name"]]

    def losing(share: float) -> dict:
        lost = np.random.default_rng(5).random(len(served)) < share
        return compare(served, replace(served, **{what: ~lost}))

    few, many = losing(0.005), losing(0.10)
    assert failed(few) == set()
    assert failed(many) == {f"bodies.{what}"}
    (gate,) = (one for one in many["gates"] if one["name"].startswith("bodies"))
    assert gate["margin"] == Margins().found
    assert gate["difference"] == pytest.approx(-0.10, abs=0.04)
    assert gate["bound"] < gate["difference"]
    # One that finds more than what serves passes, by however much.
    assert failed(compare(replace(served, **{what: served.found & False}), served)) == set()


def test_margins_may_be_set() -> None:
    few, other = drawn(patients=40, strength=1.8), drawn(patients=40, strength=1.8, noise_seed=3)
    assert "edema.auroc" in failed(compare(few, other))
    assert "edema.auroc" not in failed(compare(few, other, Margins(auroc=0.5)))


def test_too_few_cases_to_compare() -> None:
    with pytest.raises(JudgingError, match="nothing to compare"):
        compare(drawn(patients=2), drawn(patients=2))


def test_temperature_and_shift_are_recovered() -> None:
    judged = drawn(patients=400, scale=2.5, shift=1.5)
    positive = judged.truth["edema"] > 0.5
    temperature, shift = fit_temperature(Platt(1.0, 0.0), judged.logit["edema"], positive)
    assert temperature == pytest.approx(2.5, rel=0.15)
    assert shift == pytest.approx(-1.5, abs=0.5)


def test_what_was_taught_at_a_site_is_moved_less_by_a_few_of_its_levels() -> None:
    few, many = drawn(patients=30, shift=1.0), drawn(patients=2000, shift=1.0)
    moved = {
        (len(judged), expected.shift): fit_temperature(
            Platt(1.0, 0.0), judged.logit["edema"], judged.truth["edema"] > 0.5, expected
        )[1]
        for judged in (few, many)
        for expected in (ELSEWHERE, TAUGHT_HERE)
    }
    assert moved[len(few), ELSEWHERE.shift] == pytest.approx(-1.0, abs=0.4)
    assert -0.8 < moved[len(few), TAUGHT_HERE.shift] < -0.2
    assert moved[len(many), TAUGHT_HERE.shift] == pytest.approx(-1.0, abs=0.1)


def test_site_calibration_mends_a_miscalibrated_model_within_its_intervals() -> None:
    judged = drawn(patients=80, scale=2.5, shift=1.5)
    fitted = fit_task(judged, "edema", (Platt(1.0, 0.0), SERVED), "80 studies")
    assert fitted is not None
    low, high = fitted.intervals["temperature"].low, fitted.intervals["temperature"].high
    assert low < fitted.temperature < high
    assert low < 2.5 < high
    new = drawn(patients=300, seed=9, scale=2.5, shift=1.5)
    probability = fitted.platt.probability(new.logit["edema"].astype(np.float32))
    assert np.abs(probability.mean() - new.truth["edema"].mean()) < 0.03
    before = drawn(patients=300, seed=9, scale=2.5, shift=1.5).probability["edema"]
    truth = new.truth["edema"]
    assert ((probability - truth) ** 2).mean() < ((before - truth) ** 2).mean()


def test_what_the_cases_do_not_show_is_not_mended() -> None:
    honest = fit_task(drawn(patients=30), "edema", (Platt(1.0, 0.0), SERVED), "30 studies")
    assert honest is not None
    assert honest.intervals["temperature"].low < 1.0 < honest.intervals["temperature"].high
    assert (honest.temperature, honest.shift, honest.platt) == (1.0, 0.0, Platt(1.0, 0.0))


def test_a_threshold_stays_until_there_are_cases_enough_for_it() -> None:
    def edges(patients: int) -> tuple[tuple[float, float], tuple[float, float], Needs]:
        """Those chosen, and where the served ones lie on the recalibrated scale."""
        judged = drawn(patients=patients)
        fitted = fit_task(judged, "edema", (Platt(1.0, 0.0), SERVED), "local studies")
        assert fitted is not None
        served = logit([SERVED.low, SERVED.high])
        low, high = expit((served + fitted.shift) / fitted.temperature)
        return (fitted.point.low, fitted.point.high), (low, high), fitted.needs

    few, kept, needs = edges(16)
    assert needs.positives * EDEMA.missed < FEWEST_BEYOND > needs.negatives * EDEMA.false
    assert few == pytest.approx(kept, abs=1e-4)
    many, kept, needs = edges(300)
    assert needs.positives * EDEMA.missed >= FEWEST_BEYOND <= needs.negatives * EDEMA.false
    assert many != pytest.approx(kept, abs=1e-2)


def test_a_threshold_that_stays_goes_along_with_the_probability() -> None:
    """Else a temperature alone would turn doubt into misses."""
    judged = drawn(patients=30, scale=3.0)
    fitted = fit_task(judged, "edema", (Platt(1.0, 0.0), SERVED), "30 studies")
    assert fitted is not None
    assert fitted.temperature > 1.5
    before = Platt(1.0, 0.0).probability(judged.logit["edema"].astype(np.float32))
    after = fitted.platt.probability(judged.logit["edema"].astype(np.float32))
    assert ((after < fitted.point.low) == (before < SERVED.low)).all()
    assert fitted.point.low != SERVED.low


def test_few_cases_are_refused_with_what_is_needed() -> None:
    served = resolve("scorer")
    with pytest.raises(TooFewCasesError, match=r"of 15 positive .* of 10 patients") as caught:
        site_calibration(drawn(patients=5), served, "5 studies")
    assert caught.value.code == "too_few_cases"


def test_a_calibrated_bundle_has_the_served_weights_and_says_where_its_thresholds_come_from(
    tmp_path: Path,
) -> None:
    served = resolve("scorer")
    judged = drawn(patients=60, scale=2.0)
    fitted = site_calibration(judged, served, "60 local studies")
    about = {"version": "9.0.0-site.1", "chosen_on": "60 local studies", "data_sha256": "c" * 64}
    content = with_calibration(served, fitted, judged, about)
    bundle = install(content, tmp_path)
    verify(read_bundle(bundle.path))
    assert bundle.manifest.files["model.onnx"] == served.manifest.files["model.onnx"]
    calibration = read_calibration(bundle.metadata)
    assert calibration.platt["edema"] == fitted["edema"].platt
    assert calibration.operating_points["edema"].chosen_on == "60 local studies"
    mimic = read_calibration(served.metadata).platt["mimic_cement"]
    assert calibration.platt["mimic_cement"] == mimic
    section = bundle.metadata["vertebral_acuity"]
    assert section["calibrated_from"]["sha256"] == served.sha256
    assert section["site_calibration"]["data_sha256"] == "c" * 64
    assert "## Site calibration" in content["card.md"].decode()


def test_local_quantiles_are_those_of_the_groups_with_answers_enough() -> None:
    judged = drawn(patients=60)
    group = np.where(np.arange(len(judged)) < 20, "fat_contrast", "fluid_only")
    judged = replace(judged, group=group)
    fitted = fit_task(judged, "pathological", (Platt(1.0, 0.0), SERVED), "60 studies")
    assert fitted is not None
    found = _quantiles(judged, fitted)
    assert set(found) == {"fluid_only"}
    these = group == "fluid_only"
    assert 20 * (1 - etiology_coverage("fat_contrast")) < FEWEST_OUTSIDE
    assert these.sum() * (1 - etiology_coverage("fluid_only")) >= FEWEST_OUTSIDE
    # By hand: the smallest q so that the share of answers in a set reaches the coverage, with the
    # correction for a finite number of cases.
    chance = fitted.platt.probability(judged.logit["pathological"].astype("float32"))[these]
    truth = judged.truth["pathological"][these] > 0.5
    apart = np.sort(np.where(truth, 1.0 - chance, chance))
    rank = int(np.ceil((len(apart) + 1) * etiology_coverage("fluid_only")))
    assert found["fluid_only"] == pytest.approx(float(apart[rank - 1]), abs=1e-4)
    held = (apart <= found["fluid_only"] + 1e-4).mean()
    assert held >= etiology_coverage("fluid_only")


def beside(judged: Judged) -> Before:
    return Before(judged, dict.fromkeys(TASKS, SERVED))


def test_other_weights_call_as_many_as_what_serves_whatever_their_scale() -> None:
    before, after = drawn(patients=40), drawn(patients=40, scale=0.8, shift=0.9)
    served, probability = before.probability["edema"], after.probability["edema"]
    point = as_many(beside(before), "edema", probability)
    assert point is not None
    assert ((probability < point.low) == (served < SERVED.low)).all()
    assert ((probability >= point.high) == (served >= SERVED.high)).all()
    unanswered = np.where(np.arange(len(served)) < 50, np.nan, probability)
    part = as_many(beside(before), "edema", unanswered)
    assert part is not None
    assert (part.low, part.high) == pytest.approx((point.low, point.high), abs=0.08)
    assert as_many(beside(drawn(patients=3)), "edema", drawn(patients=3).probability["edema"]) is (
        None
    )  # fmt: skip


def test_nothing_is_called_present_below_an_even_chance() -> None:
    before, after = drawn(patients=40), drawn(patients=40, shift=-2.5)
    point = as_many(beside(before), "edema", after.probability["edema"])
    assert point is not None
    assert (point.high, point.low) == (0.5, pytest.approx(0.02, abs=0.01))


@pytest.mark.parametrize("calling", ["nothing", "everything"])
def test_as_many_at_the_ends(calling: str) -> None:
    judged = drawn(patients=10)
    shift = {"nothing": -30.0, "everything": 30.0}[calling]
    point = as_many(beside(drawn(patients=10, shift=shift)), "edema", judged.probability["edema"])
    assert point is not None
    present = judged.probability["edema"] >= point.high
    assert present.any() == (calling == "everything")
    absent = judged.probability["edema"] < point.low
    assert absent.all() == (calling == "nothing")


def test_a_threshold_of_other_weights_with_few_cases_calls_as_many() -> None:
    before, after = drawn(patients=16), drawn(patients=16, shift=1.0, noise_seed=4)
    fitted = fit_task(after, "edema", (Platt(1.0, 0.0), SERVED), "16 studies", beside(before))
    assert fitted is not None
    probability = fitted.platt.probability(after.logit["edema"].astype(np.float32))
    absent = (before.probability["edema"] < SERVED.low).sum()
    assert (probability < fitted.point.low).sum() == absent
    assert fitted.point.low > 0.2


def test_thresholds_of_other_weights_are_in_the_bundle_and_its_card(tmp_path: Path) -> None:
    serving = resolve("scorer")
    known = read_calibration(serving.metadata)
    before, after = drawn(patients=40), drawn(patients=40, shift=0.5)
    fitted = site_calibration(after, serving, "40 studies", Before(before, known.operating_points))
    kept = {"edema": fitted["edema"]}
    laid = alike(after, Before(before, known.operating_points), serving, kept)
    assert set(laid.points) == set(TASKS) - {"edema"}
    about = {"version": "9.0.0-site.1", "chosen_on": "40 studies", "data_sha256": "c" * 64}

    bundle = install(with_calibration(serving, kept, after, about, laid), tmp_path)

    found = read_calibration(bundle.metadata)
    assert found.platt["fracture"] == known.platt["fracture"]
    assert found.operating_points["fracture"].low == laid.points["fracture"].low
    assert f"as many as {serving.version}" in found.operating_points["fracture"].chosen_on
    assert found.operating_points["edema"] == fitted["edema"].point
    told_of = bundle.metadata["vertebral_acuity"]["thresholds_as_many"]
    assert told_of["as"]["sha256"] == serving.sha256
    assert "as many local levels lie beyond them" in bundle.path.joinpath("card.md").read_text()


def candidate_of(run: Path, *learned: Split) -> Model:
    """What stands for the candidate of a run that is described in the folder."""
    run.mkdir(exist_ok=True)
    (run / "data.json").write_text(json.dumps({"sha256": "d" * 64}))
    return cast("Model", SimpleNamespace(scorer=candidate_bundle(*learned)))


def candidate_bundle(*learned: Split) -> Bundle:
    trained = {"learned_parts": list(learned), "data_sha256": "d" * 64}
    metadata = {"vertebral_acuity": {"trained": trained} if learned else {}}
    return cast("Bundle", SimpleNamespace(metadata=metadata, name="scorer"))


def rows_in(*splits: Split) -> Manifest:
    rows = tuple(SimpleNamespace(split=split) for split in splits)
    return cast("Manifest", SimpleNamespace(rows=rows))


def test_what_a_crossed_run_learned_from_is_answered_by_its_halves_only(tmp_path: Path) -> None:
    crossed = candidate_of(tmp_path, *PARTS)
    seen, new = rows_in(Split.TRAIN, Split.VALIDATION), rows_in(Split.TEST)
    with pytest.raises(JudgingError, match=r"learned from the part train and validation.*--run"):
        answering(seen, crossed, None)
    assert [one.model for one in answering(new, crossed, None)] == [crossed]
    with pytest.raises(JudgingError, match="leave out --split test"):
        answering(new, crossed, tmp_path)
    plain, held = candidate_of(tmp_path, Split.TRAIN), rows_in(Split.VALIDATION)
    assert [one.manifest for one in answering(held, plain, None)] == [held]
    with pytest.raises(JudgingError, match="learned from the part train:"):
        answering(seen, plain, None)
    with pytest.raises(JudgingError, match="not of this run"):
        answering(seen, plain, tmp_path)
    (tmp_path / "data.json").write_text(json.dumps({"sha256": "e" * 64}))
    with pytest.raises(JudgingError, match="not of this run"):
        answering(seen, crossed, tmp_path)
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(JudgingError, match=r"no readable data\.json"):
        answering(seen, crossed, tmp_path)


def test_nothing_is_judged_on_what_it_learned_from() -> None:
    learned = candidate_bundle(Split.TRAIN)
    require_unseen(learned, rows_in(Split.VALIDATION, Split.TEST))
    require_unseen(candidate_bundle(), rows_in(*Split))
    with pytest.raises(JudgingError, match="learned from the part train"):
        require_unseen(learned, rows_in(*Split))


def test_levels_are_joined_in_order() -> None:
    first, second = drawn(patients=2), drawn(patients=3, seed=4)
    both = joined([first, second])
    assert len(both) == len(first) + len(second)
    for task in TASKS:
        assert (both.logit[task][len(first) :] == second.logit[task]).all()
    assert both.patient[: len(first)].tolist() == first.patient.tolist()
    assert both.facts.keys() == first.facts.keys()


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(JudgingError, match="is not a version"):
        resealed({}, {}, "next", "change")
