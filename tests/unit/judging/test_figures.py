from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the [train] extra")

from models.findings import (
    Acuity,
    AcuityFinding,
    Call,
    Edema,
    Etiology,
    EtiologyFinding,
    Fracture,
    LevelFindings,
    Shape,
    Vertebra,
)
from tests.builders import STIR, T1, classic_stack, ramp, write_all
from tests.unit.datasets.made import row
from tests.unit.judging.made import drawn
from training.datasets.rows import Labels
from training.judging.cases import (
    FACTS,
    TASKS,
    WITHHELD,
    load_judged,
    same_cases,
    save_judged,
    truth_of,
)
from training.judging.errors import CasesUnreadableError, DifferentCasesError
from training.judging.figures import figures, task_figures
from training.judging.page import evaluation_page
from training.judging.reading import _level_facts, acquisition_facts, calls_of
from training.statistics.roc import auroc

pytestmark = pytest.mark.train

ABOUT = {
    "bundles": {"scorer": {"version": "1.0.0", "sha256": "a" * 64}},
    "data": "made <by> hand",
    "data_sha256": "b" * 64,
    "synthetic": True,
    "unread": {"no_usable_series": 2},
    "software": "vertebral-acuity 0",
}


def test_figures_of_an_honest_model() -> None:
    judged = drawn()
    found = task_figures(judged, "edema", rounds=200)
    truth = judged.truth["edema"] > 0.5
    assert found["auroc"] == pytest.approx(auroc(judged.logit["edema"], truth))
    for name in ("auroc_delong_95", "auroc_bootstrap_95", "auprc_bootstrap_95"):
        low, high = found[name]
        assert low < found[name.split("_")[0]] < high
    assert found["ece"] < 0.06
    called = judged.call["edema"]
    assert found["sensitivity"]["hits"] == int((called[truth] == Call.PRESENT).sum())
    assert found["specificity"]["share"] == pytest.approx((called[~truth] == Call.ABSENT).mean())
    assert found["undecided"]["hits"] == int((called == Call.INDETERMINATE).sum())


def test_bodies_that_were_not_found_count_as_not_called() -> None:
    judged = drawn()
    truth = judged.truth["edema"] > 0.5
    before = task_figures(judged, "edema", rounds=20)
    lost = np.flatnonzero(truth)[:10]
    call, chance = judged.call["edema"].copy(), judged.probability["edema"].copy()
    hit = int((call[lost] == Call.PRESENT).sum())
    call[lost], chance[lost] = WITHHELD, np.nan
    after = task_figures(
        replace(
            judged,
            call=judged.call | {"edema": call},  # type: ignore[operator]
            probability=judged.probability | {"edema": chance},  # type: ignore[operator]
        ),
        "edema",
        rounds=20,
    )
    assert after["asked"] == before["asked"]
    assert after["answered"] == before["answered"] - 10
    assert after["sensitivity"]["hits"] == before["sensitivity"]["hits"] - hit


def test_subgroups_with_few_cases_get_counts_only() -> None:
    found = figures(drawn(patients=6), rounds=20)["subgroups"]
    assert set(found["sex"]) == {"F", "M"}
    assert "auroc" not in found["sex"]["F"]["edema"]
    assert "auroc" in figures(drawn(patients=60), rounds=20)["subgroups"]["sex"]["F"]["edema"]
    assert found["vendor"] == {}


def test_every_fact_has_its_strata_with_the_figures_of_their_levels() -> None:
    judged = drawn(patients=80)
    place = np.arange(len(judged))
    strata = {
        "grade": np.where(place % 3 == 0, "grade 2", "grade 0"),
        "sequences": np.where(place % 2 == 0, "stir+t1", "dixon_fat+dixon_water"),
        "field": np.where(place < 100, "1 to 1.9 T", "2 and more T"),
        "thickness": np.where(place < 60, "under 3.5 mm", "from 3.5 mm"),
        "vendor": np.where(place < 200, "siemens", "philips"),
        "sex": np.where(place < 240, "F", "M"),
        "age": np.where(place < 300, "65 to 79", "unknown"),
    }
    assert set(strata) == set(FACTS)
    found = figures(replace(judged, facts=strata), rounds=20)["subgroups"]
    for fact, column in strata.items():
        assert set(found[fact]) == set(column.tolist()) - {"unknown"}
        for stratum, told in found[fact].items():
            these = column == stratum
            truth = judged.truth["edema"][these] > 0.5
            called = judged.call["edema"][these]
            one = told["edema"]
            assert (one["asked"], one["positive"]) == (int(these.sum()), int(truth.sum()))
            assert one["sensitivity"]["hits"] == int((called[truth] == Call.PRESENT).sum())
            assert one["specificity"]["hits"] == int((called[~truth] == Call.ABSENT).sum())
            pairs = judged.logit["edema"][these]
            above = pairs[truth][:, None] > pairs[~truth][None, :]
            assert one["auroc"] == pytest.approx(above.mean())


