"""`acuity audit`: the trail of who did what, read and checked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from models.errors import AcuityError


class TrailError(AcuityError):
    """There is no trail, or it was tampered with."""

    code = "audit_trail"


class NoTrailError(TrailError):
    """Nothing to read."""

    exit_code: ClassVar[int] = 2


def audit(
    work_dir: Annotated[
        Path | None, typer.Option(help="The service's work folder; ACUITY_WORK_DIR.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Study Instance UID: only what was done with this study.")
    ] = None,
) -> None:
    """Print the audit trail as lines of JSON; exit code 1 when something of it is not as it was.

    The trail names studies by keyed pseudonyms; --study finds those of one study.
    """
    from service.audit import FOLDER, faults_of, kept_key, read_trail, trail_key  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415
    from service.logs import Pseudonyms  # noqa: PLC0415

    settings = load_settings(work_dir=work_dir)
    if settings.work_dir is None or not (settings.work_dir / FOLDER).is_dir():
        raise NoTrailError("set --work-dir to the work folder of a service that has run")
    folder = settings.work_dir / FOLDER
    key = trail_key(settings) or kept_key(folder)
    wanted = None if study is None else Pseudonyms(key).of(study)
    for _, record in read_trail(folder):
        if record is not None and (wanted is None or wanted in _objects(record)):
            sys.stdout.write(f"{json.dumps(record, sort_keys=True)}\n")
    faults = list(faults_of(folder, key))
    if faults:
        raise TrailError("; ".join(faults))


def _objects(record: dict[str, object]) -> set[str]:
    objects = record.get("participant_objects")
    return {str(one["id"]) for one in objects} if isinstance(objects, list) else set()
