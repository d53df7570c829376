"""Siemens: classic headers of syngo MR B and E, Enhanced MR of syngo MR XA.

Source: sequence names, codes and private blocks as in published headers of these versions.
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
    Scanner("SIEMENS", "Avanto", ("syngo MR B17",), modern=False),
    Scanner("SIEMENS", "Aera", ("syngo MR E11",)),
    Scanner("SIEMENS", "Skyra", ("syngo MR E11",)),
)
ENHANCED_SCANNERS: Final = (
    Scanner("Siemens Healthineers", "MAGNETOM Sola", ("syngo MR XA30",)),
    Scanner("Siemens Healthineers", "MAGNETOM Vida", ("syngo MR XA50",)),
)

_PLANE: Final = {Plane.SAGITTAL: "sag", Plane.AXIAL: "tra", Plane.CORONAL: "cor"}
_LETTER: Final = {
    DixonPart.WATER: "W",
    DixonPart.FAT: "F",
    DixonPart.IN_PHASE: "in",
    DixonPart.OUT_OF_PHASE: "opp",
}
_HEADER_CREATOR: Final = "SIEMENS MR HEADER"


def sequence_header(scan: Scan) -> SequenceHeader:
    """The attributes of a scan."""
    name = _sequence_name(scan)
    part = scan.dixon_part
    return SequenceHeader(
        descriptions=_descriptions(scan),
        acquisition_type=scan.acquisition_type,
        affix="{}" if part is None else "{}_" + _LETTER[part],
        scanning_sequence=scan.scanning_sequence,
        sequence_variant=_variant(scan),
        scan_options=_options(scan),
        sequence_name=name,
        image_type=_image_type(scan),
        pulse_sequence_name=name,
        frame_type=_frame_type(part),
        private=_private(scan),
    )


def _sequence_name(scan: Scan) -> str:
    if scan.protocol.role is Role.LOCALIZER:
        return "*fl2d1"
    if scan.gradient_echo:
        return "*fl3d2"
    if scan.inverted:
        return f"*tir2d1_{scan.echo_train}"
    # Restore ("R") drives long-TR sequences back to equilibrium; it is usual for T2.
    restore = scan.protocol.role is Role.T2 and scan.dixon_part is None
    return f"*tseR2d1rr{scan.echo_train}" if restore else f"*tse2d1_{scan.echo_train}"


def _variant(scan: Scan) -> tuple[str, ...]:
    if scan.gradient_echo:
        return ("SP", "OSP")
    return ("SK", "SP", "MP", "OSP") if scan.inverted else ("SK", "SP", "OSP")


def _options(scan: Scan) -> tuple[str, ...]:
    options = []
    if scan.inverted:
        options.append("IR")
    if scan.protocol.acceleration > 1.0 and not scan.scanner.modern:
        options.append("PFP")
    if scan.fat_saturated:
        options.append("FS")
    if scan.protocol.saturation_band:
        options.append("SAT1")
    return tuple(options)


def _image_type(scan: Scan) -> tuple[str, ...]:
    part = scan.dixon_part
    if part is not None:
        return ("ORIGINAL", "PRIMARY", "DIXON", DIXON_IMAGE_TYPE[part])
    if not scan.scanner.modern:
        return ("ORIGINAL", "PRIMARY", "M", "ND")
    corrected = scan.protocol.coil_per_cm < 0.02
    return ("ORIGINAL", "PRIMARY", "M", *(("NORM",) if corrected else ()), "DIS2D")


def _frame_type(part: DixonPart | None) -> tuple[str, ...]:
    if part is None:
        return ("ORIGINAL", "PRIMARY", "M", "NONE")
    return ("ORIGINAL", "PRIMARY", "DIXON", DIXON_IMAGE_TYPE[part])


def _descriptions(scan: Scan) -> tuple[str, ...]:
    plane = _PLANE[scan.plane]
    if scan.protocol.role is Role.LOCALIZER:
        return ("localizer", "loc_3pl")
    if scan.dixon_part is not None:
        spin = (f"t2_tse_dixon_{plane}_320", f"t2_tse_dixon_{plane}")
        return (f"t1_vibe_dixon_{plane}",) if scan.gradient_echo else spin
    if scan.short_inversion:
        upper = plane.upper()
        return (
            f"t2_tirm_{plane}", f"t2_tirm_{plane}_p2", f"T2_TSE_STIR_{upper}_P2",
            f"T2_TIRM_FS_{upper}",
        )  # fmt: skip
    if scan.inverted:
        return (f"t1_tse_dark-fluid_{plane}", f"t1_tse_dark-fluid_{plane}_p2", f"t1_flair_{plane}")
    weight = "t2" if scan.long_repetition else "t1"
    if scan.fat_saturated:
        spair = scan.protocol.sequence.suppression is Suppression.SPAIR
        return (f"{weight}_tse_{'spair' if spair else 'fs'}_{plane}", f"{weight}_tse_{plane}_fs")
    return (f"{weight}_tse_{plane}", f"{weight}_tse_{plane}_p2", f"{weight}_tse_{plane}_384")


def _private(scan: Scan) -> tuple[PrivateValue, ...]:
    """The parts of SIEMENS MR HEADER that readers use; the CSA blobs are left out."""
    kind = {Plane.SAGITTAL: "Sag", Plane.AXIAL: "Tra", Plane.CORONAL: "Cor"}[scan.plane]
    thickness = scan.protocol.thickness_mm
    fov = "*".join(str(round(mm)) for mm in scan.protocol.fov_mm)

    def element(group: int, number: int, vr: str, value: object) -> PrivateValue:
        return PrivateValue(group, _HEADER_CREATOR, number, vr, value)

    return (
        element(0x0019, 0x08, "CS", "IMAGE NUM 4"),
        element(0x0019, 0x09, "LO", "1.0"),
        element(0x0019, 0x0F, "SH", "Fast"),
        element(0x0051, 0x08, "CS", "IMAGE NUM 4"),
        element(0x0051, 0x09, "LO", "1.0"),
        element(0x0051, 0x0C, "LO", f"FoV {fov}"),
        element(0x0051, 0x0E, "LO", kind),
        element(0x0051, 0x16, "LO", "/".join(_image_type(scan)[2:])),
        element(0x0051, 0x17, "SH", f"SL {thickness:.1f}"),
    )
