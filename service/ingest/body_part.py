"""Is a sagittal stack of something else than a spine? Only stated part and extent together say so.

Body Part Examined is often wrong both ways (a head coil's default on a spine, LSPINE on a head),
so it never proves a spine and never refuses one alone.
"""

from __future__ import annotations

from typing import Final

from service.ingest.stacking import Stack

_SPINE: Final = ("SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "SACRUM", "COCCYX", "WS")
_TRUNK: Final = ("HEAD", "BRAIN", "SKULL", "ORBIT", "IAC", "FACE", "ABDOMEN", "CHEST", "BREAST",
                 "HEART", "LIVER", "PELVIS", "PROSTATE")  # fmt: skip
_LIMB: Final = ("KNEE", "SHOULDER", "ANKLE", "FOOT", "WRIST", "HAND", "ELBOW", "HIP", "LEG", "ARM",
                "EXTREMITY", "FINGER", "TOE", "JAW", "TMJ")  # fmt: skip

WIDE_MM: Final = 120.0
"""Sagittal spine stacks are 50 to 100 mm wide; whole heads and trunks are wider than this."""
HEAD_MM: Final = (150.0, 270.0)
"""Wide as a head and no taller: a field of view implausible for a spine without a body part."""
LIMB_FIELD_MM: Final = 220.0
"""Joints are imaged in fields of view smaller than this, spines hardly ever."""


def stated_elsewhere(stack: Stack) -> bool:
    """Whether Body Part Examined names another part of the body."""
    part = stack.instance.body_part
    return not _names(part, _SPINE) and _names(part, (*_TRUNK, *_LIMB))


def _names(part: str, names: tuple[str, ...]) -> bool:
    letters = "".join(c for c in part.upper() if c.isalpha())
    return any(name in letters for name in names)


def elsewhere(stack: Stack) -> bool:
    """Whether stated part and extent agree that this is no spine."""
    spacing = stack.spacing
    if spacing is None:
        return False
    wide = spacing.slice_mm * stack.count
    field = max(spacing.row_mm * stack.instance.rows, spacing.column_mm * stack.instance.columns)
    part = stack.instance.body_part
    if _names(part, _SPINE):
        return False
    if _names(part, _LIMB) and not _names(part, _TRUNK):
        return field <= LIMB_FIELD_MM
    if _names(part, _TRUNK):
        return wide >= WIDE_MM
    return wide >= HEAD_MM[0] and field <= HEAD_MM[1]
