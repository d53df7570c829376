"""What a header says, merged from wherever classic, enhanced and converted objects keep it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as Items

from service.ingest.records import FramePhysics, InstanceRecord, Inventory
from tests import builders

Take = Callable[..., Inventory]
PIXELS = builders.ramp(4, 6, 8)
GRID = builders.Grid(orientation=builders.oblique((4.0, -11.0, 7.0)))


@pytest.fixture
def record_of(take: Take) -> Callable[[FileDataset], InstanceRecord]:
    def run(dataset: FileDataset, syntax: str | None = None) -> InstanceRecord:
        inventory = take(builders.to_bytes(dataset, syntax))
        assert not inventory.refused
        return inventory.records[0]

    return run


RecordOf = Callable[..., InstanceRecord]


def classic(**changes: object) -> FileDataset:
    dataset = builders.classic_stack(PIXELS, GRID)[2]
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def physics_of(record: InstanceRecord) -> FramePhysics:
    return record.frames[0].physics


@pytest.mark.parametrize("syntax", builders.NATIVE_SYNTAXES)
def test_classic_instance(record_of: RecordOf, syntax: str) -> None:
    record = record_of(classic(BodyPartExamined="LSPINE ", ProtocolName="protocol"), syntax)
    assert record.sop_instance_uid == builders.uid("study", "series", 2)
    assert record.study_instance_uid == builders.uid("study")
    assert record.series_instance_uid == builders.uid("study", "series")
    assert record.frame_of_reference_uid == GRID.frame_of_reference
    assert (record.rows, record.columns, record.bits_allocated) == (6, 8, 16)
    assert (record.instance_number, record.series_number) == (3, 1)
    assert (record.body_part, record.protocol_name) == ("LSPINE", "protocol")
    assert record.modality == "MR"
    assert not record.lossy
    (frame,) = record.frames
    assert frame.number == 1
    np.testing.assert_allclose(frame.position, GRID.position(2), atol=1e-6)
    np.testing.assert_allclose(frame.orientation, GRID.orientation, atol=1e-6)
    assert frame.pixel_spacing == (0.9, 0.7)
    assert (frame.slice_thickness_mm, frame.spacing_between_slices_mm) == (4.4, 4.4)
    physics = physics_of(record)
    assert physics.scanning_sequence == ("SE", "IR")
    assert physics.scan_options == ("IR",)
    assert (physics.repetition_time_ms, physics.echo_time_ms) == (4500.0, 60.0)
    assert physics.inversion_time_ms == 160.0
    assert physics.field_strength_t == 1.5
    assert physics.image_type == ("ORIGINAL", "PRIMARY", "M", "ND")
    assert physics.inversion_recovery is None
    assert not physics.mosaic


def test_enhanced_instance_merges_shared_and_own_groups(record_of: RecordOf) -> None:
    pixels = builders.ramp(6, 6, 8)
    record = record_of(builders.enhanced_instance(pixels, GRID, echo_times=(15.0, 90.0)))
    assert [frame.number for frame in record.frames] == [1, 2, 3, 4, 5, 6]
    for index, frame in enumerate(record.frames):
        np.testing.assert_allclose(frame.position, GRID.position(index % 3), atol=1e-6)
        np.testing.assert_allclose(frame.orientation, GRID.orientation, atol=1e-6)
        assert frame.pixel_spacing == (0.9, 0.7)
        assert frame.physics.echo_time_ms == (15.0, 90.0)[index // 3]
        assert (frame.stack_id, frame.temporal_position) == ("1", 1)
    physics = physics_of(record)
    assert physics.repetition_time_ms == 4500.0
    assert physics.flip_angle_deg == 150.0
    assert physics.echo_train_length == 16
    assert physics.inversion_recovery is True
    assert physics.inversion_time_ms == 160.0
    assert (physics.suppression, physics.excitation) == ("NONE", "NONE")
    assert physics.acquisition_contrast == "STIR"
    assert physics.complex_component == "MAGNITUDE"
    assert physics.echo_pulse_sequence == "SPIN"


def test_a_frames_own_group_wins_over_the_shared_one(record_of: RecordOf) -> None:
    dataset = builders.enhanced_instance(PIXELS)
    own = Dataset()
    own.RepetitionTime = 900.0
    group = dataset.PerFrameFunctionalGroupsSequence[1]
    group.MRTimingAndRelatedParametersSequence = Items([own])
    record = record_of(dataset)
    times = [frame.physics.repetition_time_ms for frame in record.frames]
    assert times == [4500.0, 900.0, 4500.0, 4500.0]
    assert {frame.physics.flip_angle_deg for frame in record.frames} == {150.0}


def test_private_groups_do_not_speak_for_public_ones(record_of: RecordOf) -> None:
    dataset = builders.enhanced_instance(PIXELS)
    private = Dataset()
    private.RepetitionTime = 1.0
    private.EffectiveEchoTime = 1.0
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
        group.add_new(0x2005140F, "SQ", Items([private]))
    physics = physics_of(record_of(dataset))
    assert (physics.repetition_time_ms, physics.echo_time_ms) == (4500.0, 60.0)


def test_rescale_is_read_per_frame(record_of: RecordOf) -> None:
    dataset = builders.enhanced_instance(PIXELS)
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[2].PixelValueTransformationSequence[0].RescaleSlope = 2.5
    groups[2].PixelValueTransformationSequence[0].RescaleIntercept = -7.0
    rescales = [frame.rescale for frame in record_of(dataset).frames]
    assert rescales == [(1.0, 0.0), (1.0, 0.0), (2.5, -7.0), (1.0, 0.0)]


def test_legacy_converted_instance(record_of: RecordOf) -> None:
    stack = builders.classic_stack(PIXELS, GRID)
    record = record_of(builders.legacy_converted(stack))
    assert len(record.frames) == 4
    for index, frame in enumerate(record.frames):
        np.testing.assert_allclose(frame.position, GRID.position(index), atol=1e-6)
    physics = physics_of(record)
    assert physics.scanning_sequence == ("SE", "IR")
    assert (physics.repetition_time_ms, physics.inversion_time_ms) == (4500.0, 160.0)


@pytest.mark.parametrize(
    ("agent", "given"),
    [("GADOVIST", True), ("none", False), ("NO", False), ("", False), ("Yes 10ml", True)],
)
def test_contrast_agent(record_of: RecordOf, agent: str, *, given: bool) -> None:
    assert physics_of(record_of(classic(ContrastBolusAgent=agent))).contrast_agent is given


@pytest.mark.parametrize(("administered", "given"), [("YES", True), ("NO", False), (None, True)])
def test_contrast_usage_of_enhanced_objects(
    record_of: RecordOf, administered: str | None, *, given: bool
) -> None:
    dataset = builders.enhanced_instance(PIXELS)
    agent = Dataset()
    agent.ContrastBolusAgentNumber = 1
    dataset.ContrastBolusAgentSequence = Items([agent])
    if administered:
        usage = Dataset()
        usage.ContrastBolusAgentAdministered = administered
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.ContrastBolusUsageSequence = Items([usage])
    assert physics_of(record_of(dataset)).contrast_agent is given


def test_mosaic_diffusion_and_loss_are_flagged(record_of: RecordOf) -> None:
    dataset = classic(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    dataset.LossyImageCompression = "01"
    dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    dataset.add_new(0x0019100C, "IS", "800")
    record = record_of(dataset)
    assert physics_of(record).mosaic
    assert physics_of(record).diffusion_b_value == 800.0
    assert record.lossy


def test_private_b_value_of_another_creator_is_not_one(record_of: RecordOf) -> None:
    dataset = classic()
    dataset.add_new(0x00190010, "LO", "SOMEBODY")
    dataset.add_new(0x0019100C, "IS", "800")
    assert physics_of(record_of(dataset)).diffusion_b_value is None


@pytest.mark.parametrize(
    ("stored", "value", "limit", "expected"),
    [
        (PIXELS, 5, None, (5.0, 5.0)),
        (PIXELS, 9, 2, (2.0, 9.0)),
        (PIXELS.astype(np.int16), -2000, None, (-2000.0, -2000.0)),
        (PIXELS.astype(np.int16), 63536, None, (-2000.0, -2000.0)),
        (PIXELS, -1, None, (65535.0, 65535.0)),
    ],
)
def test_padding_has_the_sign_of_the_pixels(
    record_of: RecordOf,
    stored: np.ndarray[Any, np.dtype[Any]],
    value: int,
    limit: int | None,
    expected: tuple[float, float],
) -> None:
    dataset = builders.classic_stack(stored)[0]
    dataset.add_new(0x00280120, "SS" if value < 0 else "US", value)
    if limit is not None:
        dataset.add_new(0x00280121, "US", limit)
    assert record_of(dataset).frames[0].padding == expected


@pytest.mark.parametrize(
    ("keyword", "attribute"),
    [
        ("ImagePositionPatient", "position"),
        ("ImageOrientationPatient", "orientation"),
        ("PixelSpacing", "pixel_spacing"),
        ("SliceThickness", "slice_thickness_mm"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "text", "infinite", "one too few"])
def test_damaged_place_is_absent_and_not_guessed(
    take: Take, keyword: str, attribute: str, damage: str
) -> None:
    dataset = classic()
    data = builders.to_bytes(dataset)
    if damage == "missing":
        del dataset[keyword]
        data = builders.to_bytes(dataset)
    else:
        value = dataset[keyword].value
        values = [str(one) for one in (value if dataset[keyword].VM > 1 else [value])]
        raw = "\\".join(values).encode()
        assert raw in data
        first = values[0].encode()
        changed = {
            "text": raw.replace(first, b"x" * len(first), 1),
            "infinite": raw.replace(first, b"inf".ljust(len(first)), 1),
            "one too few": raw.replace(b"\\", b"0", 1) if b"\\" in raw else b" " * len(raw),
        }[damage]
        data = data.replace(raw, changed, 1)
    (record,) = take(data).records
    assert getattr(record.frames[0], attribute) is None


def test_unreadable_physics_are_absent(take: Take) -> None:
    data = builders.to_bytes(classic(RepetitionTime=4501.5))
    data = re.sub(rb"4501\.5", b"45a1_5", data)
    (record,) = take(data).records
    assert physics_of(record).repetition_time_ms is None
    assert physics_of(record).echo_time_ms == 60.0
