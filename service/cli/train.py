"""`acuity train`: hand over to the training scripts, which need the [train] extra.

The service never imports training: a step is run by name, as a program of its own.
"""

from __future__ import annotations

import sys
from typing import Annotated, ClassVar, Final

import typer

from models.errors import AcuityError

STEPS: Final = {
    "phantom": "training.phantom",
    "manifest": "training.datasets",
    "fit": "training.fit",
    "fit localiser": "training.localiser",
    "fit scorer": "training.scorer",
    "export": "training.fit.export",
    "export localiser": "training.localiser.bundle",
    "export scorer": "training.scorer.export",
    "evaluate": "training.judging.evaluate",
    "evaluate real": "training.evaluate_real",
    "calibrate": "training.judging.calibrate",
    "compare": "training.judging.compare",
    "promote": "training.judging.promote",
}
"""Step to the module that does it."""


class TrainingUnavailableError(AcuityError):
    """The training scripts or their libraries are not installed."""

    code = "training_unavailable"


class UnknownStepError(AcuityError):
    """A step of training that there is not."""

    code = "unknown_step"
    exit_code: ClassVar[int] = 2


def train(
    context: typer.Context,
    step: Annotated[str, typer.Argument(metavar="STEP", help=f"One of: {', '.join(STEPS)}.")],
) -> None:
    """Run a training step; what follows its name goes to it (`acuity train phantom --help`)."""
    from importlib.util import find_spec  # noqa: PLC0415
    from runpy import run_module  # noqa: PLC0415

    name, arguments = _split((step, *context.args))
    missing = [package for package in ("torch", "monai", "training") if find_spec(package) is None]
    if missing:
        raise TrainingUnavailableError(
            f"{', '.join(missing)} not found; install with: pip install 'vertebral-acuity[train]'"
        )
    sys.argv = [f"acuity train {name}", *arguments]
    run_module(STEPS[name], run_name="__main__", alter_sys=True)


def _split(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Tell a step's name, of one or two words, from what belongs to it."""
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in STEPS:
            return name, words[count:]
    raise UnknownStepError(f"the steps are {', '.join(STEPS)}")
