from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
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
from tests.unit.judging.made import drawn
from training.datasets.rows import Labels
from training.judging.cases import TASKS, WITHHELD, load_judged, same_cases, save_judged, truth_of
from training.judging.errors import CasesUnreadableError, DifferentCasesError
from training.judging.figures import figures, task_figures
from training.judging.page import evaluation_page
from training.judging.reading import calls_of
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