def test_facts_of_a_level_are_grade_sex_and_age() -> None:
    def facts(grade: int | None, **known: object) -> dict[str, str]:
        return _level_facts(row(**known), Labels(genant=grade))

    assert facts(2, sex="F", age_years=71.0) == {"grade": "grade 2", "sex": "F", "age": "65 to 79"}
    assert facts(None) == {"sex": "unknown"}
    assert facts(0, sex="O")["grade"] == "grade 0"
    ages = [facts(1, age_years=years)["age"] for years in (0.0, 49.9, 50.0, 64.9, 65.0, 80.0, 99.0)]
    assert ages == [
        "0 to 49", "0 to 49", "50 to 64", "50 to 64", "65 to 79", "80 and more", "80 and more",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("vendor", "tesla", "thickness_mm", "wanted"),
    [
        ("Philips Medical Systems", 3.0, 3.4, ("philips", "2 and more T", "under 3.5 mm")),
        ("SIEMENS", 1.5, 3.5, ("siemens", "1 to 1.9 T", "from 3.5 mm")),
        ("GE MEDICAL SYSTEMS", 0.35, 5.0, ("ge", "under 1 T", "from 3.5 mm")),
        ("", None, None, ("unknown", "unknown", "unknown")),
    ],
)
def test_facts_of_an_acquisition_are_those_of_the_reference_series(
    tmp_path: Path,
    vendor: str,
    tesla: float | None,
    thickness_mm: float | None,
    wanted: tuple[str, str, str],
) -> None:
    reference = classic_stack(ramp(3, 24, 20), physics=STIR, series="stir")
    for dataset in reference:
        dataset.Manufacturer = vendor
        dataset.MagneticFieldStrength = tesla
        dataset.SliceThickness = thickness_mm
    write_all([*classic_stack(ramp(3, 24, 20), physics=T1, series="t1"), *reference], tmp_path)
    volumes = SimpleNamespace(
        by_role={"t1": None, "stir": None},
        reference=SimpleNamespace(series_instance_uid=reference[0].SeriesInstanceUID),
    )
    facts = acquisition_facts(tmp_path, volumes)  # type: ignore[arg-type]
    assert facts.pop("sequences") == "stir+t1"
    assert facts == dict(zip(("vendor", "field", "thickness"), wanted, strict=True))


def test_curves_and_their_areas_are_those_one_would_count_by_hand(tmp_path: Path) -> None:
    judged = drawn(patients=25)
    (tmp_path / "f.json").write_text(json.dumps(figures(judged, rounds=20)))
    found = json.loads((tmp_path / "f.json").read_text())["tasks"]["fracture"]
    chance, truth = judged.probability["fracture"], judged.truth["fracture"] > 0.5
    pairs = sorted(zip(chance.tolist(), truth.tolist(), strict=True))
    count = len(pairs)

    # Calibration: ten bins of equal filling, from the least to the most probable.
    assert count % 10 == 0
    size, gaps, squares = count // 10, [], 0.0
    for number in range(10):
        inside = pairs[number * size : (number + 1) * size]
        predicted = sum(one for one, _ in inside) / size
        observed = sum(yes for _, yes in inside) / size
        assert found["calibration"]["predicted"][number] == pytest.approx(predicted)
        assert found["calibration"]["observed"][number] == pytest.approx(observed)
        assert found["calibration"]["counts"][number] == size
        gaps.append(abs(predicted - observed))
    for one, yes in pairs:
        squares += (one - yes) ** 2
    assert found["ece"] == pytest.approx(sum(gaps) / 10)
    assert found["calibration"]["largest_error"] == pytest.approx(max(gaps))
    assert found["calibration"]["brier"] == pytest.approx(squares / count)

    # Selective prediction: error among the surest k levels, for every k.
    surest = sorted(pairs, key=lambda pair: -abs(pair[0] - 0.5))
    errors, wrong = [], 0
    for answered, (one, yes) in enumerate(surest, start=1):
        wrong += (one >= 0.5) != yes
        errors.append(wrong / answered)
    assert found["aurc"] == pytest.approx(sum(errors) / count)
    selective = found["selective"]
    assert len(selective["coverage"]) == len(selective["error"]) == 50
    assert selective["coverage"][-1] == 1.0
    for coverage, error in zip(selective["coverage"], selective["error"], strict=True):
        assert error == pytest.approx(errors[round(coverage * count) - 1])
    assert selective["error"][0] <= selective["error"][-1] == pytest.approx(wrong / count)

    # Precision over recall, at every positive from the most probable down.
    precision, hits = 0.0, 0
    for answered, (_, yes) in enumerate(reversed(pairs), start=1):
        hits += yes
        precision += yes * hits / answered
    assert found["auprc"] == pytest.approx(precision / truth.sum())


