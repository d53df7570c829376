"""Secondary Captures of pictures of any size: what is coded is what was painted."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from service.report.dicom.captures import captures
from service.report.dicom.objects import to_bytes
from service.report.key_images import KeyImage
from service.report.written import Written


def picture(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (rows, columns, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(("rows", "columns"), [(20, 30), (21, 30), (20, 31), (21, 31), (1, 1)])
def test_every_size_is_written_and_read_back(rows: int, columns: int) -> None:
    """An odd number of bytes once ended the whole process, within the coder."""
    pixels = picture(rows, columns)
    study = Dataset()
    study.StudyInstanceUID = generate_uid()
    written = next(
        captures(
            [KeyImage(1, "overview", png(pixels), None, ())],
            study,
            "0" * 64,
            Written(datetime(2026, 1, 1, tzinfo=UTC)),
        )
    )
    read = dcmread(BytesIO(to_bytes(written))).pixel_array
    assert np.array_equal(read[:rows], pixels)
    assert read.shape == (rows + rows * columns % 2, columns, 3)
    assert np.array_equal(read[-1], pixels[-1])
