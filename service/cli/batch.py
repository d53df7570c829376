"""`acuity batch`: every study below a folder."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from service.batch.journal import StudyState

EXIT_FAILURE: Final = 1
EXIT_NOT_USABLE: Final = 3

FORMATS: Final = "json,html,png,nii"


def batch(
    root: Annotated[
        Path,
        typer.Argument(
            exists=True, metavar="ROOT", help="A folder in any layout, a zip or a DICOMDIR."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")],
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Studies read at the same time; half the cores."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Share the queue in this PostgreSQL with `acuity worker` elsewhere."
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--formats", metavar="LIST", help="What each study's folder receives.")
    ] = FORMATS,
    deidentify: Annotated[
        bool,
        typer.Option("--deidentify", help="Write nothing that says whose it is; add the images."),
    ] = False,
) -> None:
    """Read every study below ROOT; the same command goes on after any interruption.

    Exit code 0 when a report was made and no study failed, 3 when no study was usable, 1 when a
    study failed or the batch was stopped.
    """
    from service import logs  # noqa: PLC0415
    from service.batch.run import Asked, run_batch  # noqa: PLC0415
    from service.batch.workers import default_workers  # noqa: PLC0415
    from service.cli.batch_progress import shown  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415
    from service.report.outputs import parse_formats  # noqa: PLC0415

    wanted = parse_formats(formats)
    settings = load_settings(database=database)
    # Events of single studies would tear the bar; what became of them is in the tables.
    logs.configure(settings, logging.WARNING)
    # A stop by the system is a stop by the user.
    signal.signal(signal.SIGTERM, _interrupt)
    asked = Asked(root, out, workers or default_workers(), wanted, deidentify)
    with shown(sys.stderr) as progress:
        counts = run_batch(asked, settings, progress)
    _say(counts, out)
    _leave(counts)


def _interrupt(*_: Any) -> None:  # noqa: ANN401  a signal's number and frame
    raise KeyboardInterrupt


def _say(counts: dict[StudyState, int], out: Path) -> None:
    told = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    sys.stdout.write(f"{sum(counts.values())} studies: {told or 'none'}\n")
    sys.stdout.write(f"{out / 'summary.html'}\n")
    sys.stdout.flush()


def _leave(counts: dict[StudyState, int]) -> None:
    from service.batch.journal import StudyState  # noqa: PLC0415

    if counts[StudyState.FAILED]:
        raise typer.Exit(EXIT_FAILURE)
    if not counts[StudyState.REPORTED]:
        raise typer.Exit(EXIT_NOT_USABLE)
