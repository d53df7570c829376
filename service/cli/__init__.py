"""The `acuity` command. Each command imports what it needs when it runs, so that help is quick.

Exit codes: 0 report made (abstentions included), 2 usage, 3 no sagittal spine MR series usable,
4 a model bundle is missing or damaged, 1 anything else.
"""

from __future__ import annotations

import sys
from typing import Final

import typer

from models.errors import AcuityError, BundleError
from service.cli import (
    analyze,
    audit,
    batch,
    doctor,
    keys,
    listen,
    mercure,
    models,
    plan,
    serve,
    train,
    worker,
)

EXIT_FAILURE: Final = 1
EXIT_USAGE: Final = 2
EXIT_BUNDLE: Final = 4

app = typer.Typer(
    name="acuity",
    help="Spine MRI in, per-level findings out. Research software, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: importing rich would double the time that --help takes.
    rich_markup_mode=None,
    # Its pretty tracebacks print local variables, which hold patient data.
    pretty_exceptions_enable=False,
)
app.command("analyze")(analyze.analyze)
app.command("audit")(audit.audit)
app.command("batch")(batch.batch)
app.command("doctor")(doctor.doctor)
app.command("listen")(listen.listen)
app.command("mercure")(mercure.mercure)
app.command("plan")(plan.plan)
app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.command(
    "train",
    # Everything after the step's name belongs to the step, its --help included.
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
    },
)(train.train)


def main() -> None:
    """Run the command line; every error ends as a message and an exit code."""
    try:
        app()
    except AcuityError as error:
        _say(f"{error.code}: {error}")
        raise SystemExit(exit_code_of(error)) from None
    except Exception as error:  # noqa: BLE001  the program's border
        # The message of a foreign exception may quote a file; where it came from may not.
        import traceback  # noqa: PLC0415

        _say("".join(traceback.format_tb(error.__traceback__)).rstrip())
        _say(f"internal: {type(error).__name__}")
        raise SystemExit(EXIT_FAILURE) from None


def exit_code_of(error: AcuityError) -> int:
    """The exit code of an error that ends a command."""
    if isinstance(error, BundleError):
        return EXIT_BUNDLE
    own: int = getattr(error, "exit_code", EXIT_FAILURE)
    return own


def _say(text: str) -> None:
    sys.stderr.write(f"acuity: {text}\n")
