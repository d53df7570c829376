"""`acuity doctor`: what this machine and installation can do, and what is in the way."""

from __future__ import annotations

from typing import Final

import typer

EXIT_FAILURE: Final = 1
EXIT_BUNDLE: Final = 4


def doctor() -> None:
    """Check Python, CPU, decoders, model bundles, runtimes, disk, database and archives.

    Exit code 4 when a model bundle is missing or damaged, 1 when something else is in the way.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from service.cli.checks import Verdict, bundle_checks, machine_checks  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415
    from service.cli.connections import connection_checks  # noqa: PLC0415

    settings = load_settings()
    machine = [*machine_checks(settings), *connection_checks(settings)]
    bundles = list(bundle_checks(settings))
    table = Table("Check", "", "Detail", box=None, pad_edge=False, header_style="bold")
    styles = {Verdict.GOOD: "green", Verdict.NOTE: "yellow", Verdict.BAD: "bold red"}
    for check in (*bundles, *machine):
        verdict = f"[{styles[check.verdict]}]{check.verdict}[/]"
        table.add_row(check.name, verdict, check.detail)
    Console().print(table)
    if any(check.verdict is Verdict.BAD for check in bundles):
        raise typer.Exit(EXIT_BUNDLE)
    if any(check.verdict is Verdict.BAD for check in machine):
        raise typer.Exit(EXIT_FAILURE)
