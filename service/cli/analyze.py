"""`acuity analyze`: one study, here and now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

EXIT_NOT_USABLE: Final = 3


def analyze(
    study: Annotated[
        Path,
        typer.Argument(exists=True, metavar="STUDY", help="A folder, zip, DICOMDIR or DICOM file."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the outputs into DIR.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--formats", metavar="LIST", help="What --out receives.")
    ] = "json,html,png,nii",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report, and nothing else, on standard output.")
    ] = False,
) -> None:
    """Read one study and report every vertebral level.

    Exit code 3 when no sagittal spine MR series is usable; the report then says why.
    """
    from service import logs  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415
    from service.pipeline import Clock, open_stages, report_on  # noqa: PLC0415
    from service.report.json_writer import to_json  # noqa: PLC0415
    from service.report.outputs import parse_formats, write_outputs  # noqa: PLC0415
    from service.report.terminal import print_report, report_console  # noqa: PLC0415

    wanted = parse_formats(formats)
    settings = load_settings()
    logs.configure(settings)
    output = logs.claim_standard_output()
    result = report_on(study, open_stages(settings), Clock())
    written = write_outputs(result, out, wanted) if out is not None else []
    if as_json:
        output.write(to_json(result.report).decode())
    else:
        print_report(result.report, report_console(output))
        for path in written:
            output.write(f"{path}\n")
    output.flush()
    if not result.usable:
        raise typer.Exit(EXIT_NOT_USABLE)
