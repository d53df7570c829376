"""Every attribute that the Basic Profile lists (PS3.15, table E.1-1), at the top and in an item."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from service.deidentify.identities import Identities
from service.deidentify.profile import EDITION, Profile
from service.ingest.headers import quiet_pydicom
from tests.unit.deidentify.planted import MARK, item

PROFILE = Profile(Identities(b"key of this test"))
NUMBER: Final = 31337
DATES: Final = ("19991231", "235959")
OLD_UID: Final = "1.2.826.999.31337"

SECRETS: Final = (MARK, OLD_UID, str(NUMBER), *DATES, "099Y")

_NOT_TEXT: Final[dict[str, Any]] = {
    "AS": "099Y",
    "DA": DATES[0],
    "DT": "".join(DATES),
    "TM": DATES[1],
    "DS": str(NUMBER),
    "IS": str(NUMBER),
    "US": NUMBER,
    "UI": OLD_UID,
    "OB": f"{MARK}!".encode(),
    "UN": f"{MARK}!".encode(),
}


def listed() -> Iterator[tuple[str, BaseTag]]:
    """Category and tag of each attribute of the table that the dictionary knows."""
    table = dicom_anonymization_database_selector(EDITION)
    for category, tags in table.items():
        for pair in tags:
            if category != "ALL_TAGS" and len(pair) == 2 and dictionary_has_tag(Tag(pair)):
                yield category, Tag(pair)


LISTED: Final = tuple(listed())


def value_of(vr: str) -> Any:  # noqa: ANN401  of any representation
    """A value that says whose a study is."""
    if vr == "SQ":
        return Sequence([item(PatientName=f"{MARK}^In", ReferencedSOPInstanceUID=OLD_UID)])
    return _NOT_TEXT.get(vr, MARK)


def planted(tags: list[BaseTag]) -> Dataset:
    """A dataset with all attributes in it, and all of them again in an item two levels below."""

    def full() -> Dataset:
        dataset = Dataset()
        for tag in tags:
            dataset.add_new(tag, dictionary_VR(tag), value_of(dictionary_VR(tag)))
        return dataset

    dataset, inner = full(), item(Manufacturer="Maker")
    inner.PurposeOfReferenceCodeSequence = Sequence([full()])
    dataset.ContributingEquipmentSequence = Sequence([inner])
    return dataset


def applied(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """The dataset after the profile, and the item two levels below."""
    with quiet_pydicom():
        PROFILE.apply(dataset)
    return dataset, dataset.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0]


def test_the_table_is_there() -> None:
    assert len(LISTED) > 600
    categories = {category for category, _ in LISTED}
    assert {"X_TAGS", "Z_TAGS", "D_TAGS", "U_TAGS", "X_Z_U_STAR_TAGS"} <= categories


@pytest.mark.parametrize(("category", "tag"), LISTED, ids=[keyword_for_tag(t) for _, t in LISTED])
def test_what_the_table_lists_says_nothing_any_more(category: str, tag: BaseTag) -> None:
    for place in applied(planted([tag])):
        if category == "X_TAGS":
            assert tag not in place
        elif category == "U_TAGS":
            assert place[tag].value == PROFILE.identities.uid(OLD_UID)
        elif tag in place:
            assert says_nothing(place[tag].value), place[tag]


def says_nothing(value: Any) -> bool:  # noqa: ANN401  of any representation
    """Whether a value is empty, a stand-in, or a UID under the new root."""
    if isinstance(value, Sequence):
        return all(says_nothing(element.value) for each in value for element in each)
    return not any(secret in str(value) for secret in (MARK, OLD_UID, str(NUMBER), *DATES, "099Y"))


def test_no_byte_of_all_of_them_together_is_left() -> None:
    # Groups 0 and 2 are of messages and file headers: a file's dataset has none.
    dataset, _ = applied(planted([tag for _, tag in LISTED if tag.group > 2]))
    file = BytesIO()
    with quiet_pydicom():
        FileDataset(file, dataset).save_as(file, implicit_vr=False, little_endian=True)
    written = file.getvalue()
    for secret in SECRETS:
        assert secret.encode() not in written, secret
    assert PROFILE.identities.uid(OLD_UID).encode() in written


def test_what_says_how_pixels_are_to_be_seen_stays() -> None:
    kept = {
        "BurnedInAnnotation": "NO",
        "RecognizableVisualFeatures": "NO",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": 96,
        "Columns": 80,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SmallestImagePixelValue": 3,
        "LargestImagePixelValue": 4000,
        "PixelPaddingValue": 0,
        "RescaleSlope": "1.5",
        "RescaleIntercept": "-4",
        "WindowCenter": "600",
        "WindowWidth": "1200",
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "9.5",
        "LossyImageCompressionMethod": "ISO_10918_1",
        "ImageType": ["DERIVED", "PRIMARY", "M", "NONE"],
    }
    dataset, expected = item(**kept), item(**kept)
    with quiet_pydicom():
        PROFILE.apply(dataset)
    for keyword in kept:
        assert dataset[keyword] == expected[keyword]
