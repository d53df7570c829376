"""What trees say as plain arrays, how a bundle carries them, and what they do to findings."""

from __future__ import annotations

import base64
import copy
from typing import Any

import numpy as np
import pytest

from models.errors import BundleError
from models.findings import Call
from models.scorer.calibration import SECTION, read_calibration
from models.scorer.combination import (
    COLUMNS,
    MAP_COLUMNS,
    QUESTIONS,
    combination_table,
    map_shares,
    read_combination,
)
from models.scorer.crops import PRESENCE
from models.scorer.extent import LINES
from models.scorer.heads import HEADS
from models.scorer.scorer import Scorer
from models.scorer.trees import LEAF, NODE, Trees, read_trees
from models.volume import Role
from tests.unit.scorer.test_scorer import METADATA, BrightIsWet
from tests.unit.scorer.toy_spine import Toy


def stump(column: str, threshold: float, below: float, above: float) -> Trees:
    """One tree of one question."""
    nodes = np.zeros((1, 3), NODE)
    nodes["column"] = (COLUMNS.index(column), LEAF, LEAF)
    nodes["left"], nodes["right"] = (1, 0, 0), (2, 0, 0)
    nodes["threshold"], nodes["value"] = (threshold, 0, 0), (0, below, above)
    return Trees(0.0, nodes)


def weighing(**questions: Trees) -> dict[str, Any]:
    """A bundle's combination that leaves every question alone but those given."""
    keep = {name: stump(f"head_{name}", 0.0, -6.0, 6.0) for name in QUESTIONS}
    lines = {
        line: stump("map_mean", 0.5, at, at + 0.3)
        for line, at in zip(LINES, (0.1, 0.2, 0.3), strict=True)
    }
    return {
        "columns": list(COLUMNS),
        "questions": {name: trees.stored() for name, trees in (keep | questions).items()},
        "extent": {line: trees.stored() for line, trees in lines.items()},
        "intact_below": 0.0,
    }


def with_combination(combination: dict[str, Any], **extent: Any) -> dict[str, Any]:  # noqa: ANN401
    metadata = copy.deepcopy(METADATA)
    calibration = metadata[SECTION]["calibration"]
    calibration["combination"] = combination
    calibration["extent"] = {"weights": None, "margin": 0.05, "coverage": 0.9} | extent
    return metadata


def test_a_row_ends_in_the_leaf_that_its_values_lead_to() -> None:
    table = np.full((3, len(COLUMNS)), np.nan, np.float32)
    column = COLUMNS.index("bright_fraction")
    table[:, column] = (0.1, 0.5, np.nan)
    # What was not measured counts as less than anything that was.
    assert stump("bright_fraction", 0.3, -2.0, 3.0)(table).tolist() == [-2.0, 3.0, -2.0]


def test_trees_are_stored_and_read_back() -> None:
    trees = stump("bright_fraction", 0.3, -2.0, 3.0)
    again = read_trees(trees.stored(), len(COLUMNS))
    assert again.base == trees.base
    assert np.array_equal(again.nodes, trees.nodes)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("left", 0, "leads nowhere"),  # round in a circle
        ("right", 3, "leads nowhere"),  # out of the tree
        ("column", len(COLUMNS), "no column|there is not"),
        ("value", np.nan, "no number"),
    ],
)
def test_trees_that_cannot_be_walked_are_refused(name: str, value: float, told: str) -> None:
    trees = stump("bright_fraction", 0.3, -2.0, 3.0)
    trees.nodes[name][0, 0] = value
    with pytest.raises(ValueError, match=told):
        read_trees(trees.stored(), len(COLUMNS))


def test_nodes_that_are_no_trees_are_refused() -> None:
    whole = stump("bright_fraction", 0.3, -2.0, 3.0).stored()
    for changed in (
        {"trees": 2},
        {"trees": 0},
        {"nodes": "no base64!"},
        {"nodes": base64.b64encode(b"x" * 13).decode()},
    ):
        with pytest.raises(ValueError, match=r"nodes|buffer"):
            read_trees(whole | changed, len(COLUMNS))


def test_a_combination_made_before_a_sign_was_measured_is_asked_what_it_knows() -> None:
    known = [name for name in COLUMNS if name != "fluid_peak_ratio"]
    whole = stump("bright_fraction", 0.3, -2.0, 3.0)
    older = whole.nodes.copy()
    older["column"][0, 0] = known.index("bright_fraction")
    stored = weighing(edema=Trees(0.0, older)) | {"columns": known}
    found = read_combination(stored, LINES)
    assert found is not None
    table = np.full((2, len(COLUMNS)), np.nan, np.float32)
    table[:, COLUMNS.index("bright_fraction")] = (0.1, 0.5)
    answers = found.answers(np.zeros((2, len(HEADS)), np.float32), table)
    assert answers[:, HEADS.index("edema")].tolist() == [-1.0, 1.5]


