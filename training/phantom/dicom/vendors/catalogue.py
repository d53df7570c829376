"""All vendors by their protocol name: headers, scanners, storage and pixel styles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.phantom.dicom.pixels import PixelStyle
from training.phantom.dicom.recipe import Storage
from training.phantom.dicom.vendors import canon, ge, philips, siemens, uih
from training.phantom.dicom.vendors.header import Scan, Scanner, SequenceHeader


@dataclass(frozen=True, slots=True)
class Vendor:
    """How one vendor stores studies.

    Attributes:
        header: The attributes of a scan.
        classic, enhanced: Scanners that write MR Image Storage and Enhanced MR; an archive may
            convert what a classic scanner wrote.
        enhanced_share: Part of the vendor's studies that arrive as Enhanced MR.
        pixels: How pixels are stored, by storage draws; equally often.
        one_dixon_series: Storages in which the parts of a Dixon acquisition share a series.
        shared_macros: Whether geometry, value transformation and echo are shared functional
            groups of Enhanced MR; Siemens and Philips repeat them in every frame.
    """

    header: Callable[[Scan], SequenceHeader]
    classic: tuple[Scanner, ...]
    enhanced: tuple[Scanner, ...]
    enhanced_share: float
    pixels: tuple[PixelStyle, ...]
    one_dixon_series: frozenset[Storage] = frozenset()
    shared_macros: bool = False

    def draw_storage(self, rng: np.random.Generator) -> Storage:
        """A storage by the vendor's share; archives convert a few classic studies."""
        chance = rng.random()
        if chance < self.enhanced_share:
            return Storage.ENHANCED
        return Storage.LEGACY if chance > 0.98 else Storage.CLASSIC

    def draw_scanner(self, storage: Storage, rng: np.random.Generator) -> Scanner:
        """A scanner that writes the storage.

        Raises:
            ValueError: The vendor has none.
        """
        scanners = self.enhanced if storage is Storage.ENHANCED else self.classic
        if not scanners:
            raise ValueError(f"no scanner of this vendor writes {storage.value} objects")
        return scanners[int(rng.integers(len(scanners)))]


_PLAIN: Final = PixelStyle()
_IDENTITY: Final = PixelStyle(slope=1.0, intercept=0.0)
_SIGNED: Final = PixelStyle(bits_stored=16, signed=True)

VENDOR_STORAGE: Final[Mapping[str, Vendor]] = {
    "siemens": Vendor(
        siemens.sequence_header,
        siemens.CLASSIC_SCANNERS,
        siemens.ENHANCED_SCANNERS,
        0.25,
        (_PLAIN, _IDENTITY),
        frozenset({Storage.ENHANCED}),
    ),
    "ge": Vendor(
        ge.sequence_header,
        ge.SCANNERS,
        (),
        0.0,
        (_SIGNED, PixelStyle(bits_stored=16, signed=True, padding=-32768, padded_columns=1)),
    ),
    "philips": Vendor(
        philips.sequence_header,
        philips.CLASSIC_SCANNERS,
        philips.ENHANCED_SCANNERS,
        0.35,
        (
            PixelStyle(slope=1.3703296703297, intercept=0.0),
            PixelStyle(slope=2.815628815629, intercept=0.0),
        ),
        frozenset({Storage.CLASSIC, Storage.ENHANCED}),
    ),
    "canon": Vendor(
        canon.sequence_header,
        canon.CLASSIC_SCANNERS,
        canon.ENHANCED_SCANNERS,
        0.1,
        (_SIGNED,),
        shared_macros=True,
    ),
    "uih": Vendor(
        uih.sequence_header,
        uih.SCANNERS,
        (),
        0.0,
        (_IDENTITY, PixelStyle(bits_stored=16, slope=1.0, intercept=0.0)),
    ),
}
"""By `Protocol.vendor`. Shares are those of an archive of the last ten years, by judgement."""
