"""What is about to be written: a series with one or more stacks of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.geometry import Plane
from models.volume import Volume
from training.phantom.dicom.names import SeriesNames, SiteHabits
from training.phantom.dicom.pixels import PixelStyle, StoredPixels
from training.phantom.dicom.recipe import Storage
from training.phantom.dicom.vendors.header import Scanner, SequenceHeader
from training.phantom.scanner.conditions import Conditions
from training.phantom.scanner.protocols import Protocol


@dataclass(frozen=True, slots=True)
class Stack:
    """Images on one grid: a scan, a part of a Dixon acquisition or a plane of a localizer.

    Attributes:
        pixels: Values in the file, and the volume a reader gets from them.
        protocol: What the scanner was told to do.
        conditions: Under which the scan was made; None for computed images.
        plane: Of the slices.
        header: What says which sequence it is.
    """

    pixels: StoredPixels
    protocol: Protocol
    conditions: Conditions | None
    plane: Plane
    header: SequenceHeader

    @property
    def volume(self) -> Volume:
        """What a reader gets."""
        return self.pixels.volume


@dataclass(frozen=True, slots=True)
class SeriesSheet:
    """What all instances of a series state alike.

    Attributes:
        series_uid: Series Instance UID.
        number: Series Number; need not be unique.
        order: Of the series in the study, from 0; sets its time.
        names: Series Description and Protocol Name.
        habits: Of the site.
        scanner: That made it.
        storage: SOP class.
        pixels: How pixels are stored.
        transfer_syntax_uid: Of the files.
        shared_macros: As in `Vendor`.
        contrast_agent: Whether contrast agent was given before.
        omitted: Keywords of attributes that the header lacks.
    """

    series_uid: str
    number: int
    order: int
    names: SeriesNames
    habits: SiteHabits
    scanner: Scanner
    storage: Storage
    pixels: PixelStyle
    transfer_syntax_uid: str
    shared_macros: bool = False
    contrast_agent: bool = False
    omitted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SeriesContent:
    """A series: its sheet and its stacks, in the order of their instances."""

    sheet: SeriesSheet
    stacks: Sequence[Stack]
