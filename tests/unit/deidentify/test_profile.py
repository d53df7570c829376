"""The profile leaves nothing of what was planted, and what an image needs stays."""

from __future__ import annotations

from copy import deepcopy
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLSLossless

from service.deidentify.identities import Identities
from service.deidentify.images import write_images
from service.deidentify.profile import Profile
from service.ingest.headers import quiet_pydicom
from service.ingest.safety import Limits
from tests.builders import (
    T1,
    Grid,
    classic_stack,
    compressed,
    enhanced_instance,
    ramp,
    to_bytes,
    write_all,
)
from tests.unit.deidentify.planted import MARK, all_uids, item, plant, planted_stack

PROFILE = Profile(Identities(b"key of this test"))
DATES = ("19440612", "19991231", "235959")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("planted")
    write_all(planted_stack(), folder / "in")
    return export(folder)


def export(folder: Path) -> list[Path]:
    (folder / "out").mkdir()
    (folder / "work").mkdir()
    written, left_out = write_images(
        folder / "in", folder / "out", PROFILE, Limits(), folder / "work"
    )
    paths = sorted((folder / "out").iterdir())
    assert written == len(paths)
    assert not left_out
    return paths


def test_no_planted_byte_is_left(exported: list[Path]) -> None:
    assert len(exported) == 6
    for path in exported:
        data = path.read_bytes()
        assert MARK.encode() not in data
        assert "PLANTED".encode("utf-16-le") not in data
        for date in DATES:
            assert date.encode() not in data


def test_no_nested_item_holds_a_name_or_anything_private(exported: list[Path]) -> None:
    for path in exported:
        image = dcmread(path)
        walked = list(image.iterall())
        assert len(walked) > 40
        assert not [each for each in walked if each.tag.is_private]
        assert not [
            each for each in walked if each.VR == "PN" and str(each.value) not in {"", "ANONYMIZED"}
        ]
        assert image.ContributingEquipmentSequence[0].Manufacturer == "Maker"
        nested = image.ContributingEquipmentSequence[0]
        assert nested.InstitutionName == "ANONYMIZED"
        assert nested.PurposeOfReferenceCodeSequence[0].PatientName == ""


def test_the_image_says_what_was_done(exported: list[Path]) -> None:
    image = dcmread(exported[0])
    assert image.PatientIdentityRemoved == "YES"
    assert image.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert image.DeidentificationMethodCodeSequence[0].CodingSchemeDesignator == "DCM"
    assert image.LongitudinalTemporalInformationModified == "REMOVED"
    assert image.PatientID.startswith("ANON-")
    assert image.PatientName == ""


def test_uids_are_new_and_fit_together(exported: list[Path]) -> None:
    before = planted_stack()
    after = [dcmread(path) for path in exported]
    old = set().union(*(all_uids(image) for image in before))
    new = set().union(*(all_uids(image) for image in after))
    assert not old & new
    assert {image.SOPInstanceUID for image in after} == {
        PROFILE.identities.uid(image.SOPInstanceUID) for image in before
    }
    for image in after:
        # Each was planted with a reference to itself.
        assert image.ReferencedImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert image.SOPClassUID == before[0].SOPClassUID
        assert len(image.SOPInstanceUID) <= 64
    assert len({image.StudyInstanceUID for image in after}) == 1
    assert len({image.FrameOfReferenceUID for image in after}) == 1


def test_pixels_place_and_physics_stay(exported: list[Path]) -> None:
    after = {str(dcmread(path).SOPInstanceUID): dcmread(path) for path in exported}
    for image in planted_stack():
        same = after[PROFILE.identities.uid(image.SOPInstanceUID)]
        size = image.Rows * image.Columns * 2
        assert same.PixelData == image.PixelData[:size]
        for keyword in (
            "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "InversionTime",
            "RepetitionTime", "EchoTime", "ScanningSequence", "InstanceNumber", "Modality",
        ):  # fmt: skip
            assert same[keyword].value == image[keyword].value


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings(tmp_path: Path, syntax: str) -> None:
    stack = planted_stack()[:2]
    for image in stack:
        del image[0x60003000], image[0x60000010]
        size = image.Rows * image.Columns * 2
        image.PixelData = image.PixelData[:size]
    write_all(stack, tmp_path / "in", syntax)
    for path in export(tmp_path):
        assert MARK.encode() not in path.read_bytes()
        assert dcmread(path).file_meta.TransferSyntaxUID == syntax
        assert dcmread(path).pixel_array.shape == (96, 80)


def test_compressed_pixels_are_kept(tmp_path: Path) -> None:
    image = planted_stack()[0]
    image.PixelData = image.PixelData[: image.Rows * image.Columns * 2]
    expected = image.pixel_array.copy()
    write_all([compressed(image, JPEGLSLossless)], tmp_path / "in")
    (path,) = export(tmp_path)
    assert MARK.encode() not in path.read_bytes()
    assert np.array_equal(dcmread(path).pixel_array, expected)


