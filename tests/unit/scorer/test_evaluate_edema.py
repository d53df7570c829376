"""Edema on real scans: how calls and readings are brought together and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.findings import Call, Edema, Feature, LevelFindings, Localisation, Scores
from tests.unit.scorer.toy_spine import Toy

evaluate_real = pytest.importorskip("training.evaluate_real")

NAMES = {20: "L1", 21: "L2", 22: "L3"}


def scores_of(localisation: Localisation, calls: dict[str, Call]) -> Scores:
    return Scores(
        tuple(
            LevelFindings(
                vertebra,
                Edema(0.6, calls.get(vertebra.level or "", Call.ABSENT), 0.1, ("x",)),
                None,
                None,
                None,
                {"bright_fraction": Feature(value=0.25), "bright_from": Feature(value=1.3)},
            )
            for vertebra in localisation.vertebrae
        ),
        None,
    )


def readings(
    group: str, visible: dict[str, bool | None], calls: dict[str, Call]
) -> tuple[evaluate_real.EdemaReading, ...]:
    localisation = Toy().localisation()
    # T12 .. L5 are labelled 1 .. 6; only L1 to L3 have true masks.
    mask = np.zeros(localisation.labels.shape, np.uint8)
    for index, value in ((2, 20), (3, 21), (4, 22)):
        mask[localisation.labels == index] = value
    truth = evaluate_real.Truth("study", group, "1.2", Path("truth.nii.gz"), visible)
    scores = scores_of(localisation, calls)
    return evaluate_real.read_edema(truth, scores, mask, localisation.affine, NAMES)


def test_calls_are_counted_by_what_was_seen() -> None:
    read = readings(
        "STIR",
        {"L1": True, "L2": False, "L3": None},
        {"L1": Call.PRESENT, "L2": Call.INDETERMINATE, "L4": Call.PRESENT},
    )
    assert [body.level for body in read] == ["T12", "L1", "L2", "L3", "L4", "L5"]
    assert [body.read for body in read] == [False, True, True, True, False, False]
    figures = evaluate_real.summarise_edema(read)
    assert figures["by_reading"]["visible"]["present"] == 1
    assert figures["by_reading"]["not_visible"]["indeterminate"] == 1
    assert figures["by_reading"]["equivocal"] == {
        "bodies": 1, "present": 0, "absent": 1, "indeterminate": 0,
    }  # fmt: skip
    assert len(figures["bodies"]) == 6
    text = evaluate_real.edema_table(figures)
    assert "unadjudicated" in text
    assert "read as visible: 1 bodies, called present 1" in text
    assert "volunteers, T2 healthy: no fluid-sensitive series" in text
    assert "not read" in text


def test_volunteers_get_shares_with_intervals() -> None:
    read = readings("Dixon water", {"L1": None, "L2": None}, {"L5": Call.PRESENT})
    assert not any(body.read for body in read)
    figures = evaluate_real.summarise_edema(read)
    water = figures["healthy"]["Dixon water"]
    assert (water["bodies"], water["present"], water["indeterminate"]) == (6, 1, 0)
    assert water["present_95"] == pytest.approx([0.0301, 0.5635], abs=1e-4)
    assert figures["bodies"] == []
    assert "6 bodies, called present 1 (16.7%" in evaluate_real.edema_table(figures)


def test_bodies_without_an_edema_finding_are_left_out() -> None:
    localisation = Toy().localisation()
    silent = Scores(
        tuple(LevelFindings(v, None, None, None, None) for v in localisation.vertebrae), None
    )
    truth = evaluate_real.Truth("study", "STIR", "1.2", Path("truth.nii.gz"), {})
    mask = np.zeros(localisation.labels.shape, np.uint8)
    assert evaluate_real.read_edema(truth, silent, mask, localisation.affine, NAMES) == ()
