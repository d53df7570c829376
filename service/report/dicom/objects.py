"""All DICOM objects of one report, and the bytes they are written as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset

from service.report.dicom.captures import captures, key_objects
from service.report.dicom.identity import content_key
from service.report.dicom.segmentation import segmentation
from service.report.dicom.sources import Sources, sources_of
from service.report.dicom.structured_report import structured_report
from service.report.dicom.tracking import tracked
from service.report.key_images import KeyImage
from service.report.result import StudyResult
from service.report.written import Written


@dataclass(slots=True)
class DicomObjects:
    """Makes the objects of a report, each once, when it is asked for.

    Args:
        result: With a usable series.
        written_as: When they are made, and after what.

    Raises:
        NotWritableError: There is no image to refer to.
    """

    result: StudyResult
    written_as: Written
    _key: str = field(init=False)
    _sources: Sources = field(init=False)
    _segments: Dataset | None = field(init=False, default=None)
    _segmented: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._key = content_key(self.result.report, self.result.ingested.headers)
        self._sources = sources_of(self.result)

    def segments(self) -> Dataset | None:
        """The SEG; None where no body was found."""
        if not self._segmented:
            self._segments = segmentation(self.result, self._sources, self._key, self.written_as)
            self._segmented = True
        return self._segments

    def report(self, *, segmented: bool = True) -> Dataset:
        """The SR; with `segmented` it refers to the SEG."""
        segments = self.segments() if segmented else None
        bodies = tuple(tracked(self.result, self._key).values())
        return structured_report(
            self.result.report, bodies, self._sources, self._key, self.written_as, segments
        )

    def pictures(self, images: Sequence[KeyImage]) -> Iterator[tuple[str, Dataset]]:
        """Captures and the key object selection, each with its file name; none without images."""
        if not images:
            return
        study = self._sources.study
        written = list(captures(images, study, self._key, self.written_as))
        for image, picture in zip(images, written, strict=True):
            yield f"sc-{image.number}.dcm", picture
        yield "kos.dcm", key_objects(written, study, self._key, self.written_as)


def to_bytes(dataset: Dataset) -> bytes:
    """The object as a DICOM file with its File Meta Information (PS3.10)."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
