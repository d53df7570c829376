"""Edema put into real bodies, in memory and for evaluation only: what is seen at which contrast.

Real scans with edema of known extent do not exist here, and drawn ones have drawn texture. So the
signal of a part of one real body is raised by a known factor: the texture, coil and noise around it
stay real. The border is ragged and soft over 2 mm, and the factor varies by 20 % over some
millimetres as real edema does (measured: 25 to 50 % with a length of 2.5 mm, of which plain marrow
has 15 %). Nothing is stored, and nothing is learnt from it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from models.findings import Call, LevelFindings, Localisation, StudyVolumes, Vertebra
from models.geometry import to_index, to_lps
from models.scorer.scorer import Scorer
from models.volume import Volume
from training.evaluate_real.studies import Truth
from training.statistics.counts import wilson

CONTRASTS: Final = (1.1, 1.2, 1.3, 1.4, 1.5, 1.8, 2.2)
"""Factors: edema over the same marrow before; readers mark edema of 1.2 to 1.5."""

EXTENTS: Final = (0.2, 0.8)
"""Range of the edematous part of the body."""

TEXTURE_SD: Final = 0.2
TEXTURE_MM: Final = 2.5
BORDER_MM: Final = 2.0
RAGGED_MM: Final = 2.0
FEWEST_VOXELS: Final = 200
"""A smaller mask is no whole body."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """What was said of a body with edema put in.

    Attributes:
        study: Folder name.
        contrast: Factor.
        extent: Edematous part of the true mask.
        probability: Calibrated.
        call: As reported, with the rule of measured contrast.
        said_extent: Reported part of the body, 0 where absent.
    """

    study: str
    contrast: float
    extent: float
    probability: float
    call: Call
    said_extent: float


def insert(
    volume: Volume, body: NDArray[np.bool_], vertebra: Vertebra, contrast: float, seed: int
) -> tuple[Volume, float]:
    """Raise the signal of a part of a body.

    Args:
        volume: Fat-suppressed.
        body: (slice, row, column) true mask of the body on the volume's grid.
        vertebra: Gives the body's own axes.
        contrast: Factor.
        seed: Of place, extent and texture; the same for every contrast, so that a curve over
            contrasts is of the same lesions.

    Returns:
        The volume with edema, and which part of the body it fills.
    """
    rng = np.random.default_rng(seed)
    extent = rng.uniform(*EXTENTS)
    # Mostly along the height: fractures and degeneration start at an endplate.
    angle = rng.choice([0.0, np.pi]) + rng.normal(0.0, 0.5)
    towards = np.cos(angle) * vertebra.axes_lps[2] + np.sin(angle) * vertebra.axes_lps[1]
    pitch = np.array(volume.spacing.mm)
    box = _box_around(body)
    part = body[box]
    places = np.argwhere(part) + [side.start for side in box]
    noise = _smooth(part.shape, RAGGED_MM * 2.0 / pitch, rng)[part] * RAGGED_MM
    along = to_lps(volume.affine, places) @ towards + noise
    edge = np.quantile(along, 1.0 - extent)
    weight = 1.0 / (1.0 + np.exp(-np.clip((along - edge) / (BORDER_MM / 4.0), -30.0, 30.0)))
    texture = np.exp(TEXTURE_SD * _smooth(part.shape, TEXTURE_MM / pitch, rng)[part])
    array = volume.array.copy()
    factor = 1.0 + (contrast * texture - 1.0) * weight
    array[tuple(places.T)] *= factor.astype(np.float32)
    return replace(volume, array=array), float((weight > 0.5).mean())


def _box_around(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    voxels = np.argwhere(mask)
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return first, second, third


def _smooth(
    shape: tuple[int, ...], sigma: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Smooth noise of unit variance."""
    noise = gaussian_filter(rng.standard_normal(shape), sigma)
    return np.asarray(noise / max(float(noise.std()), 1e-9))