def test_functional_groups_are_walked(tmp_path: Path) -> None:
    pixels = ramp(4, 96, 80).astype(np.uint16)
    image = plant(enhanced_instance(pixels))
    image.PixelData = pixels.tobytes()
    for group in image.PerFrameFunctionalGroupsSequence:
        content = group.FrameContentSequence[0]
        content.FrameComments = "PLANTED frame"
        content.FrameAcquisitionDateTime = "19991231235959"
        content.FrameLabel = "PLANTED label"
        group.private_block(0x2005, "PLANTED MR", create=True).add_new(0x0F, "LO", "PLANTED value")
        group.DerivationImageSequence = Sequence(
            [item(SourceImageSequence=Sequence([item(ReferencedSOPInstanceUID="1.2.3.4")]))]
        )
    write_all([image], tmp_path / "in")
    (path,) = export(tmp_path)
    data = path.read_bytes()
    assert MARK.encode() not in data
    assert b"19991231" not in data
    group = dcmread(path).PerFrameFunctionalGroupsSequence[0]
    reference = group.DerivationImageSequence[0].SourceImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == PROFILE.identities.uid("1.2.3.4")
    assert group.PlanePositionSequence[0].ImagePositionPatient


def test_annotated_pixels_are_not_passed_on(tmp_path: Path) -> None:
    stack = planted_stack()[:2]
    stack[0].BurnedInAnnotation = "YES"
    write_all(stack, tmp_path / "in")
    for name in ("out", "work"):
        (tmp_path / name).mkdir()
    written, left_out = write_images(
        tmp_path / "in", tmp_path / "out", PROFILE, Limits(), tmp_path / "work"
    )
    assert written == 1
    assert left_out == {"burned_in_annotation": 1}


def test_one_key_gives_one_identity_and_another_another() -> None:
    one, same, other = Identities(b"a"), Identities(b"a"), Identities(b"b")
    assert one.uid("1.2.3") == same.uid("1.2.3") != other.uid("1.2.3")
    assert one.patient("x") == same.patient("x") != one.patient("y")
    assert one.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert one.uid("") == ""
    assert "key" not in repr(one)


def test_texts_outside_of_the_table_go() -> None:
    dataset = Dataset()
    dataset.add_new(0x00189810, "ST", "PLANTED zero velocity")  # a text no rule names
    dataset.FrameLabel = "PLANTED label"
    dataset.Manufacturer = "Maker"
    with quiet_pydicom():
        PROFILE.apply(dataset)
    assert MARK not in str(dataset)
    assert dataset.Manufacturer == "Maker"


def test_applied_twice_it_still_holds(exported: list[Path]) -> None:
    image = dcmread(exported[0])
    again = deepcopy(image)
    with quiet_pydicom():
        PROFILE.apply(again)
    assert again.PatientIdentityRemoved == "YES"
    assert len(again.DeidentificationMethodCodeSequence) == 1


def test_values_that_cannot_be_replaced_go() -> None:
    dataset = Dataset()
    dataset.add_new(0x00080080, "UN", b"PLANTED institution")
    dataset.add_new(0x00181030, "OW", b"PLANTED!")  # a protocol name with a binary VR
    dataset.add_new(0x00400512, "OF", b"PLANTED!")
    with quiet_pydicom():
        PROFILE.apply(dataset)
    file = BytesIO()
    FileDataset(file, dataset).save_as(file, implicit_vr=False, little_endian=True)
    assert MARK.encode() not in file.getvalue()


def test_the_planted_image_would_leak_without() -> None:
    assert MARK.encode() in to_bytes(planted_stack()[0])


def test_files_of_a_study_refer_to_each_other_as_before(tmp_path: Path) -> None:
    pixels = ramp(3, 96, 80).astype(np.uint16)
    stir = classic_stack(pixels, Grid(), study="two series", series="stir")
    t1 = classic_stack(pixels, Grid(), physics=T1, study="two series", series="t1")
    for image, other in zip(stir, t1, strict=True):
        refer(image, other)
        refer(other, image)
    stack = [*stir, *t1]
    write_all(stack, tmp_path / "in")
    after = [dcmread(path) for path in export(tmp_path)]
    old = {image.SOPInstanceUID: image for image in stack}
    place = {PROFILE.identities.uid(name): image for name, image in old.items()}
    assert {image.SOPInstanceUID for image in after} == set(place)
    assert len({image.SeriesInstanceUID for image in after}) == 2
    by_name = {image.SOPInstanceUID: image for image in after}
    for image in after:
        before = place[image.SOPInstanceUID]
        other = by_name[image.ReferencedImageSequence[0].ReferencedSOPInstanceUID]
        assert place[other.SOPInstanceUID].SeriesInstanceUID != before.SeriesInstanceUID
        assert other.InstanceNumber == image.InstanceNumber
        series = image.ReferencedSeriesSequence[0]
        assert series.SeriesInstanceUID == other.SeriesInstanceUID
        deep = series.ReferencedInstanceSequence[0]
        assert deep.ReferencedSOPInstanceUID == other.SOPInstanceUID
        assert list(image.FailedSOPInstanceUIDList) == [image.SOPInstanceUID, other.SOPInstanceUID]
        assert image.FrameOfReferenceUID == PROFILE.identities.uid(before.FrameOfReferenceUID)


def refer(image: FileDataset, other: FileDataset) -> None:
    """Name another image in an item, two levels deep, and in a list of UIDs."""
    reference = item(
        ReferencedSOPClassUID=other.SOPClassUID, ReferencedSOPInstanceUID=other.SOPInstanceUID
    )
    image.ReferencedImageSequence = Sequence([reference])
    series = item(
        SeriesInstanceUID=other.SeriesInstanceUID,
        ReferencedInstanceSequence=Sequence([deepcopy(reference)]),
    )
    image.ReferencedSeriesSequence = Sequence([series])
    image.FailedSOPInstanceUIDList = [image.SOPInstanceUID, other.SOPInstanceUID]
