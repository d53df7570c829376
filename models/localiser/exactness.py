"""How exact the measurements of a body are, as counted on scans whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.findings import BodySize

PITCH_MM: Final = 1.0
"""In-plane pitch up to which exactness does not depend on it: that of the working grid."""

SLICE_MM: Final = 4.0
"""Slice pitch at which widths and volumes were counted."""


@dataclass(frozen=True, slots=True)
class SizeSpread:
    """Standard deviations of measurement errors at 1 mm pixels and 4 mm slices.

    Attributes:
        height_mm, depth_mm: In the mid-sagittal plane.
        width_mm: Across the slices.
        volume: As a part of the volume.
    """

    height_mm: float
    depth_mm: float
    width_mm: float
    volume: float

    def of(self, size: BodySize | None, pixel_mm: float, slice_mm: float) -> BodySize | None:
        """Standard deviations of a measured size; coarser images are less exact in proportion.

        Args:
            size: As measured; None stays None.
            pixel_mm: The coarser in-plane pitch of the image.
            slice_mm: Its slice pitch.
        """
        if size is None:
            return None
        in_plane = max(1.0, pixel_mm / PITCH_MM)
        across = max(1.0, slice_mm / SLICE_MM)
        height = self.height_mm * in_plane
        return BodySize(
            volume_ml=self.volume * size.volume_ml * max(in_plane, across),
            depth_mm=self.depth_mm * in_plane,
            width_mm=self.width_mm * across,
            height_anterior_mm=height,
            height_middle_mm=height,
            height_posterior_mm=height,
        )
