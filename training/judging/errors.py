"""What stands in the way of a judgement.

JudgingError                    code "judging_failed"
 ├─ NothingToJudgeError         code "nothing_to_judge"
 ├─ TooFewCasesError            code "too_few_cases"
 ├─ DifferentCasesError         code "different_cases"
 ├─ CasesUnreadableError        code "cases_unreadable"
 ├─ SeenCasesError              code "cases_learned_from"
 └─ GateError                   code "gates_not_passed"
     ├─ ComparisonChangedError  code "comparison_changed"
     └─ LooseMarginsError       code "margins_too_loose"
"""

from __future__ import annotations

from models.errors import AcuityError


class JudgingError(AcuityError):
    """A judgement that cannot be made."""

    code = "judging_failed"


class NothingToJudgeError(JudgingError):
    """No labelled level of the manifest was in a study that could be read."""

    code = "nothing_to_judge"


class TooFewCasesError(JudgingError):
    """Too few cases for what is asked; the message says how many are needed."""

    code = "too_few_cases"


class DifferentCasesError(JudgingError):
    """Two results that are not of the same levels."""

    code = "different_cases"


class CasesUnreadableError(JudgingError):
    """A file of judged levels that is damaged or of another version."""

    code = "cases_unreadable"


class SeenCasesError(JudgingError):
    """Cases that a bundle learned from, or was calibrated on: they say nothing of it."""

    code = "cases_learned_from"


class GateError(JudgingError):
    """A candidate that is worse than what serves, or not shown not to be."""

    code = "gates_not_passed"


class ComparisonChangedError(GateError):
    """A comparison that is not what was written: edited, or not in agreement with itself."""

    code = "comparison_changed"


class LooseMarginsError(GateError):
    """Gates with wider margins than the product names, and no reason for them."""

    code = "margins_too_loose"
