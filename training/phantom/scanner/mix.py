"""Which scanners, protocols and faults a set of images is drawn from: for recipes.

A recipe names one of `MIXES` and may change single values of it:

    mix = AcquisitionMix.from_mapping({"base": "stress", "snr_factor": 0.5})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from training.phantom.scanner.vendors import VENDORS

Weights = tuple[tuple[str, float], ...]
FieldWeights = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class AcquisitionMix:
    """What acquisitions are drawn from. All factors multiply what the vendors' tables give.

    Attributes:
        vendors: Vendor and weight.
        fields_t: Field strength in tesla and weight.
        thickness_factor, gap_factor, pixel_factor: Of slices, gaps and acquired pixels.
        snr_factor: Of the signal-to-noise ratio.
        artefact_factor: Of both the chance and the strength of artefacts.
        coil_factor: Of the shading by surface coils, along the spine and towards the back.
        timing_spread: Largest relative step of TR, TE and TI beyond the vendors' ranges.
        gradient_echo_dixon_share: Part of the Dixon acquisitions that are gradient echoes.
        random_contrast_share: Part of the training images with a contrast no scanner makes.
    """

    vendors: Weights = (
        ("siemens", 0.42), ("ge", 0.22), ("philips", 0.20), ("canon", 0.08), ("uih", 0.08),
    )  # fmt: skip
    fields_t: FieldWeights = ((0.3, 0.01), (0.5, 0.02), (1.0, 0.05), (1.5, 0.57), (3.0, 0.35))
    thickness_factor: float = 1.0
    gap_factor: float = 1.0
    pixel_factor: float = 1.0
    snr_factor: float = 1.0
    artefact_factor: float = 1.0
    coil_factor: float = 1.0
    timing_spread: float = 0.0
    gradient_echo_dixon_share: float = 0.35
    random_contrast_share: float = 0.3

    def __post_init__(self) -> None:
        unknown = {name for name, _ in self.vendors} - set(VENDORS)
        if unknown:
            raise ValueError(f"unknown vendor: {', '.join(sorted(unknown))}")
        for name, weights in (("vendors", self.vendors), ("fields_t", self.fields_t)):
            values = [weight for _, weight in weights]
            if not values or min(values) < 0 or sum(values) <= 0:
                raise ValueError(f"{name}: weights must not be negative and not all zero")
        if min(field for field, _ in self.fields_t) <= 0:
            raise ValueError("fields_t: a field strength must be positive")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        for name in _SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie between 0 and 1")
        if self.artefact_factor < 0 or self.coil_factor < 0:
            raise ValueError("artefact_factor and coil_factor must not be negative")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> AcquisitionMix:
        """Read a mix from plain values, as a TOML table gives them.

        Args:
            mapping: Names of attributes to values; `base` names the mix that is changed ("train"
                by default). `vendors` and `fields_t` are tables of weights.

        Raises:
            ValueError: An unknown name, or a value that makes no sense.
        """
        values = dict(mapping)
        base = values.pop("base", "train")
        if base not in MIXES:
            raise ValueError(f"unknown mix: {base}")
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown in a mix: {', '.join(sorted(unknown))}")
        changes: dict[str, object] = {}
        for name, value in values.items():
            if name == "vendors":
                changes[name] = tuple((str(k), w) for k, w in _weights(name, value))
            elif name == "fields_t":
                changes[name] = tuple((float(k), w) for k, w in _weights(name, value))
            else:
                changes[name] = _number(name, value)
        return replace(MIXES[str(base)], **changes)  # type: ignore[arg-type]

    def as_mapping(self) -> dict[str, object]:
        """Plain values that `from_mapping` reads back."""
        values = asdict(self)
        values["vendors"] = dict(self.vendors)
        values["fields_t"] = {f"{field:g}": weight for field, weight in self.fields_t}
        return values


def _weights(name: str, value: object) -> list[tuple[str, float]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a table of weights")  # noqa: TRY004
    return [(str(key), _number(name, weight)) for key, weight in value.items()]


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number")  # noqa: TRY004
    return float(value)


_POSITIVE: Final = ("thickness_factor", "gap_factor", "pixel_factor", "snr_factor")
_SHARES: Final = ("timing_spread", "gradient_echo_dixon_share", "random_contrast_share")

TRAIN: Final = AcquisitionMix()
VALIDATE: Final = replace(TRAIN, random_contrast_share=0.0)
STRESS: Final = AcquisitionMix(
    vendors=(("siemens", 0.15), ("ge", 0.15), ("philips", 0.20), ("canon", 0.30), ("uih", 0.20)),
    fields_t=((0.3, 0.10), (0.5, 0.10), (1.0, 0.15), (1.5, 0.40), (3.0, 0.25)),
    thickness_factor=1.3,
    gap_factor=1.6,
    pixel_factor=1.2,
    snr_factor=0.6,
    artefact_factor=1.7,
    coil_factor=1.4,
    timing_spread=0.2,
    random_contrast_share=0.0,
)
MIXES: Final[Mapping[str, AcquisitionMix]] = {
    "train": TRAIN,
    "validate": VALIDATE,
    "stress": STRESS,
}
"""Nothing shipped was taught with stress: other scanners and timings, thicker slices, noise."""
