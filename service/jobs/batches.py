"""How the studies of a batch are written, noted beside the jobs for whichever worker reads them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.durable import write_durably
from service.report.outputs import Format


class BatchOptions(BaseModel):
    """What is written of every study of a batch.

    Attributes:
        formats: Of `service.report.outputs`.
        deidentify_key: Secret, in hex, that new UIDs and pseudonyms are derived with; None to
            write studies with their identity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    formats: tuple[Format, ...]
    deidentify_key: str | None = None


def options_path(work_dir: Path, batch: str) -> Path:
    """Where the options of a batch lie: `<work dir>/batches/<batch>.json`."""
    return work_dir / "batches" / f"{batch}.json"


def write_options(path: Path, options: BatchOptions) -> None:
    """Note the options of a batch; whoever holds its key can find out who was de-identified."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(path, options.model_dump_json().encode())


def read_options(path: Path) -> BatchOptions:
    """Read the options of a batch.

    Raises:
        OSError: They are gone.
        pydantic.ValidationError: A newer version wrote them.
    """
    return BatchOptions.model_validate_json(path.read_bytes())
