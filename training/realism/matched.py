"""Phantoms scanned as a data set of real scans was: what the scanner differs by tells nothing then.

A classifier that knows one protocol of one scanner tells a wide mix of protocols from it by that
alone. Here patients of the same ages are scanned with the field strength, vendor, resolution and
slices of a data set. Times that are not known for the stored images are drawn as in training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.volume import Role
from training.phantom.draw import draw_series
from training.phantom.numbers import held
from training.phantom.scanner.protocols import Protocol, Site, sample_protocol
from training.phantom.scene import SceneRequest, sample_scene
from training.realism.crops import SLICE_MM
from training.realism.specimens import Specimen
from training.realism.synthetic import specimen_of

SNR_SPREAD: Final = 0.2
"""Of the logarithm of the signal over noise, from patient to patient."""


@dataclass(frozen=True, slots=True)
class Matched:
    """How a data set of real scans was acquired, and of whom.

    Attributes:
        dataset: First part of its patients' names.
        role: Of its images.
        site: Vendor and field strength.
        acquired_mm: (rows, columns) true resolution.
        thickness_mm: What a stored slice holds: the acquired one, and what resampling added.
        fov_mm: (rows, columns) extent.
        slices: How many.
        snr: Median of marrow signal over noise, set by the noise of its marrow.
        women: Share of women.
        age_years: Mean and standard deviation; `youngest` and `oldest` limit them.
        youngest, oldest: See above.
        repetition_ms, echo_ms: Of the sequence; as in training when None.
    """

    dataset: str
    role: Role
    site: Site
    acquired_mm: tuple[float, float]
    thickness_mm: float
    fov_mm: tuple[float, float]
    slices: int
    snr: float
    women: float
    age_years: tuple[float, float]
    youngest: float
    oldest: float
    repetition_ms: float | None = None
    echo_ms: float | None = None


MATCHED: Final = (
    Matched(
        "vb3", Role.DIXON_WATER, Site("philips", 3.0), (1.8, 1.8), 5.5, (224.0, 224.0), 20, 40.0,
        women=0.72, age_years=(52.0, 17.0), youngest=20.0, oldest=80.0,
    ),
    Matched(
        "vb2", Role.T2, Site("siemens", 1.5), (1.5, 1.25), 4.5, (380.0, 380.0), 19, 110.0,
        women=0.0, age_years=(33.0, 7.0), youngest=20.0, oldest=45.0,
        repetition_ms=5240.0, echo_ms=101.0,
    ),
)  # fmt: skip
"""The two data sets with one protocol each. The stored images have no headers: scanners,
resolutions, times and ages are assumed, after what is known of the studies that they come from;
thickness follows from the averaging of four resampled slices, and noise from that of the marrow.

Sources: Burian 2019, BMC Musculoskelet Disord 20:152 (vb3); Chu 2015, PLoS One 10:e0143327 (vb2).
"""


def matched_patients(matched: Matched, seeds: Iterable[int]) -> Iterator[Specimen]:
    """Healthy lumbar spines, one per seed, scanned as a data set was.

    Args:
        matched: The data set.
        seeds: One patient each; the same seed gives the same image.
    """
    for seed in seeds:
        rng = np.random.default_rng([seed, 72])
        scene = sample_scene(seed, _request(matched, rng))
        drawn = draw_series(scene, matched_protocol(matched, rng), rng)
        yield specimen_of(f"seed {seed}", scene, drawn)


def matched_protocol(matched: Matched, rng: np.random.Generator) -> Protocol:
    """The protocol of a data set; what is not known of it is drawn as in training."""
    drawn = sample_protocol(matched.role, rng, matched.site, gradient_echo=True)
    sequence = drawn.sequence
    if matched.repetition_ms is not None and matched.echo_ms is not None:
        sequence = replace(sequence, repetition_ms=matched.repetition_ms, echo_ms=matched.echo_ms)
    return replace(
        drawn,
        sequence=sequence,
        fov_mm=matched.fov_mm,
        acquired_mm=matched.acquired_mm,
        pixel_mm=1.0,
        shift_px=drawn.shift_px * drawn.pixel_mm,
        thickness_mm=matched.thickness_mm,
        gap_mm=SLICE_MM - matched.thickness_mm,
        slices=matched.slices,
        phase_axis=1,
        snr=float(matched.snr * rng.lognormal(0.0, SNR_SPREAD)),
        acceleration=1.0,
        saturation_band=False,
        filter_strength=0.0,
    )


def _request(matched: Matched, rng: np.random.Generator) -> SceneRequest:
    age = held(rng.normal(*matched.age_years), matched.youngest, matched.oldest)
    sex = "F" if rng.random() < matched.women else "M"
    return SceneRequest(region="lumbar", healthy=True, numbering="usual", sex=sex, age_years=age)
