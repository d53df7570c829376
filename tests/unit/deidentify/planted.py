"""An image with identity planted wherever a header can hold some."""

from __future__ import annotations

from typing import Final

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from tests.builders import Grid, classic_stack, ramp

MARK: Final = "PLANTED"
"""Part of every planted value."""


def item(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def plant(image: FileDataset) -> FileDataset:
    """Fill an image with names, numbers, dates and UIDs that say whose it is."""
    _plant_at_the_top(image)
    _plant_below(image)
    _plant_where_nobody_looks(image)
    return image


def _plant_at_the_top(image: FileDataset) -> None:
    image.preamble = b"PLANTED-preamble".ljust(128, b"\0")
    image.file_meta.SourceApplicationEntityTitle = "PLANTED-SENDER"
    image.PatientName = "Planted^PLANTED-Name"
    image.PatientID = "PLANTED-ID"
    image.PatientBirthDate = "19440612"
    image.PatientAddress = "PLANTED-street"
    image.OtherPatientIDsSequence = Sequence([item(PatientID="PLANTED-other", TypeOfPatientID="T")])
    image.OtherPatientNames = "PLANTED^Other"
    image.AccessionNumber = "PLANTED-ACC"
    image.StudyID = "PLANTED-STUDY"
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = "19991231"
    image.StudyTime = "235959.123"
    image.AcquisitionDateTime = "19991231235959"
    image.StudyDescription = "PLANTED study description"
    image.SeriesDescription = "PLANTED series description"
    image.ProtocolName = "PLANTED protocol"
    image.ImageComments = "PLANTED comment"
    image.InstitutionName = "PLANTED hospital"
    image.InstitutionAddress = "PLANTED road"
    image.StationName = "PLANTED-ST"
    image.DeviceSerialNumber = "PLANTED-SER"
    image.ReferringPhysicianName = "PLANTED^Referrer"
    image.PerformingPhysicianName = "PLANTED^Performer"
    image.OperatorsName = "PLANTED^Operator"
    image.RequestingPhysician = "PLANTED^Requester"
    image.PatientComments = "PLANTED patient comment"


def _plant_below(image: FileDataset) -> None:
    image.RequestAttributesSequence = Sequence(
        [
            item(
                RequestedProcedureDescription="PLANTED procedure",
                ScheduledProcedureStepID="PLANTED-STEP",
            )
        ]
    )
    # Below sequences that stay, two levels deep: what a treatment of the top level alone leaves.
    image.ContributingEquipmentSequence = Sequence(
        [
            item(
                Manufacturer="Maker",
                InstitutionName="PLANTED nested hospital",
                OperatorsName="PLANTED^Nested",
                PurposeOfReferenceCodeSequence=Sequence(
                    [
                        item(
                            CodeValue="109101",
                            CodingSchemeDesignator="DCM",
                            CodeMeaning="Acquisition Equipment",
                            PatientName="PLANTED^Deep",
                            ImageComments="PLANTED deep comment",
                        )
                    ]
                ),
            )
        ]
    )
    image.ReferencedImageSequence = Sequence(
        [
            item(
                ReferencedSOPClassUID=image.SOPClassUID,
                ReferencedSOPInstanceUID=image.SOPInstanceUID,
                PatientName="PLANTED^InReference",
            )
        ]
    )


def _plant_where_nobody_looks(image: FileDataset) -> None:
    block = image.private_block(0x0029, "PLANTED VENDOR", create=True)
    block.add_new(0x10, "LO", "PLANTED private")
    block.add_new(0x11, "OB", b"PLANTED private bytes ")
    inner = image.ContributingEquipmentSequence[0].private_block(
        0x0031, "PLANTED INNER", create=True
    )
    inner.add_new(0x01, "UN", b"PLANTED nested private")
    image.add_new(0x60000010, "US", 8)
    image.add_new(0x60003000, "OW", b"PLANTED overlay!")
    image.ClinicalTrialSponsorName = "PLANTED sponsor"
    image.add_new(0x00189ABC, "LO", "PLANTED in no dictionary")
    image.add_new(0xFFFCFFFC, "OB", b"PLANTED padding ")
    image.PixelData = image.PixelData + b"PLANTED behind the pixels "


def planted_stack() -> list[FileDataset]:
    """A usable stack of which every image says whose it is."""
    pixels = ramp(6, 96, 80).astype(np.uint16)
    return [plant(image) for image in classic_stack(pixels, Grid(), study="planted")]


def all_uids(image: FileDataset) -> set[str]:
    """Every UID of a dataset that is not the standard's."""
    values = {str(element.value) for element in image.iterall() if element.VR == "UI"}
    return {value for value in values if not value.startswith("1.2.840.10008.")}