def test_the_table_names_every_column_once_and_leaves_out_what_is_unknown() -> None:
    heads = np.arange(2 * len(HEADS), dtype=np.float32).reshape(2, -1)
    shares = np.stack(
        [map_shares(np.array([0.1, 0.9], np.float32)), map_shares(np.zeros(0, np.float32))]
    )
    presence = np.ones((2, len(PRESENCE)), np.float32)
    table = combination_table(heads, shares, presence, {"fat_fraction": np.array([0.4, np.nan])})
    assert table.shape == (2, len(COLUMNS)) == (2, len(set(COLUMNS)))
    at = {name: table[:, number] for number, name in enumerate(COLUMNS)}
    assert at["map_mean"][0] == pytest.approx(0.5)
    assert at["map_0.5"][0] == 0.5
    assert np.isnan([at[name][1] for name in MAP_COLUMNS]).all()
    assert at["fat_fraction"][0] == pytest.approx(0.4)
    assert np.isnan(at["t1_replaced_fraction"]).all()
    assert at["head_edema"].tolist() == heads[:, 0].tolist()


def test_weighed_answers_are_what_findings_are_made_from() -> None:
    toy = Toy(gain={"stir": {"L2": 1.8}})
    study, localisation = toy.study(Role.STIR, Role.T1), toy.localisation()
    plain = Scorer(BrightIsWet(), METADATA)(study, localisation)
    kept, heads = Scorer(BrightIsWet(), with_combination(weighing())).score(study, localisation)
    calls = [level.fracture.call for level in plain.levels if level.fracture]
    assert [level.fracture.call for level in kept.levels if level.fracture] == calls
    assert Call.PRESENT in calls
    # Half-way between the network's 6 and the trees' 6.
    assert heads[:, HEADS.index("fracture")].tolist() == [
        6.0 if call is Call.PRESENT else -6.0 for call in calls
    ]
    never = weighing(fracture=stump("bright_fraction", 2.0, -18.0, 6.0))
    scores = Scorer(BrightIsWet(), with_combination(never))(study, localisation)
    assert {level.fracture.call for level in scores.levels if level.fracture} == {Call.ABSENT}
    assert [level.edema.call for level in scores.levels if level.edema] == [
        level.edema.call for level in plain.levels if level.edema
    ]


def test_a_question_may_be_left_to_the_network_and_none_is_made_up() -> None:
    toy = Toy(gain={"stir": {"L2": 1.8}})
    study, localisation = toy.study(Role.STIR, Role.T1), toy.localisation()
    never = weighing(edema=stump("bright_fraction", 2.0, -18.0, 6.0))
    dry = Scorer(BrightIsWet(), with_combination(never))(study, localisation)
    assert Call.PRESENT not in {level.edema.call for level in dry.levels if level.edema}
    del never["questions"]["edema"]
    left = Scorer(BrightIsWet(), with_combination(never))(study, localisation)
    assert Call.PRESENT in {level.edema.call for level in left.levels if level.edema}
    never["questions"]["height_loss"] = never["questions"]["fracture"]
    with pytest.raises(BundleError):
        Scorer(BrightIsWet(), with_combination(never))


def test_extents_come_from_the_combination_and_keep_their_interval() -> None:
    toy = Toy(gain={"stir": {"L2": 1.8}})
    metadata = with_combination(weighing())
    wet = Scorer(BrightIsWet(), metadata)(toy.study(Role.STIR, Role.T1), toy.localisation()).levels[
        2
    ]
    assert wet.edema is not None
    assert wet.edema.extent_fraction == pytest.approx(0.5, abs=1e-6)
    assert wet.edema.extent_interval == pytest.approx((0.35, 0.65), abs=1e-6)


def test_a_height_loss_is_weighed_where_the_bundle_can_and_one_was_measured() -> None:
    toy = Toy(heights={"L3": 17.0})
    study = toy.study(Role.STIR, Role.T1)
    found = toy.localisation(partial=("L5",))
    measured = Scorer(BrightIsWet(), with_combination(weighing()))(study, found).levels
    deep = stump("height_loss", 20.0, -3.0, 42.0)
    said = with_combination(weighing() | {"height_loss": deep.stored()})
    weighed = Scorer(BrightIsWet(), said)(study, found).levels
    losses = [
        [level.fracture.height_loss_percent for level in levels if level.fracture]
        for levels in (measured, weighed)
    ]
    assert losses[0][3] == pytest.approx(32.0, abs=1.0)
    assert losses[1] == [0.0, 0.0, 0.0, 42.0, 0.0]  # a loss below zero is none
    assert weighed[-1].fracture is None
    # What was measured stands beside it.
    assert weighed[3].features["height_loss_middle"].value == pytest.approx(32.0, abs=1.0)


def test_a_bundle_has_its_regressions_in_one_place() -> None:
    read_calibration(with_combination(weighing()))
    weights = {line: [0.0, 1.0, 0.0] for line in LINES}
    for broken in (
        with_combination(weighing(), weights=weights),
        with_combination(weighing() | {"columns": [*COLUMNS[:-1], "never_measured"]}),
        with_combination(weighing() | {"questions": {}}),
    ):
        with pytest.raises(BundleError, match="incomplete"):
            read_calibration(broken)
    unsaid = with_combination(weighing())
    unsaid[SECTION]["calibration"]["extent"] = None  # then a threshold on the map says it
    assert read_calibration(unsaid).combination is not None
    nowhere = with_combination(weighing())
    del nowhere[SECTION]["calibration"]["combination"]
    with pytest.raises(BundleError, match="incomplete"):
        read_calibration(nowhere)