def test_conformal_coverage_is_counted() -> None:
    judged = drawn()
    found = figures(judged, rounds=20)["conformal"]["fluid_only"]
    truth = np.where(judged.truth["pathological"] > 0.5, "pathological", "benign")
    held = [one in str(s).split("+") for one, s in zip(truth, judged.etiology_set, strict=True)]
    assert (found["hits"], found["of"]) == (sum(held), len(held))
    assert 1.0 <= found["mean_size"] <= 2.0


def test_judged_levels_are_kept_whole(tmp_path: Path) -> None:
    judged = drawn(patients=3)
    save_judged(tmp_path / "j.parquet", judged, ABOUT)
    again, about = load_judged(tmp_path / "j.parquet")
    assert about == ABOUT
    same_cases(judged, again)
    for task in TASKS:
        np.testing.assert_array_equal(judged.logit[task], again.logit[task])
        assert judged.call[task].tolist() == again.call[task].tolist()
    whole = (tmp_path / "j.parquet").read_bytes()
    (tmp_path / "j.parquet").write_bytes(whole[:-9])
    with pytest.raises(CasesUnreadableError):
        load_judged(tmp_path / "j.parquet")


def test_results_of_other_cases_are_not_compared() -> None:
    with pytest.raises(DifferentCasesError):
        same_cases(drawn(), drawn(seed=1))


def test_truth_from_labels() -> None:
    unhealed = truth_of(Labels(acuity=Acuity.UNHEALED, edema=Call.PRESENT))
    assert (unhealed["unhealed"], unhealed["edema"]) == (1.0, 1.0)
    assert np.isnan(unhealed["fracture"])
    assert truth_of(Labels(acuity=Acuity.NO_FRACTURE))["unhealed"] == 0.0
    assert np.isnan(truth_of(Labels(etiology=Etiology.NOT_APPLICABLE))["pathological"])
    assert np.isnan(truth_of(Labels(edema=Call.INDETERMINATE))["edema"])


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            str(value) for name, value in attrs
            if name in ("src", "href", "xlink:href") and not str(value).startswith("#")
        ]  # fmt: skip

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_holds_everything_and_fetches_nothing() -> None:
    judged = drawn()
    found = figures(judged, rounds=20)
    readers = {
        "readers": ["a", "b"],
        "column": "edema",
        "levels": 9,
        "kappa": 0.5,
        "kappa_95": None,
    }
    page = _Page()
    text = evaluation_page(judged, found | {"readers": [readers]}, ABOUT)
    page.feed(text)
    assert page.tags.count("svg") == 4
    assert page.fetched == []
    assert "script" not in page.tags
    for word in ("Synthetic spines", "scorer 1.0.0", "made <by> hand", "Agreement of readers",
                 "2 no_usable_series", "Height-loss grade"):  # fmt: skip
        assert word in page.text
    assert "made <by> hand" not in text
    assert f"{found['tasks']['edema']['auroc']:.3f}" in page.text
    assert text == evaluation_page(judged, found | {"readers": [readers]}, ABOUT)
    assert json.loads(json.dumps(found, allow_nan=False))


@pytest.mark.parametrize(
    ("edema", "fracture", "cause", "called"),
    [
        (Call.ABSENT, Call.ABSENT, Etiology.NOT_APPLICABLE, Call.ABSENT),
        (Call.INDETERMINATE, Call.ABSENT, Etiology.NOT_APPLICABLE, Call.INDETERMINATE),
        (Call.ABSENT, Call.INDETERMINATE, Etiology.NOT_APPLICABLE, Call.INDETERMINATE),
        (Call.PRESENT, Call.INDETERMINATE, Etiology.BENIGN, Call.ABSENT),
        (Call.PRESENT, Call.ABSENT, Etiology.PATHOLOGICAL, Call.PRESENT),
        (Call.PRESENT, Call.ABSENT, Etiology.INDETERMINATE, Call.INDETERMINATE),
    ],
)
def test_a_cause_that_was_not_asked_for_is_missed_only_where_nothing_is_in_doubt(
    edema: Call, fracture: Call, cause: Etiology, called: Call
) -> None:
    findings = LevelFindings(
        cast("Vertebra", None),
        Edema(0.5, edema, 0.0),
        Fracture(0.5, fracture, None, None, Shape.NONE),
        AcuityFinding(Acuity.NO_FRACTURE, 0.1, ()),
        EtiologyFinding(cause, None, (), ()),
    )
    assert calls_of(findings) == {
        "edema": edema, "fracture": fracture, "unhealed": Call.ABSENT, "pathological": called,
    }  # fmt: skip
