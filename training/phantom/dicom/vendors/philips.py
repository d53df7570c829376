"""Philips: classic headers with their private blocks, and Enhanced MR.

Source: codes and private elements as in published headers. Classic releases write the parts of a
Dixon acquisition into one series, told apart by Image Type only.
"""

from __future__ import annotations

from typing import Final

from models.geometry import Plane
from models.volume import Role
from training.phantom.dicom.vendors.header import (
    DIXON_IMAGE_TYPE,
    PrivateValue,
    Scan,
    Scanner,
    SequenceHeader,
)
from training.phantom.scanner.physics import DixonPart, Suppression

CLASSIC_SCANNERS: Final = (
    Scanner("Philips Medical Systems", "Achieva", ("3.2.3", "3.2.3.2"), modern=False),
    Scanner("Philips Medical Systems", "Ingenia", ("5.3.1", "5.3.1.3")),
)
ENHANCED_SCANNERS: Final = (
    Scanner("Philips", "Ingenia Elition X", ("5.7.1", "5.7.1.1")),
    Scanner("Philips", "Ingenia Ambition X", ("5.7.1", "5.7.1.2")),
)

_PLANE: Final = {Plane.SAGITTAL: "SAG", Plane.AXIAL: "TRA", Plane.CORONAL: "COR"}
_ORIENTATION: Final = {
    Plane.SAGITTAL: "SAGITTAL",
    Plane.AXIAL: "TRANSVERSAL",
    Plane.CORONAL: "CORONAL",
}
_CODE: Final = {
    DixonPart.WATER: "W",
    DixonPart.FAT: "F",
    DixonPart.IN_PHASE: "IP",
    DixonPart.OUT_OF_PHASE: "OP",
}
_IMAGING: Final = "Philips Imaging DD 001"
_MR_IMAGING: Final = "Philips MR Imaging DD 001"


def sequence_header(scan: Scan) -> SequenceHeader:
    """The attributes of a scan."""
    technique = "FFE" if scan.gradient_echo else "TIR" if scan.inverted else "TSE"
    return SequenceHeader(
        descriptions=_descriptions(scan),
        acquisition_type=scan.acquisition_type,
        # An inversion recovery is IR alone here, where others write SE and IR.
        scanning_sequence=("IR",) if scan.inverted else scan.scanning_sequence,
        sequence_variant=("SP",) if scan.gradient_echo else ("SK",),
        scan_options=("FS",) if scan.fat_saturated else ("OTHER",),
        image_type=_image_type(scan),
        pulse_sequence_name=technique,
        frame_type=_frame_type(scan.dixon_part),
        contrast=_contrast(scan),
        private=_private(scan, technique),
    )


def _image_type(scan: Scan) -> tuple[str, ...]:
    if scan.dixon_part is not None:
        code = _CODE[scan.dixon_part]
        return ("DERIVED", "PRIMARY", code, code, "DERIVED")
    kind = "FFE" if scan.gradient_echo else "IR" if scan.inverted else "SE"
    return ("ORIGINAL", "PRIMARY", f"M_{kind}", "M", kind)


def _frame_type(part: DixonPart | None) -> tuple[str, ...]:
    if part is None:
        return ("ORIGINAL", "PRIMARY", "M", "NONE")
    return ("ORIGINAL", "PRIMARY", "DIXON", DIXON_IMAGE_TYPE[part])


def _contrast(scan: Scan) -> str:
    if scan.short_inversion:
        return "STIR"
    return "T2" if scan.long_repetition else "T1"


def _descriptions(scan: Scan) -> tuple[str, ...]:
    plane = _PLANE[scan.plane]
    if scan.protocol.role is Role.LOCALIZER:
        return ("SURVEY", "Survey_SHC")
    if scan.dixon_part is not None:
        return ("mDIXON_FFE",) if scan.gradient_echo else ("T2W_mDIXON_TSE", "mDIXON_TSE")
    if scan.short_inversion:
        return ("STIR_longTE", f"STIR_{plane}", f"{plane} STIR_TSE")
    if scan.inverted:
        return ("T1W_FLAIR", f"T1W_FLAIR_{plane}", "T1W_IR_TSE")
    weight = "T2W" if scan.long_repetition else "T1W"
    if scan.fat_saturated:
        kind = "SPAIR" if scan.protocol.sequence.suppression is Suppression.SPAIR else "SPIR"
        return (f"{weight}_{kind}", f"{weight}_TSE_{kind}")
    return (f"{weight}_TSE", f"{weight}_TSE_{plane}", f"s{weight}_TSE")


def _private(scan: Scan, technique: str) -> tuple[PrivateValue, ...]:
    sequence = scan.protocol.sequence
    # The delay of the prepulse is stated even where Inversion Time is not.
    prepulse, delay = ("INV", sequence.inversion_ms or 0.0) if scan.inverted else ("NO", 0.0)
    return (
        PrivateValue(0x2001, _IMAGING, 0x0B, "CS", _ORIENTATION[scan.plane]),
        PrivateValue(0x2001, _IMAGING, 0x1B, "FL", delay),
        PrivateValue(0x2001, _IMAGING, 0x1C, "CS", prepulse),
        PrivateValue(0x2001, _IMAGING, 0x20, "LO", technique),
        PrivateValue(0x2005, _MR_IMAGING, 0x30, "FL", sequence.repetition_ms),
    )
