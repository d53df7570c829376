"""Small real studies, as many as are wanted, with UIDs of their own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread

from tests.integration.jobs.installation import Study

SAMPLES = Path(__file__).resolve().parents[3] / "data_samples"


def variants(count: int) -> Iterator[Study]:
    """Small studies with UIDs of their own: the fluid-sensitive series of a sample."""
    folders = sorted(path for path in SAMPLES.iterdir() if (path / "dicom").is_dir())
    for number in range(count):
        folder = folders[number % len(folders)]
        yield dict(_variant(folder, number))


def _variant(folder: Path, number: int) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*.dcm")):
        dataset = dcmread(path)
        if "InversionTime" not in dataset and "WATER" not in dataset.ImageType:
            continue
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, f"{dataset[keyword].value}.{number + 1}")
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        # Series may call their files alike.
        yield "-".join(path.relative_to(folder).parts), buffer.getvalue()
