"""Canon (formerly Toshiba): classic headers and Enhanced MR; pixels are signed 16-bit.

Source: sequence names, codes and series names as in published headers.
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
from training.phantom.scanner.physics import DixonPart

CLASSIC_SCANNERS: Final = (
    Scanner("TOSHIBA_MEC", "MRT200SP5", ("V2.50*R539",), modern=False),
    Scanner("CANON_MEC", "Vantage Orian", ("V6.0*",)),
)
ENHANCED_SCANNERS: Final = (Scanner("CANON_MEC", "Vantage Galan 3T", ("V7.0*",)),)

_PLANE: Final = {Plane.SAGITTAL: "SG", Plane.AXIAL: "AX", Plane.CORONAL: "CO"}
_LETTER: Final = {
    DixonPart.WATER: "W",
    DixonPart.FAT: "F",
    DixonPart.IN_PHASE: "T2",
    DixonPart.OUT_OF_PHASE: "OPP",
}


def sequence_header(scan: Scan) -> SequenceHeader:
    """The attributes of a scan."""
    name = "FE3D" if scan.gradient_echo else "FIR" if scan.inverted else "FSE2D"
    part = scan.dixon_part
    options = (*(("FS",) if scan.fat_saturated else ()), "PFP")
    creator = "CANON_MEC_MR3" if scan.scanner.modern else "TOSHIBA_MEC_MR3"
    dixon = () if part is None else ("DIXON", DIXON_IMAGE_TYPE[part])
    return SequenceHeader(
        descriptions=_descriptions(scan),
        acquisition_type=scan.acquisition_type,
        affix="{}" if part is None else "{}(" + _LETTER[part] + ")",
        scanning_sequence=scan.scanning_sequence,
        sequence_variant=("SP",) if scan.gradient_echo else ("SK",),
        scan_options=options,
        sequence_name=name,
        image_type=("ORIGINAL", "PRIMARY", "OTHER"),
        pulse_sequence_name=name,
        frame_type=("ORIGINAL", "PRIMARY", *(dixon or ("M", "NONE"))),
        contrast="STIR" if scan.short_inversion else "T2" if scan.long_repetition else "T1",
        private=(PrivateValue(0x700D, creator, 0x00, "DS", "1.0"),),
    )


def _descriptions(scan: Scan) -> tuple[str, ...]:
    plane = _PLANE[scan.plane]
    if scan.protocol.role is Role.LOCALIZER:
        return ("Scano", "Locator")
    if scan.dixon_part is not None:
        return (f"WFST1_{plane}",) if scan.gradient_echo else (f"WFST2_{plane}",)
    if scan.short_inversion:
        return (f"{plane} T2W Stir", "Sag STIR2D T2W", "OSag FIR (fat suppr")
    if scan.inverted:
        return (f"{plane} T1W FLAIR", f"{plane} T1 FLAIR")
    weight = "T2" if scan.long_repetition else "T1"
    if scan.fat_saturated:
        return (f"FS{weight}_{plane}c", f"FS{weight}_{plane}")
    return (f"{plane} {weight}W", f"Sag FSE2D {weight}W" if plane == "SG" else f"{plane} {weight}")
