"""Three-valued logic, and what a condition may not be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.planning.conditions import All, AnyLevel, Compare, Known, Not, Op, decide, inputs_of
from service.planning.conditions import Any as AnyOf
from service.planning.model import Scope
from service.planning.parse import ConditionError, parse_condition

INR = Compare("inr", Op.ABOVE, 1.5)
PMMA = Compare("allergy_pmma", Op.EQUAL, value=True)


@pytest.mark.parametrize(
    ("facts", "all_", "any_"),
    [
        ({"inr": 2.0, "allergy_pmma": True}, True, True),
        ({"inr": 2.0, "allergy_pmma": False}, False, True),
        ({"inr": 2.0}, None, True),
        ({"inr": 1.0}, False, None),
        ({}, None, None),
        ({"inr": 1.0, "allergy_pmma": False}, False, False),
    ],
)
def test_unknown_parts_decide_only_where_they_can_turn_the_answer(
    facts: dict[str, Any], all_: bool | None, any_: bool | None
) -> None:
    assert decide(All((INR, PMMA)), facts) is all_
    assert decide(AnyOf((INR, PMMA)), facts) is any_
    assert decide(Not(All((INR, PMMA))), facts) is (None if all_ is None else not all_)


def test_known_is_never_unknown() -> None:
    assert decide(Known("inr"), {}) is False
    assert decide(Known("inr"), {"inr": None}) is False
    assert decide(Known("inr"), {"inr": 0.9}) is True


def test_any_level_looks_at_every_level_and_knows_nothing_of_none() -> None:
    condition = AnyLevel(Compare("mimic_discitis", Op.AT_LEAST, 0.5))
    assert decide(condition, {}, ({"mimic_discitis": 0.1}, {"mimic_discitis": 0.6})) is True
    assert decide(condition, {}, ({"mimic_discitis": 0.1}, {})) is None
    assert decide(condition, {}, ({"mimic_discitis": 0.1},)) is False
    assert decide(condition, {}, ()) is None


EVERY_ANSWER = ["yes", "no", "not_applicable"]
HIGH = {"input": "inr", "op": ">", "value": 2}
NESTED: dict[str, Any] = {"unknown": "inr"}
for _ in range(8):
    NESTED = {"not": NESTED}


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"input": "inrr", "op": ">", "value": 1}, "unknown_input"),
        ({"unknown": "inrr"}, "unknown_input"),
        ({"input": "inr", "op": "~", "value": 1}, "unknown_op"),
        ({"input": "inr", "op": ">", "value": 1000}, "unreachable"),
        ({"input": "inr", "op": ">=", "value": 0.1}, "unreachable"),
        ({"input": "inr", "op": ">", "value": "high"}, "wrong_value"),
        ({"input": "inr", "op": ">", "threshold": "max_inr"}, "unknown_threshold"),
        ({"input": "inr", "op": ">"}, "missing_key"),
        ({"input": "inr", "op": ">", "value": 1, "units": "x"}, "unknown_key"),
        ({"input": "allergy_pmma", "op": ">", "value": True}, "wrong_value"),
        ({"input": "allergy_pmma", "value": 1}, "wrong_value"),
        ({"input": "pregnancy", "value": "maybe"}, "unknown_choice"),
        ({"input": "pregnancy", "op": "in", "value": EVERY_ANSWER}, "unreachable"),
        ({"input": "pregnancy", "op": "in", "value": "yes"}, "wrong_value"),
        ({"input": "acuity", "value": "healed"}, "wrong_scope"),
        ({"all": []}, "wrong_value"),
        ({"some": [{"unknown": "inr"}]}, "unknown_key"),
        ({"eval": "inr > 1"}, "unknown_key"),
        ({"all": [HIGH, {"not": HIGH}]}, "unreachable"),
        (NESTED, "too_deep"),
    ],
)  # fmt: skip
def test_bad_conditions_are_refused_with_a_code(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConditionError) as refused:
        parse_condition(table, Scope.PATIENT, {})
    assert refused.value.problem == problem


def test_any_level_belongs_to_the_patient() -> None:
    table = {"any_level": {"input": "acuity", "value": "healed"}}
    assert inputs_of(parse_condition(table, Scope.PATIENT, {})) == ("acuity",)
    with pytest.raises(ConditionError) as refused:
        parse_condition(table, Scope.LEVEL, {})
    assert refused.value.problem == "wrong_scope"


LEAVES = st.sampled_from(
    [
        {"input": "inr", "op": ">", "value": 1.5},
        {"input": "allergy_pmma", "value": True},
        {"input": "pregnancy", "op": "in", "value": ["yes", "no"]},
        {"unknown": "inr"},
        {"known": "pregnancy"},
    ]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=8,
)
FACTS = st.fixed_dictionaries(
    {
        "inr": st.one_of(st.none(), st.floats(0.1, 30)),
        "allergy_pmma": st.one_of(st.none(), st.booleans()),
        "pregnancy": st.sampled_from([None, "yes", "no", "not_applicable"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(table=TREES, facts=FACTS)
def test_every_tree_is_decided_or_refused_and_all_known_is_always_decided(
    table: dict[str, Any], facts: dict[str, Any]
) -> None:
    try:
        condition = parse_condition(table, Scope.PATIENT, {})
    except ConditionError:
        return  # a tree that can never change, or goes too deep
    answer = decide(condition, facts)
    assert answer in (True, False, None)
    if all(value is not None for value in facts.values()):
        assert answer is not None
