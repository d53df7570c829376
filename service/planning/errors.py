"""What planning refuses. Messages name fields, rules and files; never a value that was sent.

AcuityError
 ├─ ClinicalInputError     code "clinical_input_invalid"    exit code 2
 ├─ ProfileError           code "planning_profile_invalid"  exit code 2
 └─ ProfileMissingError    code "planning_profile_missing"  exit code 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.errors import AcuityError


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field.

    Attributes:
        field: Its name, with an index where it is an item of a list: "prior_cement_levels.0".
        message: One sentence without the value.
    """

    field: str
    message: str


class ClinicalInputError(AcuityError):
    """Clinical input that is not as the schema says."""

    code = "clinical_input_invalid"
    exit_code: ClassVar[int] = 2

    def __init__(self, problems: tuple[FieldProblem, ...]) -> None:
        super().__init__("; ".join(f"{item.field}: {item.message}" for item in problems))
        self.problems = problems


class ProfileError(AcuityError):
    """A profile or technique file that does not make sense.

    Args:
        file: Name of the file, without its folder.
        problem: Stable code of what is wrong, for example "unknown_input".
        detail: One sentence that names the rule.
    """

    code = "planning_profile_invalid"
    exit_code: ClassVar[int] = 2

    def __init__(self, file: str, problem: str, detail: str) -> None:
        super().__init__(f"{file}: {problem}: {detail}")
        self.file = file
        self.problem = problem


class ProfileMissingError(AcuityError):
    """A profile that neither the product nor the site has."""

    code = "planning_profile_missing"
    exit_code: ClassVar[int] = 2
