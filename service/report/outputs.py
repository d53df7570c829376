"""Write what was asked for into a folder, each file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final
from uuid import uuid4

from models.errors import AcuityError
from service.report.drawing import StudyViews, views_of
from service.report.html import to_html
from service.report.json_writer import to_json
from service.report.key_image_places import FILE_NAME, KeyImagePlace, KeyImagePlaces
from service.report.key_images import key_images
from service.report.nifti import edema_nifti, vertebrae_nifti
from service.report.result import StudyResult


class Format(StrEnum):
    """What can be written, by the name it has on the command line."""

    JSON = "json"
    HTML = "html"
    PNG = "png"
    NII = "nii"


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


def write_outputs(
    result: StudyResult, directory: Path, formats: Collection[Format] = tuple(Format)
) -> list[Path]:
    """Write a study's outputs, replacing those of an earlier run.

    Args:
        result: What to write.
        directory: Made when missing.
        formats: What to write. Pictures and volumes are left out where there is nothing to show.

    Returns:
        The files written, in a fixed order.

    Raises:
        OSError: The folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if Format.PNG in formats:
        # A second run may find fewer levels; a key image of the first must not outlive it.
        for stale in (*directory.glob("key-*.png"), directory / FILE_NAME):
            stale.unlink(missing_ok=True)
    views = views_of(result) if _PICTURES & set(formats) else None
    # Packing, resizing and flushing to disk do not hold the interpreter: formats made side by
    # side take half as long.
    with ThreadPoolExecutor(max_workers=len(_RENDERERS)) as pool:
        jobs = [
            pool.submit(_write, render(result, views), directory)
            for name, render in _RENDERERS.items()
            if name in formats
        ]
    return [path for job in jobs for path in job.result()]


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, flush to disk, rename over it; leave nothing on failure."""
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


Files = Iterator[tuple[str, bytes]]


def _write(files: Files, directory: Path) -> list[Path]:
    written = []
    for name, data in files:
        write_atomically(directory / name, data)
        written.append(directory / name)
    return written


def _json(result: StudyResult, _views: StudyViews | None) -> Files:
    yield "report.json", to_json(result.report)


def _html(result: StudyResult, views: StudyViews | None) -> Files:
    yield "report.html", to_html(result, views).encode()


def _png(result: StudyResult, views: StudyViews | None) -> Files:
    places = []
    for image in key_images(result, views):
        yield f"key-{image.number}.png", image.png
        places.append(
            KeyImagePlace(
                number=image.number,
                caption=image.caption,
                label_value=image.label_value,
                panels=image.panels,
            )
        )
    if places:
        document = KeyImagePlaces(images=tuple(places))
        yield FILE_NAME, document.model_dump_json(indent=1).encode()


def _nii(result: StudyResult, _views: StudyViews | None) -> Files:
    if result.localisation is None:
        return
    yield "vertebrae.nii.gz", vertebrae_nifti(result.localisation)
    edema = edema_nifti(result.scores, result.localisation) if result.scores else None
    if edema is not None:
        yield "edema.nii.gz", edema


_RENDERERS: Final[dict[Format, Callable[[StudyResult, StudyViews | None], Files]]] = {
    Format.JSON: _json,
    Format.HTML: _html,
    Format.PNG: _png,
    Format.NII: _nii,
}
"""In the order in which files are listed; each makes its files when they are asked for."""

_PICTURES: Final = frozenset({Format.HTML, Format.PNG})
"""What shares the pictures of a study."""
