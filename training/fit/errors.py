"""What stops a training run before it costs anybody an hour.

FitError                        code "fit_failed"
 ├─ FitRecipeError              code "recipe_invalid"        exit code 2
 ├─ CheckpointError             code "checkpoint_damaged"
 ├─ OtherRunError               code "run_of_another_recipe"
 ├─ TooFewLevelsError           code "too_few_levels"
 └─ TrackerMissingError         code "tracker_missing"
"""

from __future__ import annotations

from typing import ClassVar

from models.errors import AcuityError


class FitError(AcuityError):
    """A run that cannot be made."""

    code = "fit_failed"


class FitRecipeError(FitError):
    """A recipe that cannot be read, or that asks for what there is not."""

    code = "recipe_invalid"
    exit_code: ClassVar[int] = 2


class CheckpointError(FitError):
    """A checkpoint that is cut short, changed or of another version."""

    code = "checkpoint_damaged"


class OtherRunError(FitError):
    """The run folder was begun with another recipe or other data."""

    code = "run_of_another_recipe"


class TooFewLevelsError(FitError):
    """Too few labelled levels to train on or to validate with."""

    code = "too_few_levels"


class TrackerMissingError(FitError):
    """A tracking server is named and what would speak to it is not installed."""

    code = "tracker_missing"
