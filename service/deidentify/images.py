"""The images of a study as files without identity, under the UIDs that its results refer to.

Only what the inventory takes as an MR image is passed on: no reports, no screen captures, nothing
with annotations burned into its pixels. Compressed pixels are passed on as they are.
"""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Final

from pydicom import dcmread, dcmwrite
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID

from models.durable import write_durably
from service.deidentify.profile import Profile
from service.ingest.headers import NATIVE_SYNTAXES, PARSING_ERRORS, quiet_pydicom
from service.ingest.inventory import take_inventory
from service.ingest.records import InstanceRecord
from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits
from service.ingest.study import main_study

IMAGE_PREFIX: Final = "image-"


def write_images(
    source: Path, folder: Path, profile: Profile, limits: Limits, workspace: Path
) -> tuple[int, Counter[str]]:
    """Write the images of the study that a report is about.

    Args:
        source: What the report was made from.
        folder: Receives `image-0001.dcm`, …, ordered by series and instance number.
        profile: What is done to each.
        limits: Those of the reading.
        workspace: Existing folder for what has to be unpacked.

    Returns:
        How many were written, and how many were left out by code.

    Raises:
        OSError: The folder cannot be written.
    """
    _, records = main_study(take_inventory(source, limits, workspace).records)
    written, left_out = 0, Counter[str]()
    for record in sorted(records, key=_order):
        try:
            data = _deidentified(record, profile)
        except RefusedError as error:
            left_out[error.refusal.code] += 1
            continue
        written += 1
        write_durably(folder / f"{IMAGE_PREFIX}{written:04d}.dcm", data)
    return written, left_out


def _order(record: InstanceRecord) -> tuple[int, str, int, str]:
    return (
        record.series_number or 0,
        record.series_instance_uid,
        record.instance_number or 0,
        record.sop_instance_uid,
    )


def _deidentified(record: InstanceRecord, profile: Profile) -> bytes:
    """Part 10 bytes of an image; nothing of the file but its dataset is taken over.

    Raises:
        RefusedError: `burned_in_annotation`, or `malformed` for what cannot be written again.
    """
    try:
        with quiet_pydicom():
            # Its structure was walked, and its values parsed, when the inventory was taken.
            dataset = dcmread(record.path, force=True)
            if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
                raise RefusedError("burned_in_annotation", "text is burned into the pixels")
            profile.apply(dataset)
            return _part_10(dataset, record)
    except PARSING_ERRORS as error:
        raise RefusedError("malformed", "the image cannot be written again") from error


def _part_10(dataset: FileDataset, record: InstanceRecord) -> bytes:
    syntax = UID(record.transfer_syntax_uid)
    if syntax in NATIVE_SYNTAXES:
        # Whatever a writer left behind the last pixel is not a pixel.
        size = record.rows * record.columns * len(record.frames) * (record.bits_allocated // 8)
        pixels = dataset["PixelData"]
        pixels.value = bytes(pixels.value[:size]) + b"\0" * (size % 2)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    file = BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
