"""`acuity mercure`: one task of the mercure DICOM orchestrator, from folder to folder.

mercure starts a container with MERCURE_IN_DIR and MERCURE_OUT_DIR. The first holds the images as
`<series UID>#<anything>.dcm`, each with a `.tags` file, and `task.json`; what is in the second
when the container ends is sent on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from service.report.document import StudyReport

TASK: Final = "task.json"
RESULT: Final = "result.json"
FORMATS: Final = "sr,seg,sc"


def mercure(
    given: Annotated[
        Path, typer.Option("--in", envvar="MERCURE_IN_DIR", exists=True, file_okay=False)
    ],
    made: Annotated[
        Path, typer.Option("--out", envvar="MERCURE_OUT_DIR", exists=True, file_okay=False)
    ],
) -> None:
    """Read the study that mercure hands over and leave SR, SEG and pictures for it to send on.

    The module's settings may hold `formats`, of sr, seg and sc. A study that cannot be used leaves
    no object; the notification says why.
    """
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from models.durable import write_durably  # noqa: PLC0415
    from service import logs  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415
    from service.pipeline import Clock, open_stages, report_on  # noqa: PLC0415
    from service.report.outputs import parse_formats, write_outputs  # noqa: PLC0415

    formats = parse_formats(str(_settings_of(given / TASK).get("formats", FORMATS)))
    settings = load_settings()
    logs.configure(settings)
    result = report_on(given, open_stages(settings), Clock())
    with TemporaryDirectory(prefix="acuity-") as folder:
        for path in write_outputs(result, Path(folder), formats):
            if path.suffix == ".dcm":
                write_durably(made / _name_of(path), path.read_bytes())
    write_durably(made / RESULT, _result_of(result.report))


def _settings_of(task: Path) -> dict[str, Any]:
    """Settings of the module, as mercure hands them over; none when it is started by hand."""
    try:
        document = json.loads(task.read_bytes())
        process = document["process"]
        settings = (process[0] if isinstance(process, list) else process)["settings"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _name_of(path: Path) -> str:
    """Name of a file as mercure has it, by series and instance."""
    from pydicom import dcmread  # noqa: PLC0415

    written = dcmread(path, specific_tags=["SeriesInstanceUID", "SOPInstanceUID"])
    return f"{written.SeriesInstanceUID}#{written.SOPInstanceUID}.dcm"


def _result_of(report: StudyReport) -> bytes:
    from service.report.headline import headline  # noqa: PLC0415

    document = {
        "study_instance_uid": report.study.study_instance_uid,
        "software": report.provenance.software,
        "levels": [level.model_dump(mode="json", include=_TOLD) for level in report.levels],
        "abstentions": [one.model_dump(mode="json") for one in report.abstentions],
        "__mercure_notification": {
            "text": " ".join(sentence for _tone, sentence in headline(report))
        },
    }
    return f"{json.dumps(document, indent=1)}\n".encode()


_TOLD: Final = {"level", "label_value", "edema", "fracture", "acuity", "etiology"}
