"""Comparison and site calibration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

pytest.importorskip("sklearn", reason="needs the [train] extra")

from models.findings import Call
from models.registry import install, read_bundle, resolve, verify
from models.scorer.calibration import OperatingPoint, Platt, read_calibration
from tests.unit.judging.made import drawn
from training.judging import thresholds
from training.judging.calibrate import (
    Levelled,
    level_shifts,
    site_calibration,
    with_calibration,
)
from training.judging.cases import TASKS, Judged
from training.judging.compare import compare, told
from training.judging.errors import JudgingError, TooFewCasesError
from training.judging.rebundle import resealed
from training.judging.thresholds import Needs, fit_task, fit_temperature
from training.scorer.calibrate import ACCEPTED

pytestmark = pytest.mark.train


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are rougher and tests quicker."""
    monkeypatch.setattr(thresholds, "ROUNDS", 40)


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
    assert failed(compare(doubtful, missing)) == {f"{task}.missed" for task in TASKS}
    eager = recalled(drawn(), Call.ABSENT, Call.PRESENT, positive=False, share=0.2)
    assert {f"{task}.false" for task in TASKS} <= failed(compare(drawn(), eager))


def test_a_model_that_is_as_good_but_not_shown_to_be_fails() -> None:
    few, other = drawn(patients=12, strength=1.5), drawn(patients=12, strength=1.5, noise_seed=3)
    assert not compare(few, other)["passed"]


def test_miscalibration_alone_fails_its_gate() -> None:
    found = compare(drawn(), drawn(scale=4.0, shift=4.0))
    assert "edema.ece" in failed(found)
    assert "edema.auroc" not in failed(found)


def test_too_few_cases_to_compare() -> None:
    with pytest.raises(JudgingError, match="nothing to compare"):
        compare(drawn(patients=2), drawn(patients=2))


def test_temperature_and_shift_are_recovered() -> None:
    judged = drawn(patients=400, scale=2.5, shift=1.5)
    positive = judged.truth["edema"] > 0.5
    temperature, shift = fit_temperature(Platt(1.0, 0.0), judged.logit["edema"], positive)
    assert temperature == pytest.approx(2.5, rel=0.15)
    assert shift == pytest.approx(-1.5, abs=0.5)


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
    assert needs.positives * EDEMA.missed < 3 > needs.negatives * EDEMA.false
    assert few == pytest.approx(kept, abs=1e-4)
    many, kept, needs = edges(300)
    assert needs.positives * EDEMA.missed >= 3 <= needs.negatives * EDEMA.false
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


def test_other_weights_are_brought_level_with_what_serves(tmp_path: Path) -> None:
    serving = resolve("scorer")
    before, after = drawn(patients=40), drawn(patients=40, shift=-1.2)
    shifts = level_shifts(before, after)
    assert shifts == {task: pytest.approx(1.2, abs=1e-3) for task in TASKS}
    assert level_shifts(drawn(patients=3), drawn(patients=3, shift=-1.2)) == {}

    fitted = {"edema": fit_task(after, "edema", (Platt(1.0, 1.2), SERVED), "40 studies")}
    about = {"version": "9.0.0-site.1", "chosen_on": "40 studies", "data_sha256": "c" * 64}
    content = with_calibration(serving, fitted, after, about, Levelled(serving, shifts))

    bundle = install(content, tmp_path)
    known, found = (read_calibration(one.metadata) for one in (serving, bundle))
    fracture, healing = known.platt["fracture"], found.platt["unhealed"]
    assert found.platt["fracture"].bias == pytest.approx(fracture.bias + 1.2, abs=1e-3)
    assert found.platt["fracture"].scale == fracture.scale
    assert healing.bias == pytest.approx(known.platt["unhealed"].bias + 1.2, abs=1e-3)
    assert found.platt["edema"] == fitted["edema"].platt
    assert found.operating_points["fracture"] == known.operating_points["fracture"]
    assert bundle.metadata["vertebral_acuity"]["levelled"]["to"]["sha256"] == serving.sha256
    assert "fracture +1.20" in content["card.md"].decode()


def test_to_be_level_needs_no_labels(tmp_path: Path) -> None:
    serving = resolve("scorer")
    about = {"version": "9.0.0-site.1", "chosen_on": "4 studies", "data_sha256": "c" * 64}
    levelled = Levelled(serving, {"edema": 0.5})
    content = with_calibration(serving, {}, drawn(patients=4), about, levelled)
    found = read_calibration(install(content, tmp_path).metadata)
    known = read_calibration(serving.metadata)
    assert found.platt["edema"].bias == pytest.approx(known.platt["edema"].bias + 0.5)
    assert found.operating_points == known.operating_points
    assert "too few cases" in content["card.md"].decode()


def test_local_cases_may_show_that_the_new_level_was_right() -> None:
    """Labels outweigh the level of what serves, where there are enough of them."""
    honest = drawn(patients=300)
    moved = fit_task(honest, "edema", (Platt(1.0, 1.2), SERVED), "300 studies")
    assert moved is not None
    assert moved.platt.bias == pytest.approx(0.0, abs=0.35)


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(JudgingError, match="is not a version"):
        resealed({}, {}, "next", "change")