def inserted_of(
    truth: Truth,
    study: StudyVolumes,
    found: Localisation,
    mask: NDArray[np.integer],
    scorer: Scorer,
) -> Iterator[Inserted]:
    """Put edema of every contrast into one body of a study, and score the study each time.

    Args:
        truth: Of the fluid-sensitive series.
        study: Its reference is that series.
        found: Bodies as localised on the untouched series.
        mask: (slice, row, column) truth labels on its grid.
        scorer: As served.
    """
    seed = zlib.crc32(truth.study.encode())
    chosen = _body(truth, found, mask, seed, scorer(study, found).levels)
    if chosen is None:
        return
    number, value = chosen
    reference = study.reference
    for contrast in CONTRASTS:
        wet, extent = insert(reference, mask == value, found.vertebrae[number], contrast, seed)
        by_role = {**study.by_role, reference.role: wet}
        edema = scorer(StudyVolumes(wet, by_role), found).levels[number].edema
        if edema is not None:
            yield Inserted(
                truth.study,
                contrast,
                round(extent, 4),
                round(edema.probability, 4),
                edema.call,
                round(edema.extent_fraction, 4),
            )


def _body(
    truth: Truth,
    found: Localisation,
    mask: NDArray[np.integer],
    seed: int,
    before: Sequence[LevelFindings],
) -> tuple[int, int] | None:
    """Number of a localised body and its truth label: drawn among bodies without edema."""
    wet = {name for name, seen in truth.visible_edema.items() if seen}
    usable = []
    for number, vertebra in enumerate(found.vertebrae):
        place = np.rint(to_index(found.affine, vertebra.centroid_lps_mm)).astype(int)
        if ((place < 0) | (place >= mask.shape)).any():
            continue
        value = int(mask[tuple(place)])
        edema = before[number].edema
        calm = edema is not None and edema.call is not Call.PRESENT
        large = np.count_nonzero(mask == value) >= FEWEST_VOXELS
        if value and calm and large and vertebra.level not in wet:
            usable.append((number, value))
    if not usable:
        return None
    return usable[int(np.random.default_rng(seed).integers(len(usable)))]


def summarise_inserted(results: Sequence[Inserted]) -> dict[str, Any]:
    """By contrast: sensitivity with its interval, and the error of the extent where called."""
    curve = []
    for contrast in CONTRASTS:
        these = [one for one in results if one.contrast == contrast]
        if not these:
            continue
        called = [one for one in these if one.call is Call.PRESENT]
        unsure = sum(one.call is Call.INDETERMINATE for one in these)
        between = wilson(len(called), len(these))
        errors = [abs(one.said_extent - one.extent) for one in called]
        curve.append(
            {
                "contrast": contrast,
                "bodies": len(these),
                "called_present": len(called),
                "indeterminate": unsure,
                "sensitivity": round(len(called) / len(these), 4),
                "sensitivity_95": [round(between.low, 4), round(between.high, 4)],
                "mean_probability": round(float(np.mean([one.probability for one in these])), 4),
                "extent_error_points": round(100 * float(np.mean(errors)), 1) if errors else None,
            }
        )
    return {"curve": curve}


def inserted_table(figures: Mapping[str, Any]) -> str:
    """The figures of `summarise_inserted` as text."""
    lines = [
        "Edema put into real fat-suppressed bodies (factor over the same marrow before)",
        f"{'factor':>7} {'bodies':>7} {'present':>8} {'unsure':>7} {'sensitivity, 95 %':>20} "
        f"{'mean prob.':>11} {'extent error':>13}",
    ]
    for row in figures["curve"]:
        low, high = row["sensitivity_95"]
        error = row["extent_error_points"]
        lines.append(
            f"{row['contrast']:7.1f} {row['bodies']:7} {row['called_present']:8} "
            f"{row['indeterminate']:7} {row['sensitivity']:7.2f} ({low:.2f}-{high:.2f}) "
            f"{row['mean_probability']:11.2f} {'-' if error is None else f'{error:.1f}':>13}"
        )
    return "\n".join(lines)
