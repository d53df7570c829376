"""United Imaging (UIH): classic headers with the "Image Private Header" block.

Source: private elements (0065,xx29), (0065,xx2D) and (0065,xx31) as public converters read them.
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

SCANNERS: Final = (
    Scanner("UIH", "uMR 570", ("V10",), modern=False),
    Scanner("UIH", "uMR 780", ("R003",)),
)

_CREATOR: Final = "Image Private Header"
_PLANE: Final = {Plane.SAGITTAL: "sag", Plane.AXIAL: "tra", Plane.CORONAL: "cor"}
_LETTER: Final = {
    DixonPart.WATER: "W",
    DixonPart.FAT: "F",
    DixonPart.IN_PHASE: "IN",
    DixonPart.OUT_OF_PHASE: "OPP",
}


def sequence_header(scan: Scan) -> SequenceHeader:
    """The attributes of a scan."""
    name = "gre_fsp3d" if scan.gradient_echo else "fse_ir" if scan.inverted else "fse"
    part = scan.dixon_part
    kind = "OTHER" if part is None else "DIXON"
    return SequenceHeader(
        descriptions=_descriptions(scan),
        acquisition_type=scan.acquisition_type,
        affix="{}" if part is None else "{}(" + _LETTER[part] + ")",
        scanning_sequence=scan.scanning_sequence,
        sequence_variant=("SP",) if scan.gradient_echo else ("SK",),
        scan_options=("FS",) if scan.fat_saturated else (),
        sequence_name=name,
        image_type=(
            "ORIGINAL", "PRIMARY", kind, *(() if part is None else (DIXON_IMAGE_TYPE[part],))
        ),
        pulse_sequence_name=name,
        private=(
            PrivateValue(0x0065, _CREATOR, 0x29, "DS", "180.0"),
            PrivateValue(0x0065, _CREATOR, 0x2D, "LO", name),
            PrivateValue(0x0065, _CREATOR, 0x31, "LO", "SK"),
        ),
    )  # fmt: skip


def _descriptions(scan: Scan) -> tuple[str, ...]:
    plane = _PLANE[scan.plane]
    if scan.protocol.role is Role.LOCALIZER:
        return ("scout", "3plane_scout")
    if scan.dixon_part is not None:
        return (f"t1_quick3d_wfi_{plane}",) if scan.gradient_echo else (f"t2_fse_wfi_{plane}",)
    if scan.short_inversion:
        return (f"t2_tirm_{plane}", f"t2_fse_stir_{plane}")
    if scan.inverted:
        return (f"t1_fse_flair_{plane}", f"t1_flair_{plane}")
    weight = "t2" if scan.long_repetition else "t1"
    if scan.fat_saturated:
        return (f"{weight}_fse_fs_{plane}",)
    return (f"{weight}_fse_{plane}", f"{weight}_fse_{plane}_400")
