from dataclasses import replace

import pytest

from models.findings import Acuity, Call, Edema, Etiology, Fracture, Shape
from models.scorer.calibration import OperatingPoint, Platt, ScorerCalibration
from models.scorer.calls import (
    LIMIT_CEMENT,
    LIMIT_NO_CONTRAST,
    LIMIT_NOT_MEASURED,
    LIMIT_PARTLY_COVERED,
    LIMIT_UNEXPLAINED,
    call_acuity,
    call_edema,
    call_etiology,
    call_fracture,
    surer,
    weigh_contrast,
)
from models.scorer.contrast import ContrastRule
from models.scorer.extent import Extent
from models.scorer.heads import BINARY_HEADS
from models.scorer.measurements import HeightLoss

POINT = OperatingPoint(0.3, 0.7, 0.9, 0.9, "toy")
CALIBRATION = ScorerCalibration(
    platt={name: Platt(1.0, 0.0) for name in BINARY_HEADS},
    operating_points=dict.fromkeys(("edema", "fracture", "unhealed", "pathological"), POINT),
    etiology_quantile={"fat_contrast": 0.4, "fluid_only": 0.8},
    map_threshold=0.5,
    reference_heights_mm={},
    bounds={},
)
SHAPES = {Shape.NONE: 0.0, Shape.WEDGE: 2.0, Shape.BICONCAVE: 1.0, Shape.CRUSH: -1.0}


def edema(call: Call) -> Edema:
    return Edema(0.5, call, 0.2)


def fracture(call: Call) -> Fracture:
    return Fracture(0.5, call, 10.0, 0, Shape.NONE)


@pytest.mark.parametrize(
    ("probability", "call"),
    [
        (0.29, Call.ABSENT),
        (0.3, Call.INDETERMINATE),
        (0.69, Call.INDETERMINATE),
        (0.7, Call.PRESENT),
    ],
)
def test_thresholds(probability: float, call: Call) -> None:
    assert POINT.call(probability) is call


def test_absent_edema_has_no_extent() -> None:
    extent = Extent(0.4, (0.3, 0.6))
    absent, present = (call_edema(chance, extent, POINT, ("x",)) for chance in (0.1, 0.9))
    assert (absent.extent_fraction, absent.extent_interval) == (0.0, None)
    assert (present.extent_fraction, present.extent_interval) == (0.4, (0.3, 0.6))
    assert present.limited_by == ("x",)


def test_a_cut_body_is_left_open_and_has_an_extent_only_where_edema_is_likely() -> None:
    extent = Extent(0.4, (0.3, 0.6))
    dry, wet = (call_edema(chance, extent, POINT, (LIMIT_PARTLY_COVERED,)) for chance in (0.1, 0.9))
    assert dry.call is wet.call is Call.INDETERMINATE
    assert (dry.extent_fraction, dry.extent_interval) == (0.0, None)
    assert wet.extent_fraction == 0.4


RULE = ContrastRule(agrees_from=0.1, clear_from=0.3)


@pytest.mark.parametrize(
    ("network", "bright", "call", "flags"),
    [
        (Call.PRESENT, 0.1, Call.PRESENT, ()),
        (Call.PRESENT, 0.09, Call.INDETERMINATE, (LIMIT_NO_CONTRAST,)),
        (Call.PRESENT, float("nan"), Call.INDETERMINATE, (LIMIT_NOT_MEASURED,)),
        (Call.ABSENT, 0.29, Call.ABSENT, ()),
        (Call.ABSENT, 0.3, Call.ABSENT, (LIMIT_UNEXPLAINED,)),
        (Call.ABSENT, float("nan"), Call.ABSENT, ()),
        (Call.INDETERMINATE, 0.9, Call.INDETERMINATE, ()),
        (Call.INDETERMINATE, 0.0, Call.INDETERMINATE, ()),
    ],
)
def test_measured_contrast_has_a_say(
    network: Call, bright: float, call: Call, flags: tuple[str, ...]
) -> None:
    weighed = weigh_contrast(replace(edema(network), limited_by=("x",)), bright, RULE)
    assert weighed.call is call
    assert weighed.limited_by == ("x", *flags)
    assert weighed.probability == 0.5


def test_unhealed_does_not_rest_on_an_edema_that_is_not_measured() -> None:
    without = weigh_contrast(edema(Call.PRESENT), 0.0, RULE)
    assert call_acuity(0.9, without, fracture(Call.PRESENT), POINT).call is Acuity.INDETERMINATE
    with_it = weigh_contrast(edema(Call.PRESENT), 0.5, RULE)
    assert call_acuity(0.9, with_it, fracture(Call.PRESENT), POINT).call is Acuity.UNHEALED


