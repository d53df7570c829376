"""Functional groups of Enhanced MR (PS3.3 C.7.6.16, C.8.13.5): one item per macro.

Each function makes the items of a stack; `enhanced` decides which of them are shared.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from models.geometry import to_lps
from training.phantom.dicom.classic import PIXEL_BANDWIDTH_HZ
from training.phantom.dicom.content import SeriesSheet, Stack
from training.phantom.dicom.modules import GYROMAGNETIC_MHZ_PER_T, decimal
from training.phantom.dicom.pixels import window
from training.phantom.scanner.physics import Suppression

Groups = dict[str, Dataset]
"""Keyword of a macro's sequence to its one item."""

SATURATION_SLAB_MM: Final = 50.0
SATURATION_DISTANCE_MM: Final = 70.0
"""Slab thickness, and how far before the middle of the images its own middle lies."""

_BODY_COIL: Final = "Body"
_SPINE_COIL: Final = "Spine"
_LUMBAR_SPINE: Final = ("122496007", "SCT", "Lumbar spine")


def item(**values: object) -> Dataset:
    """A dataset of the given attributes."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def sequence_of(*items: Dataset) -> DicomSequence:
    """A sequence of items."""
    return DicomSequence(items)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence item."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def geometry_groups(stack: Stack) -> Groups:
    """Pixel Measures and Plane Orientation of a stack."""
    volume, spacing = stack.volume, stack.volume.spacing
    along_row = volume.affine[:3, 2] / spacing.column_mm
    along_column = volume.affine[:3, 1] / spacing.row_mm
    return {
        "PixelMeasuresSequence": item(
            PixelSpacing=[decimal(spacing.row_mm), decimal(spacing.column_mm)],
            SliceThickness=decimal(stack.protocol.thickness_mm),
            SpacingBetweenSlices=decimal(spacing.slice_mm),
        ),
        "PlaneOrientationSequence": item(
            ImageOrientationPatient=[decimal(v) for v in (*along_row, *along_column)]
        ),
    }


def value_groups(sheet: SeriesSheet, stack: Stack) -> Groups:
    """Pixel Value Transformation and Frame VOI LUT of a stack."""
    style = sheet.pixels
    centre, width = window(stack.volume.array)
    return {
        "PixelValueTransformationSequence": item(
            RescaleIntercept=decimal(0.0 if style.intercept is None else style.intercept),
            RescaleSlope=decimal(1.0 if style.slope is None else style.slope),
            RescaleType="US",
        ),
        "FrameVOILUTSequence": item(WindowCenter=centre, WindowWidth=width),
    }


def image_groups(stack: Stack) -> Groups:
    """Frame Type, Echo and Averages of a stack."""
    return {
        "MRImageFrameTypeSequence": item(
            FrameType=list(stack.header.frame_type), **image_kind(stack)
        ),
        "MREchoSequence": item(EffectiveEchoTime=float(stack.protocol.sequence.echo_ms)),
        "MRAveragesSequence": item(NumberOfAverages=1),
    }


def image_kind(stack: Stack) -> dict[str, object]:
    """What the frame type macro and the image state alike (C.8.13.3.1)."""
    return {
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": stack.header.component,
        "AcquisitionContrast": stack.header.contrast,
    }


def acquisition_groups(sheet: SeriesSheet, stack: Stack) -> Groups:
    """Timing, modifiers, field of view, coils, saturation and anatomy of a stack."""
    groups = {
        "MRTimingAndRelatedParametersSequence": _timing(stack),
        "MRModifierSequence": _modifier(stack),
        "MRImagingModifierSequence": _imaging_modifier(stack),
        "MRFOVGeometrySequence": _field_of_view(stack),
        "FrameAnatomySequence": item(
            FrameLaterality="U", AnatomicRegionSequence=sequence_of(code(*_LUMBAR_SPINE))
        ),
        "MRReceiveCoilSequence": _receive_coil(),
        "MRTransmitCoilSequence": item(
            TransmitCoilName=_BODY_COIL, TransmitCoilManufacturerName="", TransmitCoilType="BODY"
        ),
    }
    if stack.protocol.saturation_band:
        groups["MRSpatialSaturationSequence"] = _saturation_slab(stack)
    if sheet.contrast_agent:
        groups["ContrastBolusUsageSequence"] = item(
            ContrastBolusAgentNumber=1,
            ContrastBolusAgentAdministered="YES",
            ContrastBolusAgentDetected="YES",
        )
    return groups


def _timing(stack: Stack) -> Dataset:
    sequence = stack.protocol.sequence
    gradient = "GR" in stack.header.scanning_sequence
    train = sequence.echo_train_length
    return item(
        RepetitionTime=decimal(sequence.repetition_ms),
        FlipAngle=decimal(sequence.flip_deg),
        EchoTrainLength=train,
        RFEchoTrainLength=0 if gradient else train,
        GradientEchoTrainLength=train if gradient else 0,
        SpecificAbsorptionRateSequence=sequence_of(
            item(SpecificAbsorptionRateDefinition="IEC_WHOLE_BODY", SpecificAbsorptionRateValue=1.0)
        ),
        GradientOutputType="PER_NERVE_STIM",
        GradientOutput=0.5,
        OperatingModeSequence=sequence_of(
            item(OperatingModeType="GRADIENT", OperatingMode="IEC_NORMAL"),
            item(OperatingModeType="RF", OperatingMode="IEC_NORMAL"),
        ),
    )


def _modifier(stack: Stack) -> Dataset:
    protocol, sequence = stack.protocol, stack.protocol.sequence
    parallel = protocol.acceleration > 1.0
    modifier = item(
        InversionRecovery="NO" if sequence.inversion_ms is None else "YES",
        FlowCompensation="NONE",
        Spoiling="RF" if "GR" in stack.header.scanning_sequence else "NONE",
        T2Preparation="NO",
        SpectrallySelectedExcitation="NONE",
        SpatialPresaturation="SLAB" if protocol.saturation_band else "NONE",
        PartialFourier="NO",
        ParallelAcquisition="YES" if parallel else "NO",
    )
    if sequence.inversion_ms is not None:
        modifier.InversionTimes = [float(sequence.inversion_ms)]
    if parallel:
        modifier.ParallelAcquisitionTechnique = "SENSE"
        modifier.ParallelReductionFactorInPlane = float(protocol.acceleration)
        modifier.ParallelReductionFactorOutOfPlane = 1.0
        modifier.ParallelReductionFactorSecondInPlane = 1.0
    return modifier


def spectral_suppression(stack: Stack) -> str:
    """Spectrally Selected Suppression (0018,9025)."""
    spectral = stack.protocol.sequence.suppression in (Suppression.CHESS, Suppression.SPAIR)
    return "FAT" if spectral else "NONE"


def _imaging_modifier(stack: Stack) -> Dataset:
    return item(
        MagnetizationTransfer="NONE",
        BloodSignalNulling="NO",
        Tagging="NONE",
        TransmitterFrequency=stack.protocol.sequence.field_t * GYROMAGNETIC_MHZ_PER_T,
        PixelBandwidth=decimal(PIXEL_BANDWIDTH_HZ),
    )


def _field_of_view(stack: Stack) -> Dataset:
    protocol = stack.protocol
    rows, columns = (
        max(1, round(extent / pitch))
        for extent, pitch in zip(protocol.fov_mm, protocol.acquired_mm, strict=True)
    )
    along_columns = protocol.phase_axis == 1
    return item(
        InPlanePhaseEncodingDirection="COLUMN" if along_columns else "ROW",
        MRAcquisitionFrequencyEncodingSteps=columns if along_columns else rows,
        MRAcquisitionPhaseEncodingStepsInPlane=rows if along_columns else columns,
        PercentSampling="100",
        PercentPhaseFieldOfView="100",
    )


def _saturation_slab(stack: Stack) -> Dataset:
    """A coronal slab in front of the spine."""
    volume = stack.volume
    centre = to_lps(volume.affine, (np.array(volume.shape) - 1) / 2)
    return item(
        SlabThickness=SATURATION_SLAB_MM,
        SlabOrientation=[0.0, -1.0, 0.0],
        MidSlabPosition=[
            float(centre[0]),
            float(centre[1]) - SATURATION_DISTANCE_MM,
            float(centre[2]),
        ],
    )


def _receive_coil() -> Dataset:
    return item(
        ReceiveCoilName=_SPINE_COIL,
        ReceiveCoilManufacturerName="",
        ReceiveCoilType="MULTICOIL",
        QuadratureReceiveCoil="NO",
        MultiCoilDefinitionSequence=sequence_of(
            item(MultiCoilElementName=_SPINE_COIL, MultiCoilElementUsed="YES")
        ),
    )
