"""`acuity plan`: a planning document from a report and what is known of the patient."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from models.errors import AcuityError


class ReportInvalidError(AcuityError):
    """A file that is no report of ours, or of a schema that this version does not read."""

    code = "report_invalid"
    exit_code: ClassVar[int] = 2


def plan(
    report: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, metavar="REPORT.json", help="A report.")
    ],
    clinical: Annotated[
        Path,
        typer.Option(
            "--clinical",
            exists=True,
            dir_okay=False,
            metavar="CLINICAL.json",
            help="Clinical input, or a FHIR Bundle.",
        ),
    ],
    profile: Annotated[
        str, typer.Option("--profile", metavar="NAME", help="Guideline profile.")
    ] = "overview",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write plan.json, plan.html and plan-fhir.json."),
    ] = None,
    sign: Annotated[
        str | None, typer.Option("--sign", metavar="NAME", help="Sign as this clinician.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the document, and nothing else.")
    ] = False,
) -> None:
    """Write a planning document: what speaks for and against, and what is missing.

    It supports a discussion and decides nothing. Key images beside the report are used. Exit code
    2 for clinical input or profiles that are not as described; each field is named.
    """
    from models.durable import write_durably  # noqa: PLC0415
    from service import logs  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415
    from service.planning.intake import read_intake  # noqa: PLC0415
    from service.planning.plan import plan as write_plan  # noqa: PLC0415
    from service.planning.profiles import choose_profile, load_profiles  # noqa: PLC0415
    from service.planning.rendering.fhir import to_fhir  # noqa: PLC0415
    from service.planning.rendering.html import to_html  # noqa: PLC0415
    from service.planning.rendering.picture import key_images_in  # noqa: PLC0415
    from service.planning.rendering.terminal import print_plan  # noqa: PLC0415
    from service.planning.signing import sign as signed_by  # noqa: PLC0415
    from service.planning.signing import to_json  # noqa: PLC0415
    from service.report.document import StudyReport  # noqa: PLC0415
    from service.report.terminal import report_console  # noqa: PLC0415

    settings = load_settings()
    logs.configure(settings)
    output = logs.claim_standard_output()
    chosen = choose_profile(load_profiles(settings.planning_profiles), profile)
    try:
        read = StudyReport.model_validate_json(report.read_bytes())
    except ValueError:
        raise ReportInvalidError("the file is no report of a schema that is read here") from None
    now = datetime.now(UTC)
    given, unread = read_intake(clinical.read_bytes(), on=now.date())
    document = write_plan(read, given, chosen, now=now, unread=unread)
    if sign is not None:
        document = signed_by(document, sign, now=now)
    written = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        images = key_images_in(report.parent)
        for name, data in (
            ("plan.json", to_json(document)),
            ("plan.html", to_html(document, images).encode()),
            ("plan-fhir.json", to_fhir(document)),
        ):
            write_durably(out / name, data)
            written.append(out / name)
    if as_json:
        output.write(to_json(document).decode())
    else:
        print_plan(document, report_console(output))
        for path in written:
            output.write(f"{path}\n")
    output.flush()
