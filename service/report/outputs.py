"""Write what was asked for into a folder, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from models.durable import place, settle
from models.errors import AcuityError
from service.report.drawing import StudyViews, views_of
from service.report.findings_file import FINDINGS, to_npz
from service.report.html import to_html
from service.report.json_writer import to_json
from service.report.key_image_places import FILE_NAME, KeyImagePlace, KeyImagePlaces
from service.report.key_images import key_images
from service.report.nifti import edema_nifti, vertebrae_nifti
from service.report.result import StudyResult
from service.report.written import Written

if TYPE_CHECKING:
    from service.report.dicom.objects import DicomObjects


class Format(StrEnum):
    """What can be written, by the name it has on the command line."""

    JSON = "json"
    HTML = "html"
    PNG = "png"
    NII = "nii"
    SR = "sr"
    SEG = "seg"
    SC = "sc"
    FHIR = "fhir"


class UnsupportedFormatError(AcuityError):
    """A format that this version does not write."""

    code = "unsupported_format"
    exit_code: ClassVar[int] = 2

    def __init__(self, unknown: Collection[str]) -> None:
        asked = ", ".join(sorted(unknown))
        super().__init__(f"cannot write {asked}; supported formats: {', '.join(Format)}")


def parse_formats(text: str) -> frozenset[Format]:
    """Read a comma-separated list of formats.

    Raises:
        UnsupportedFormatError: One of them is not supported, or none was named.
    """
    names = {name.strip().lower() for name in text.split(",") if name.strip()}
    unknown = names - set(Format)
    if unknown or not names:
        raise UnsupportedFormatError(unknown or {"nothing"})
    return frozenset(map(Format, names))


@dataclass(frozen=True, slots=True)
class _Writing:
    """What every renderer is given."""

    result: StudyResult
    views: StudyViews | None
    formats: frozenset[Format]
    written: Written
    objects: DicomObjects | None


def write_outputs(
    result: StudyResult,
    directory: Path,
    formats: Collection[Format] = tuple(Format),
    written: Written | None = None,
    *,
    reviewable: bool = False,
) -> list[Path]:
    """Write a study's outputs, replacing those of an earlier run.

    Args:
        result: What to write.
        directory: Made when missing.
        formats: What to write. Pictures, volumes and DICOM objects are left out where there is
            nothing to show or no image to refer to.
        written: When, and after what; None for a first report that is written now.
        reviewable: Whether to keep beside them what they were written from, so that they can be
            written again with a reader's word.

    Returns:
        The files written, in a fixed order.

    Raises:
        OSError: The folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    asked = frozenset(formats)
    _remove_stale(directory, asked)
    views = views_of(result) if _PICTURES & asked else None
    when = written or Written.now()
    writing = _Writing(result, views, asked, when, _objects_of(result, when, asked))
    renderers = [render for made, render in _RENDERERS if made & asked]
    if reviewable:
        renderers.append(_findings)
    # Packing, resizing and flushing to disk do not hold the interpreter: formats made side by
    # side take half as long.
    with ThreadPoolExecutor(max_workers=len(_RENDERERS) + 1) as pool:
        jobs = [pool.submit(_write, render(writing), directory) for render in renderers]
    paths = [path for job in jobs for path in job.result()]
    settle(paths)
    return paths


def _objects_of(
    result: StudyResult, written: Written, formats: frozenset[Format]
) -> DicomObjects | None:
    """What makes the DICOM objects; None where none is asked for or no image can be named."""
    if not _OBJECTS & formats or not result.ingested.headers:
        return None
    # highdicom costs most of a second to import, which no other output needs.
    from service.report.dicom.objects import DicomObjects  # noqa: PLC0415

    return DicomObjects(result, written)


def _remove_stale(directory: Path, formats: frozenset[Format]) -> None:
    """A second run may find fewer levels; a picture of the first must not outlive it."""
    stale = []
    if Format.PNG in formats:
        stale += [*directory.glob("key-*.png"), directory / FILE_NAME]
    if Format.SC in formats:
        stale += [*directory.glob("sc-*.dcm"), directory / "kos.dcm"]
    for path in stale:
        path.unlink(missing_ok=True)


