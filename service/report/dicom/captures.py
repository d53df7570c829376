"""Key images as Secondary Captures, and the Key Object Selection that points at them.

Every viewer shows a Secondary Capture; many show nothing of an SR that refers to a SEG.
Source: PS3.3 A.8 (SC), A.35.4 (KO), PS3.16 TID 2010.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from service.report import codes
from service.report.dicom.identity import (
    BODY_PART,
    MANUFACTURER,
    ObjectIds,
    complete,
)
from service.report.key_images import KeyImage
from service.report.written import Written


def captures(
    images: Sequence[KeyImage], study: Dataset, key: str, written_as: Written
) -> Iterator[Dataset]:
    """Write each key image as an RGB Secondary Capture, run-length coded.

    Args:
        images: Pictures with their marks burned in; they carry no identity of the patient.
        study: Of `study_attributes`.
        key: Of `content_key`.
        written_as: When they are made.
    """
    for image in images:
        with Image.open(BytesIO(image.png)) as opened:
            pixels = _even(np.asarray(opened.convert("RGB")))
        ids = ObjectIds.of(key, "sc", image.number)
        written: Dataset = hd.sc.SCImage(
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            # Rows run to the back and columns to the feet on every slice of a sheet.
            patient_orientation=("P", "F"),
            study_instance_uid=study.StudyInstanceUID,
            series_instance_uid=ids.series_uid,
            series_number=ids.series_number,
            sop_instance_uid=ids.instance_uid,
            instance_number=ids.instance_number,
            manufacturer=MANUFACTURER,
            transfer_syntax_uid=RLELossless,
        )
        written.BodyPartExamined = BODY_PART
        complete(written, study, written_as, "key images")
        written.Modality = "OT"
        written.ConversionType = "WSD"
        # The marks on it tell nothing of who the patient is.
        written.BurnedInAnnotation = "NO"
        written.ImageComments = image.caption
        yield written


def _even(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (rows, columns, 3) whose last row is repeated where both counts are odd.

    A frame of an odd number of bytes is padded to an even one before it is coded, and GDCM's coder
    of runs ends the whole process (abort, no exception) when the bytes are no multiple of three.
    """
    return np.pad(pixels, ((0, pixels.size % 2), (0, 0), (0, 0)), mode="edge")


def key_objects(
    pictures: Sequence[Dataset], study: Dataset, key: str, written_as: Written
) -> Dataset:
    """Write the Key Object Selection ("Of Interest") over the captures.

    Args:
        pictures: Of `captures`, at least one.
        study: Of `study_attributes`.
        key: Of `content_key`.
        written_as: When it is made.
    """
    ids = ObjectIds.of(key, "kos")
    written: Dataset = hd.ko.KeyObjectSelectionDocument(
        evidence=list(pictures),
        content=hd.ko.KeyObjectSelection(
            document_title=codes.OF_INTEREST,
            referenced_objects=list(pictures),
            description="Mid-sagittal overview and levels with findings",
        ),
        series_instance_uid=ids.series_uid,
        series_number=ids.series_number,
        sop_instance_uid=ids.instance_uid,
        instance_number=ids.instance_number,
        manufacturer=MANUFACTURER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    complete(written, study, written_as, "key objects")
    return written
