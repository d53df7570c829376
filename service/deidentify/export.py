"""De-identified export of one study: what is done beside reading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from models.durable import write_durably
from service.deidentify.identities import Identities
from service.deidentify.images import write_images
from service.deidentify.profile import BASIC_PROFILE, Profile
from service.deidentify.results import deidentified
from service.ingest.safety import Limits
from service.report.result import StudyResult

ACCOUNT: Final = "deidentified.json"


@dataclass(frozen=True, slots=True)
class Deidentification:
    """How the studies of a batch lose their identity.

    Attributes:
        identities: The same for all studies, so that a patient's studies stay together.
        limits: Those of the reading.
        work_dir: Where archives may be unpacked; None for the system's place.
    """

    identities: Identities
    limits: Limits
    work_dir: Path | None

    def export(self, source: Path, result: StudyResult, folder: Path) -> StudyResult:
        """Write the study's images and an account of them; return the result without identity.

        Raises:
            OSError: The folder cannot be written.
        """
        profile = Profile(self.identities)
        with TemporaryDirectory(prefix="acuity-", dir=self.work_dir) as workspace:
            written, left_out = write_images(source, folder, profile, self.limits, Path(workspace))
        account = {
            "profile": " ".join(BASIC_PROFILE),
            "images": written,
            "left_out": dict(sorted(left_out.items())),
        }
        write_durably(folder / ACCOUNT, (json.dumps(account, indent=2) + "\n").encode())
        return deidentified(result, profile)
