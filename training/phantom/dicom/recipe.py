"""What a synthetic study consists of: series, scanner, storage, and what is wrong with it.

The rates of flaws and of extra series stand for what mixed archives hold. No published count
exists; each is set so that a reader meets it in training and none becomes a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from models.errors import GeometryError
from models.volume import Role
from training.phantom.dicom.pixels import PixelStyle
from training.phantom.scanner.mix import TRAIN, AcquisitionMix
from training.phantom.scanner.physics import DixonPart
from training.phantom.scanner.protocols import Site

DIXON_PARTS: Final = (
    DixonPart.WATER,
    DixonPart.FAT,
    DixonPart.IN_PHASE,
    DixonPart.OUT_OF_PHASE,
)
INVERSION_TIME_MISSING: Final[Mapping[str, float]] = MappingProxyType(
    {"philips": 0.3, "siemens": 0.06, "ge": 0.02, "canon": 0.05, "uih": 0.05}
)
"""How often a vendor's inversion-recovery series reaches the archive without Inversion Time."""


class Storage(StrEnum):
    """Which SOP class holds the images."""

    CLASSIC = "classic"  # MR Image Storage, one file per slice
    ENHANCED = "enhanced"  # Enhanced MR Image Storage, one file per series
    LEGACY = "legacy"  # Legacy Converted Enhanced MR Image Storage, made by an archive


@dataclass(frozen=True, slots=True)
class HeaderFlaws:
    """Rates, each per series unless said otherwise, of what real headers lack or state wrongly.

    Attributes:
        description_useless: The series is named "SAG", "????" or the like.
        description_wrong: The name is that of another sequence.
        description_missing: No Series Description.
        foreign_site: Per study: names are German, French, Spanish, Polish or Japanese.
        study_description_missing: Per study.
        protocol_name_missing: No Protocol Name.
        inversion_time_missing: Per inversion-recovery series, by vendor.
        spacing_missing: No Spacing Between Slices (classic).
        body_part_wrong: Per study: absent, SPINE, ABDOMEN or HEAD.
        image_type_odd: Image Type with an additional value (classic).
        contrast_agent_missing: No Contrast/Bolus Agent after contrast agent (classic).
        series_number_repeated: The number of another series (Dixon parts keep theirs).
    """

    description_useless: float = 0.06
    description_wrong: float = 0.03
    description_missing: float = 0.03
    foreign_site: float = 0.25
    study_description_missing: float = 0.10
    protocol_name_missing: float = 0.12
    inversion_time_missing: Mapping[str, float] = field(
        default_factory=lambda: INVERSION_TIME_MISSING
    )
    spacing_missing: float = 0.08
    body_part_wrong: float = 0.15
    image_type_odd: float = 0.05
    contrast_agent_missing: float = 0.2
    series_number_repeated: float = 0.03


@dataclass(frozen=True, slots=True)
class ExtraSeries:
    """Rates, per study, of series that a reader of the spine must pass over.

    Attributes:
        localizer: Three planes of a gradient echo, in one series.
        axial: Axial T2 through the lumbar discs.
        post_contrast: T1 again after contrast agent, with fat saturation every second time.
        subtraction: T1 after minus before contrast; only where there is a post-contrast series.
        reformat: Coronal reformat of the first series.
        phase_map: A phase image beside a gradient-echo Dixon or else the first series.
    """

    localizer: float = 0.9
    axial: float = 0.5
    post_contrast: float = 0.08
    subtraction: float = 0.5
    reformat: float = 0.06
    phase_map: float = 0.03


NO_EXTRAS: Final = ExtraSeries(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class StudyRecipe:
    """What is scanned and how it is stored.

    Attributes:
        roles: Series in the order of acquisition. `Role.DIXON_WATER` stands for the whole Dixon
            acquisition and is written as one stack per part.
        site: The scanner; drawn when None.
        dixon_parts: Which images of a Dixon acquisition are stored.
        gradient_echo_dixon: A gradient-echo Dixon in place of a T2 turbo spin echo; drawn by the
            mix's share when None.
        pixel_mm, thickness_mm, slices: Fixed for all series when given, above 0.
        fov_mm: Fixed (rows, columns) field of view when given, above 0.
        angulation_deg: Standard deviation of the tilt between the series' planes; only where the
            tissue can be painted in any plane.
        motion_mm: Standard deviation of the patient's shift between series.
        flaws: What headers lack or state wrongly; None writes them plain and complete.
        extras: Series beyond `roles`.
        storage: SOP class; None draws one as the vendor's installed base has it.
        pixels: How pixels are stored; the vendor's way when None.
        transfer_syntax_uid: Of the stored instances.
        mix: What scanners, protocols and faults are drawn from.
        clean: No ghosts, failing suppression or saturation bands: for demonstrations.

    Raises:
        GeometryError: On construction, when a fixed size or count is not above 0, or a spread is
            below 0.
    """

    roles: tuple[Role, ...]
    site: Site | None = None
    dixon_parts: tuple[DixonPart, ...] = DIXON_PARTS
    gradient_echo_dixon: bool | None = False
    pixel_mm: float | None = None
    thickness_mm: float | None = None
    slices: int | None = None
    fov_mm: tuple[float, float] | None = None
    angulation_deg: float = 0.0
    motion_mm: float = 0.6
    flaws: HeaderFlaws | None = None
    extras: ExtraSeries = NO_EXTRAS
    storage: Storage | None = Storage.CLASSIC
    pixels: PixelStyle | None = None
    transfer_syntax_uid: str = ExplicitVRLittleEndian
    mix: AcquisitionMix = TRAIN
    clean: bool = False

    def __post_init__(self) -> None:
        rows_mm, columns_mm = (None, None) if self.fov_mm is None else self.fov_mm
        for name, value in (
            ("pixel_mm", self.pixel_mm),
            ("thickness_mm", self.thickness_mm),
            ("slices", self.slices),
            ("rows of fov_mm", rows_mm),
            ("columns of fov_mm", columns_mm),
        ):
            if value is not None and not 0 < value < np.inf:
                raise GeometryError(f"{name} must be above 0, not {value}")
        for name, spread in (
            ("angulation_deg", self.angulation_deg),
            ("motion_mm", self.motion_mm),
        ):
            if not 0 <= spread < np.inf:
                raise GeometryError(f"{name} must not be below 0, but is {spread}")
