"""What a rejection has to know of the objects that it rejects; read where they lie."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydicom import dcmread


class RejectedObject(BaseModel):
    """An object of a report that may be rejected.

    Attributes:
        sop_class_uid, sop_instance_uid, series_instance_uid: What it is called.
        image: Whether it has pixels: it is referred to as an image then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    image: bool


def objects_in(results: Path) -> tuple[RejectedObject, ...]:
    """The DICOM objects among a report's results, in the order of their names.

    Raises:
        OSError: One cannot be read.
    """
    found = []
    for path in sorted(results.glob("*.dcm")):
        header = dcmread(path, stop_before_pixels=True)  # our own, of known size
        found.append(
            RejectedObject(
                sop_class_uid=str(header.SOPClassUID),
                sop_instance_uid=str(header.SOPInstanceUID),
                series_instance_uid=str(header.SeriesInstanceUID),
                image="Rows" in header,
            )
        )
    return tuple(found)
