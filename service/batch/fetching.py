"""A job's files as the study's own folder among the results, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final
from uuid import uuid4

from service.batch.sources import link_or_copy
from service.deidentify.images import IMAGE_PREFIX

IMAGES: Final = "dicom"
"""Where de-identified images lie in a study's folder."""


def fetch(results: Path, target: Path, scratch: Path) -> None:
    """Bring a job's results to their place; done again, it leaves the same.

    Args:
        results: Folder of a job.
        target: Folder of the study; replaced.
        scratch: Existing folder on the file system of `target`.

    Raises:
        OSError: The results are gone, or the disk is full.
    """
    part = scratch / f"{uuid4().hex}.part"
    part.mkdir()
    try:
        for path in sorted(results.iterdir()):
            link_or_copy(path, _place(path.name, part))
        discard(target, scratch)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def discard(target: Path, scratch: Path) -> None:
    """Remove a study's folder at once, however many files it has; one that is gone is fine."""
    old = scratch / f"{uuid4().hex}.old"
    try:
        target.rename(old)
    except FileNotFoundError:
        return
    shutil.rmtree(old, ignore_errors=True)


def _place(name: str, folder: Path) -> Path:
    if not name.startswith(IMAGE_PREFIX):
        return folder / name
    images = folder / IMAGES
    images.mkdir(exist_ok=True)
    return images / name.removeprefix(IMAGE_PREFIX)
