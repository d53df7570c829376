"""GE: classic headers with the GEMS private blocks.

Source: codes and private elements as in published headers. The name of the pulse sequence is in
(0019,109C), its internal name in (0019,109E).
"""

from __future__ import annotations

from typing import Final, NamedTuple

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

SCANNERS: Final = (
    Scanner("GE MEDICAL SYSTEMS", "Signa HDxt", ("24", "LX", "MR Software release:15.0"),
            modern=False),
    Scanner("GE MEDICAL SYSTEMS", "Optima MR450w", ("25", "LX", "MR Software release:DV25")),
    Scanner("GE MEDICAL SYSTEMS", "SIGNA Pioneer", ("28", "LX", "MR29.1")),
)  # fmt: skip

_PLANE: Final = {Plane.SAGITTAL: "Sag", Plane.AXIAL: "Ax", Plane.CORONAL: "Cor"}
_PREFIX: Final = {
    DixonPart.WATER: "WATER: ",
    DixonPart.FAT: "FAT: ",
    DixonPart.IN_PHASE: "InPhase: ",
    DixonPart.OUT_OF_PHASE: "OutPhase: ",
}


class _Pulse(NamedTuple):
    """Name and internal name of a pulse sequence."""

    name: str
    internal: str


def sequence_header(scan: Scan) -> SequenceHeader:
    """The attributes of a scan."""
    pulse = _pulse(scan)
    part = scan.dixon_part
    return SequenceHeader(
        descriptions=_descriptions(scan),
        acquisition_type=scan.acquisition_type,
        affix="{}" if part is None else _PREFIX[part] + "{}",
        scanning_sequence=scan.scanning_sequence,
        sequence_variant=("SS", "SP") if scan.gradient_echo else ("SK", "OSP"),
        scan_options=_options(scan),
        image_type=_image_type(scan),
        pulse_sequence_name=pulse.name,
        private=(
            PrivateValue(0x0019, "GEMS_ACQU_01", 0x9C, "LO", pulse.name),
            PrivateValue(0x0019, "GEMS_ACQU_01", 0x9E, "LO", pulse.internal),
            PrivateValue(0x0019, "GEMS_ACQU_01", 0xA4, "SS", int(scan.fat_saturated)),
            PrivateValue(0x0043, "GEMS_PARM_01", 0x2F, "SS", 0),
        ),
    )


def _pulse(scan: Scan) -> _Pulse:
    dixon = scan.dixon_part is not None
    if scan.gradient_echo:
        return _Pulse("LAVA-Flex", "EFGRE3D") if dixon else _Pulse("fgre", "FGRE")
    if dixon:
        return _Pulse("FSE-Flex", "FSEDIXON") if scan.scanner.modern else _Pulse("ideal", "FSE")
    if scan.inverted:
        return _Pulse("fseir" if scan.short_inversion else "T1flair", "FSEIR")
    if scan.long_repetition and not scan.fat_saturated:
        return _Pulse("frfse-xl", "FRFSE")
    return _Pulse("fse-xl", "FSE")


def _options(scan: Scan) -> tuple[str, ...]:
    options = [] if scan.gradient_echo else ["FAST_GEMS"]
    options += ["NPW", "VB_GEMS", "EDR_GEMS"]
    if scan.inverted:
        options.append("IR_GEMS" if scan.scanner.modern else "IR")
    if scan.fat_saturated:
        options.append("FS")
    if scan.protocol.saturation_band:
        options.append("SAT_GEMS")
    if scan.protocol.acceleration > 1.0:
        options.append("ACC_GEMS")
    return (*options, "FILTERED_GEMS")


def _image_type(scan: Scan) -> tuple[str, ...]:
    if scan.dixon_part is None or not scan.scanner.modern:
        return ("ORIGINAL", "PRIMARY", "OTHER")
    return ("DERIVED", "PRIMARY", "DIXON", DIXON_IMAGE_TYPE[scan.dixon_part])


def _descriptions(scan: Scan) -> tuple[str, ...]:
    plane = _PLANE[scan.plane]
    if scan.protocol.role is Role.LOCALIZER:
        return ("3-Plane Loc", "3-pl Loc GRE")
    if scan.dixon_part is not None:
        technique = "T1 LAVA FLEX" if scan.gradient_echo else "T2 FLEX"
        return (f"{plane} {technique}", f"{plane} {technique.replace('FLEX', 'IDEAL')}")
    if scan.short_inversion:
        return (f"{plane} STIR", f"O{plane} STIR", f"{plane} STIR FSE")
    if scan.inverted:
        return (f"{plane} T1 FLAIR", f"{plane} T1FLAIR")
    weight = "T2" if scan.long_repetition else "T1"
    if scan.fat_saturated:
        return (f"{plane} {weight} FS", f"{plane} {weight} FSE FATSAT")
    return (f"{plane} {weight} {'FRFSE' if weight == 'T2' else 'FSE'}", f"{plane} {weight}")
