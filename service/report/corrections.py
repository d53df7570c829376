"""A reader's corrections applied to what was found: names and calls.

Naming one body right names all others by counting. Acuity follows from fracture and edema, and an
etiology is asked only where there is one of them, as in `models.scorer.calls`. Probabilities stay
the network's: the reader changes what is called, not what was computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from models.anatomy import LEVELS
from models.errors import AcuityError
from models.findings import (
    Acuity,
    AcuityFinding,
    Call,
    Edema,
    Etiology,
    EtiologyFinding,
    Fracture,
    LevelFindings,
    LevelName,
    Shape,
    Vertebra,
)
from service.report.assemble import label_values
from service.report.review import Decision, LevelCorrection, Review

_OPTIONAL_LEVELS: Final = frozenset({"T13", "L6"})
"""Counted only where a reader names them."""


class ReviewError(AcuityError):
    """A correction contradicts itself, the report, or another correction."""

    code = "review_conflict"


def corrected(levels: Sequence[LevelFindings], review: Review) -> tuple[LevelFindings, ...]:
    """Apply a reader's corrections.

    Args:
        levels: Cranial to caudal, as they were reported.
        review: Of that report.

    Raises:
        ReviewError: A body is not there or named twice, names do not run from cranial to caudal,
            or a call contradicts another one.
    """
    by_place = _by_place([level.vertebra for level in levels], review.levels)
    if review.decision is Decision.REJECT:
        if by_place:
            raise ReviewError("a rejected report is not corrected")
        return tuple(levels)
    vertebrae = _renamed([level.vertebra for level in levels], by_place)
    return tuple(
        _level(replace(level, vertebra=vertebra), by_place.get(place))
        for place, (level, vertebra) in enumerate(zip(levels, vertebrae, strict=True))
    )


def _by_place(
    vertebrae: Sequence[Vertebra], corrections: Sequence[LevelCorrection]
) -> dict[int, LevelCorrection]:
    table = label_values(tuple(vertebrae))
    places = {int(table[one.index]): place for place, one in enumerate(vertebrae)}
    found: dict[int, LevelCorrection] = {}
    for correction in corrections:
        place = places.get(correction.label_value)
        if place is None:
            raise ReviewError(f"the report has no body {correction.label_value}")
        if place in found:
            raise ReviewError(f"body {correction.label_value} is corrected twice")
        found[place] = correction
    return found


def _renamed(
    vertebrae: Sequence[Vertebra], corrections: Mapping[int, LevelCorrection]
) -> tuple[Vertebra, ...]:
    """Give every body the name that follows from those that the reader gave."""
    given = {place: one.level for place, one in corrections.items() if one.level is not None}
    if not given:
        return tuple(vertebrae)
    chain = [level for level in LEVELS if level not in _OPTIONAL_LEVELS - set(given.values())]
    steps = _steps(vertebrae)
    names = []
    for place in range(len(vertebrae)):
        nearest = min(given, key=lambda fixed: (abs(fixed - place), fixed))
        names.append(chain.index(given[nearest]) + steps[place] - steps[nearest])
    if names[0] < 0:
        raise ReviewError("counting leaves no name for the uppermost body")
    if any(upper >= lower for upper, lower in pairwise(names)):
        raise ReviewError("the names do not run from cranial to caudal")
    return tuple(
        # What lies below S1 has no name here.
        replace(one, name=LevelName(chain[at], 1.0) if at < len(chain) else None, alternatives=())
        for one, at in zip(vertebrae, names, strict=True)
    )


def _steps(vertebrae: Sequence[Vertebra]) -> list[int]:
    """Place of every body in a chain, in levels; a body that was missed leaves a gap."""
    named = {one.level for one in vertebrae}
    chain = [level for level in LEVELS if level not in _OPTIONAL_LEVELS - named]
    steps = [0]
    for upper, lower in pairwise(vertebrae):
        apart = 1
        if upper.level is not None and lower.level is not None:
            apart = max(1, chain.index(lower.level) - chain.index(upper.level))
        steps.append(steps[-1] + apart)
    return steps


def _level(level: LevelFindings, correction: LevelCorrection | None) -> LevelFindings:
    if correction is None:
        return level
    edema = _edema(level.edema, correction)
    fracture = _fracture(level.fracture, correction)
    acuity = _acuity(level.acuity, edema, fracture, correction)
    etiology = _etiology(level.etiology, edema, fracture, correction)
    said = replace(level, edema=edema, fracture=fracture, acuity=acuity, etiology=etiology)
    # The reader has seen what was measured, too.
    return said if said == level else replace(said, disagreements=())


def _edema(edema: Edema | None, correction: LevelCorrection) -> Edema | None:
    call = correction.edema
    if call is None:
        return edema
    if edema is None:
        raise _not_read("edema", correction)
    if call is Call.ABSENT:
        edema = replace(edema, extent_fraction=0.0, extent_interval=None)
    return replace(edema, call=call, limited_by=())


def _fracture(fracture: Fracture | None, correction: LevelCorrection) -> Fracture | None:
    given = correction.fracture
    if given is None:
        return fracture
    if fracture is None:
        raise _not_read("fracture", correction)
    if given.call is not Call.PRESENT:
        if given.shape or given.genant_grade:
            raise ReviewError("only a fracture that is present has a shape and a grade")
        grade = None if fracture.genant_grade is None else 0
        return replace(fracture, call=given.call, genant_grade=grade, shape=Shape.NONE)
    if given.shape is None and fracture.call is not Call.PRESENT:
        raise ReviewError("a fracture that was not reported needs its shape, `none` without any")
    shape = Shape(given.shape) if given.shape else fracture.shape
    grade = fracture.genant_grade if given.genant_grade is None else given.genant_grade
    if given.shape == "none":
        if given.genant_grade:
            raise ReviewError("a fracture without deformity has the grade 0")
        grade = None if grade is None else 0
    return replace(fracture, call=given.call, genant_grade=grade, shape=shape)


def _acuity(
    acuity: AcuityFinding | None,
    edema: Edema | None,
    fracture: Fracture | None,
    correction: LevelCorrection,
) -> AcuityFinding | None:
    if correction.edema is None and correction.fracture is None and correction.acuity is None:
        return acuity
    if acuity is None or edema is None or fracture is None:
        if correction.acuity is not None:
            raise _not_read("acuity", correction)
        return acuity
    follows = _follows(edema.call, fracture.call)
    given = correction.acuity or follows
    # Edema beside a healed fracture may come from elsewhere, as from a Modic change of type 1.
    elsewhere = follows is Acuity.UNHEALED and given is Acuity.HEALED
    if follows is not Acuity.INDETERMINATE and given is not follows and not elsewhere:
        raise ReviewError("the acuity contradicts what is said of fracture and edema")
    return replace(acuity, call=given, prediction_set=(given,))


def _follows(edema: Call, fracture: Call) -> Acuity:
    if fracture is Call.ABSENT:
        return Acuity.NO_FRACTURE
    if fracture is Call.INDETERMINATE or edema is Call.INDETERMINATE:
        return Acuity.INDETERMINATE
    return Acuity.UNHEALED if edema is Call.PRESENT else Acuity.HEALED


def _etiology(
    etiology: EtiologyFinding | None,
    edema: Edema | None,
    fracture: Fracture | None,
    correction: LevelCorrection,
) -> EtiologyFinding | None:
    if etiology is None:
        if correction.etiology is not None:
            raise _not_read("etiology", correction)
        return None
    asked = any(one is not None and one.call is Call.PRESENT for one in (edema, fracture))
    if correction.etiology is not None:
        if not asked:
            raise ReviewError("an etiology needs a fracture or an edema that is present")
        call = Etiology(correction.etiology)
        return replace(etiology, call=call, prediction_set=(call,), limited_by=())
    if correction.edema is None and correction.fracture is None:
        return etiology
    if not asked:
        return replace(etiology, call=Etiology.NOT_APPLICABLE, prediction_set=())
    if etiology.call is Etiology.NOT_APPLICABLE:
        # There is something to explain now, and nobody has explained it.
        return replace(etiology, call=Etiology.INDETERMINATE)
    return etiology


def _not_read(what: str, correction: LevelCorrection) -> ReviewError:
    return ReviewError(f"no {what} was read of body {correction.label_value}")


def differences(
    before: Sequence[LevelFindings], after: Sequence[LevelFindings]
) -> Iterator[tuple[int, str, Any, Any]]:
    """What a review changed: place, field, what it was, what it is."""
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        for field, was, becomes in zip(_FIELDS, _told(old), _told(new), strict=True):
            if was != becomes:
                yield place, field, was, becomes


_FIELDS: Final = (
    "level", "edema.call", "fracture.call", "fracture.shape", "fracture.genant_grade",
    "acuity.call", "etiology.call",
)  # fmt: skip


def _told(level: LevelFindings) -> tuple[Any, ...]:
    fracture = level.fracture
    return (
        level.vertebra.level,
        level.edema and level.edema.call,
        fracture and fracture.call,
        fracture and fracture.shape,
        fracture and fracture.genant_grade,
        level.acuity and level.acuity.call,
        level.etiology and level.etiology.call,
    )