Files = Iterator[tuple[str, bytes]]


def _write(files: Files, directory: Path) -> list[Path]:
    written = []
    for name, data in files:
        place(directory / name, data)
        written.append(directory / name)
    return written


def _json(writing: _Writing) -> Files:
    yield "report.json", to_json(writing.result.report)


def _html(writing: _Writing) -> Files:
    yield "report.html", to_html(writing.result, writing.views).encode()


def _key_images(writing: _Writing) -> Files:
    images = []
    for image in key_images(writing.result, writing.views):
        images.append(image)
        if Format.PNG in writing.formats:
            yield f"key-{image.number}.png", image.png
    if Format.PNG in writing.formats and images:
        places = KeyImagePlaces(
            images=tuple(
                KeyImagePlace(
                    number=image.number,
                    caption=image.caption,
                    label_value=image.label_value,
                    panels=image.panels,
                )
                for image in images
            )
        )
        yield FILE_NAME, places.model_dump_json(indent=1).encode()
    if Format.SC in writing.formats and writing.objects is not None:
        from service.report.dicom.objects import to_bytes  # noqa: PLC0415

        for name, dataset in writing.objects.pictures(images):
            yield name, to_bytes(dataset)


def _nii(writing: _Writing) -> Files:
    localisation, scores = writing.result.localisation, writing.result.scores
    if localisation is None:
        return
    yield "vertebrae.nii.gz", vertebrae_nifti(localisation)
    edema = edema_nifti(scores, localisation) if scores else None
    if edema is not None:
        yield "edema.nii.gz", edema


def _dicom(writing: _Writing) -> Files:
    objects = writing.objects
    if objects is None:
        return
    from service.report.dicom.objects import to_bytes  # noqa: PLC0415

    if Format.SEG in writing.formats and (segments := objects.segments()) is not None:
        yield "seg.dcm", to_bytes(segments)
    if Format.SR in writing.formats:
        # A report refers to segments only where they are written beside it.
        yield "sr.dcm", to_bytes(objects.report(segmented=Format.SEG in writing.formats))


def _fhir(writing: _Writing) -> Files:
    from service.report.dicom.identity import content_key  # noqa: PLC0415
    from service.report.dicom.sources import study_of  # noqa: PLC0415
    from service.report.dicom.tracking import tracked  # noqa: PLC0415
    from service.report.fhir import to_fhir  # noqa: PLC0415

    result, headers = writing.result, writing.result.ingested.headers
    key = content_key(result.report, headers)
    yield (
        "fhir.json",
        to_fhir(
            result.report,
            tuple(tracked(result, key).values()),
            study_of(result),
            key,
            writing.written,
            segmented=bool(headers) and Format.SEG in writing.formats,
        ),
    )


def _findings(writing: _Writing) -> Files:
    localisation, scores = writing.result.localisation, writing.result.scores
    if localisation is not None and scores is not None:
        yield FINDINGS, to_npz(localisation, scores)


_RENDERERS: Final[tuple[tuple[frozenset[Format], Callable[[_Writing], Files]], ...]] = (
    (frozenset({Format.JSON}), _json),
    (frozenset({Format.HTML}), _html),
    (frozenset({Format.PNG, Format.SC}), _key_images),
    (frozenset({Format.NII}), _nii),
    (frozenset({Format.SR, Format.SEG}), _dicom),
    (frozenset({Format.FHIR}), _fhir),
)
"""What each makes, in the order in which files are listed; each works when it is asked for."""

_OBJECTS: Final = frozenset({Format.SC, Format.SR, Format.SEG})
"""What refers to the images of a study."""

_PICTURES: Final = frozenset({Format.HTML, Format.PNG, Format.SC})
"""What shares the pictures of a study."""