def test_edema_beside_cement_makes_no_fracture_unhealed() -> None:
    treated = replace(edema(Call.PRESENT), limited_by=(LIMIT_CEMENT,))
    assert call_acuity(0.9, treated, fracture(Call.PRESENT), POINT).call is Acuity.INDETERMINATE
    healed = replace(edema(Call.ABSENT), limited_by=(LIMIT_CEMENT,))
    assert call_acuity(0.1, healed, fracture(Call.PRESENT), POINT).call is Acuity.HEALED


def test_grade_and_shape_need_a_fracture() -> None:
    loss = HeightLoss(30.0, 10.0, -4.0).percent
    present = call_fracture(0.9, SHAPES, loss, POINT)
    assert (present.genant_grade, present.shape, present.height_loss_percent) == (
        2,
        Shape.WEDGE,
        30.0,
    )
    absent = call_fracture(0.1, SHAPES, loss, POINT)
    assert (absent.genant_grade, absent.shape, absent.height_loss_percent) == (0, Shape.NONE, 30.0)
    unmeasured = call_fracture(0.9, SHAPES, None, POINT)
    assert unmeasured.genant_grade is None
    assert unmeasured.height_loss_percent is None


@pytest.mark.parametrize(
    ("unhealed", "wet", "broken", "call"),
    [
        (0.9, Call.PRESENT, Call.PRESENT, Acuity.UNHEALED),
        (0.9, Call.PRESENT, Call.INDETERMINATE, Acuity.UNHEALED),
        (0.9, Call.ABSENT, Call.PRESENT, Acuity.INDETERMINATE),
        (0.9, Call.PRESENT, Call.ABSENT, Acuity.INDETERMINATE),
        (0.1, Call.ABSENT, Call.PRESENT, Acuity.HEALED),
        (0.1, Call.PRESENT, Call.ABSENT, Acuity.NO_FRACTURE),
        (0.5, Call.PRESENT, Call.PRESENT, Acuity.INDETERMINATE),
        (0.1, Call.ABSENT, Call.INDETERMINATE, Acuity.INDETERMINATE),
    ],
)
def test_acuity_needs_agreeing_answers(
    unhealed: float, wet: Call, broken: Call, call: Acuity
) -> None:
    finding = call_acuity(unhealed, edema(wet), fracture(broken), POINT)
    assert finding.call is call
    assert finding.probability_unhealed == unhealed


def test_etiology_is_not_asked_of_a_healthy_body() -> None:
    finding = call_etiology(0.99, "fat_contrast", CALIBRATION, (), asked=Call.ABSENT)
    assert finding.call is Etiology.NOT_APPLICABLE
    assert finding.pathological_probability is None
    assert finding.prediction_set == ()


@pytest.mark.parametrize(
    ("probability", "call"),
    [
        (0.99, Etiology.INDETERMINATE),
        (0.5, Etiology.INDETERMINATE),
        (0.05, Etiology.NOT_APPLICABLE),
    ],
)
def test_a_tumour_is_not_hidden_by_a_doubtful_edema(probability: float, call: Etiology) -> None:
    finding = call_etiology(probability, "fat_contrast", CALIBRATION, (), asked=Call.INDETERMINATE)
    assert finding.call is call
    told = probability if call is Etiology.INDETERMINATE else None
    assert finding.pathological_probability == told
    assert bool(finding.prediction_set) == (told is not None)


def test_the_surer_of_two_calls() -> None:
    assert surer(Call.ABSENT, Call.ABSENT) is Call.ABSENT
    assert surer(Call.INDETERMINATE, Call.ABSENT) is Call.INDETERMINATE
    assert surer(Call.INDETERMINATE, Call.PRESENT) is Call.PRESENT


@pytest.mark.parametrize(
    ("probability", "group", "call", "members"),
    [
        (0.95, "fat_contrast", Etiology.PATHOLOGICAL, (Etiology.PATHOLOGICAL,)),
        (0.05, "fat_contrast", Etiology.BENIGN, (Etiology.BENIGN,)),
        (0.5, "fat_contrast", Etiology.INDETERMINATE, None),
        # The wider set of fluid-only studies takes a call away that T1 would have allowed.
        (0.75, "fluid_only", Etiology.INDETERMINATE, (Etiology.BENIGN, Etiology.PATHOLOGICAL)),
    ],
)
def test_etiology_follows_the_set(
    probability: float, group: str, call: Etiology, members: tuple[Etiology, ...] | None
) -> None:
    finding = call_etiology(probability, group, CALIBRATION, ("t1_missing",), asked=Call.PRESENT)
    assert finding.call is call
    assert finding.prediction_set
    assert members is None or finding.prediction_set == members
    assert finding.limited_by == ("t1_missing",)
