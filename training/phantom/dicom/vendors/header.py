"""The values that say what a series is, as one vendor writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.geometry import Plane
from training.phantom.scanner.physics import DixonPart, Readout, Suppression
from training.phantom.scanner.protocols import Protocol

DIXON_IMAGE_TYPE: Final = {
    DixonPart.WATER: "WATER",
    DixonPart.FAT: "FAT",
    DixonPart.IN_PHASE: "IN_PHASE",
    DixonPart.OUT_OF_PHASE: "OUT_PHASE",
}


@dataclass(frozen=True, slots=True)
class PrivateValue:
    """One private element: group, creator, element inside the creator's block, VR, value."""

    group: int
    creator: str
    element: int
    vr: str
    value: object


@dataclass(frozen=True, slots=True)
class SequenceHeader:
    """The attributes that say what a series is.

    Attributes:
        descriptions: Series names in use for it, the most usual first.
        affix: What the console adds to the name of a Dixon part: a text with "{}" for the name.
        scanning_sequence, sequence_variant, scan_options, sequence_name, image_type: Of MR Image
            Storage (PS3.3 C.8.3.1).
        pulse_sequence_name, frame_type, contrast: Of Enhanced MR (C.8.13.1, C.8.13.4): Pulse
            Sequence Name, Frame Type and Acquisition Contrast.
        component: Complex Image Component of Enhanced MR.
        acquisition_type: MR Acquisition Type of both.
        private: Private elements of classic instances.
    """

    descriptions: tuple[str, ...]
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    scan_options: tuple[str, ...] = ()
    sequence_name: str = ""
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "OTHER")
    affix: str = "{}"
    pulse_sequence_name: str = ""
    frame_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "NONE")
    contrast: str = "UNKNOWN"
    component: str = "MAGNITUDE"
    acquisition_type: str = "2D"
    private: tuple[PrivateValue, ...] = ()


@dataclass(frozen=True, slots=True)
class Scanner:
    """The scanner of a study.

    Attributes:
        manufacturer, model, software: Of the equipment modules.
        modern: Of the newer software generation, where a vendor changed its headers.
    """

    manufacturer: str
    model: str
    software: tuple[str, ...]
    modern: bool = True


@dataclass(frozen=True, slots=True)
class Scan:
    """What a vendor's header is made from: the protocol, the plane and the scanner."""

    protocol: Protocol
    plane: Plane
    scanner: Scanner

    @property
    def inverted(self) -> bool:
        """Whether all of the magnetisation is inverted first."""
        return self.protocol.sequence.inversion_ms is not None

    @property
    def gradient_echo(self) -> bool:
        """Whether the sequence is a gradient echo."""
        return self.protocol.sequence.readout is Readout.GRADIENT_ECHO

    @property
    def fat_saturated(self) -> bool:
        """Whether fat is suppressed spectrally."""
        return self.protocol.sequence.suppression in (Suppression.CHESS, Suppression.SPAIR)

    @property
    def acquisition_type(self) -> str:
        """2D, or 3D for a gradient-echo Dixon acquisition."""
        return "3D" if self.gradient_echo and self.dixon_part is not None else "2D"

    @property
    def scanning_sequence(self) -> tuple[str, ...]:
        """Scanning Sequence as most vendors write it."""
        if self.gradient_echo:
            return ("GR",)
        return ("SE", "IR") if self.inverted else ("SE",)

    @property
    def echo_train(self) -> int:
        """Echo train length."""
        return self.protocol.sequence.echo_train_length

    @property
    def dixon_part(self) -> DixonPart | None:
        """Which image of a Dixon acquisition, if any."""
        return self.protocol.sequence.dixon_part

    @property
    def long_repetition(self) -> bool:
        """T2 or intermediate weighting and not T1."""
        return self.protocol.sequence.echo_ms > 30.0

    @property
    def short_inversion(self) -> bool:
        """The inversion nulls fat (STIR) and is not that of a T1 FLAIR."""
        inversion = self.protocol.sequence.inversion_ms
        return inversion is not None and inversion <= 300.0
