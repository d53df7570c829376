"""What each vendor's sagittal spine protocols are set to.

Source: published protocol examples (Siemens Avanto, Aera and Prisma; GE, Philips, Canon and UIH
spine protocols as collected in the clinical notes, 4.3) and protocol defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

Range = tuple[float, float]


class VendorSettings(NamedTuple):
    """Ranges (low, high) a vendor's sagittal spine protocols use. Times in ms, lengths in mm.

    Attributes:
        chess_share: Part of the fat-saturated series that use CHESS (SPIR); the others SPAIR.
        long_t1_share: Part of the T1 series at 3 T that are inversion-prepared (T1 FLAIR).
        echo_spacing: Of turbo spin echoes.
        bandwidth_hz: Per acquired pixel; fat is shifted by its offset over this.
    """

    t1_tr: Range
    t1_te: Range
    t2_tr: Range
    t2_te: Range
    stir_tr: Range
    stir_te: Range
    stir_ti_1t5: Range
    stir_ti_3t: Range
    fs_tr: Range
    fs_te: Range
    dixon_tr: Range
    dixon_te: Range
    thickness: Range
    gap_share: Range
    slices: tuple[int, int]
    chess_share: float
    long_t1_share: float
    echo_spacing: Range
    bandwidth_hz: Range


SETTINGS: Final[Mapping[str, VendorSettings]] = {
    "siemens": VendorSettings(
        (500, 750), (8, 12), (3000, 4500), (85, 115), (3500, 5500), (35, 75),
        (150, 165), (200, 230), (3000, 4000), (65, 90), (3500, 4500), (80, 100),
        (3, 4), (0.1, 0.2), (13, 21), 0.5, 0.05, (8, 11), (150, 300),
    ),
    "ge": VendorSettings(
        (450, 700), (8, 20), (3000, 4500), (85, 120), (3500, 6000), (40, 80),
        (140, 165), (180, 200), (2500, 4000), (60, 85), (3000, 4500), (80, 105),
        (3, 4), (0.15, 0.25), (13, 19), 0.8, 0.5, (7, 11), (160, 400),
    ),
    "philips": VendorSettings(
        (400, 700), (7, 15), (2500, 4500), (90, 120), (2500, 5000), (50, 80),
        (150, 175), (190, 220), (2500, 3500), (60, 85), (2500, 4500), (80, 110),
        (3, 4), (0.1, 0.15), (13, 19), 0.45, 0.1, (8, 12), (150, 350),
    ),
    "canon": VendorSettings(
        (400, 600), (10, 15), (3000, 4500), (90, 120), (3000, 5000), (60, 90),
        (140, 165), (170, 200), (3000, 4000), (65, 95), (3000, 4500), (85, 110),
        (4, 5), (0.1, 0.2), (11, 17), 0.9, 0.1, (8, 12), (160, 260),
    ),
    "uih": VendorSettings(
        (500, 700), (9, 11), (3000, 4500), (90, 105), (3500, 5000), (40, 70),
        (150, 170), (190, 220), (3000, 4000), (65, 85), (3500, 4500), (85, 105),
        (3, 4), (0.1, 0.2), (15, 19), 0.5, 0.1, (8, 11), (180, 300),
    ),
}  # fmt: skip

VENDORS: Final = tuple(SETTINGS)
