"""The scorer: bodies and series in, findings per level out.

scorer = Scorer(open_session(bundle), bundle.manifest.metadata)
scores = scorer(study_volumes, localisation)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import (
    Abstention,
    Call,
    Coverage,
    Feature,
    LevelFindings,
    Localisation,
    Scores,
    Shape,
    StudyVolumes,
)
from models.geometry import to_lps
from models.runtime import Session
from models.scorer import calls
from models.scorer.boxes import body_voxels
from models.scorer.calibration import ScorerCalibration, read_calibration, sequence_set
from models.scorer.contrast import measure_contrast
from models.scorer.crops import LevelCrops, extract_crops
from models.scorer.distribution import distribution_statistics, within
from models.scorer.heads import HEADS, MIMICS, SHAPES, SIGNS
from models.scorer.measurements import HeightLoss, height_losses
from models.scorer.resampling import sample_points
from models.scorer.signs import UNITS, height_signs, measure_signs, of_level

SACRUM: Final = "S1"


@dataclass(frozen=True, slots=True)
class _Answers:
    """The network's answers for all levels of a study.

    Attributes:
        probability: Calibrated, by head name.
        heads: (level, len(HEADS)) raw.
        edema_maps: (level, slice, row / 2, column / 2) probability.
    """

    probability: dict[str, NDArray[np.float64]]
    heads: NDArray[np.float32]
    edema_maps: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Measured:
    """Measured signs of all levels by name, NaN where there are none, and their height losses."""

    signs: dict[str, NDArray[np.float64]]
    losses: list[HeightLoss | None]


class Scorer:
    """Scores every level of a study.

    Args:
        session: The opened network: inputs "crops" and "presence", outputs "edema_map" and
            "heads".
        metadata: The bundle's metadata document.

    Raises:
        BundleError: The metadata lacks what calls are made from.
    """

    def __init__(self, session: Session, metadata: Mapping[str, Any]) -> None:
        self._session = session
        self._calibration: ScorerCalibration = read_calibration(metadata)

    def __call__(self, study: StudyVolumes, localisation: Localisation) -> Scores:
        """Score a study.

        Args:
            study: The chosen volumes; any subset of roles.
            localisation: Bodies on the grid of `study.reference`.

        Returns:
            One finding per vertebra, the edema map on the reference grid, and what is withheld.
        """
        if not localisation.vertebrae:
            return Scores((), None)
        crops = extract_crops(study, localisation)
        if not crops.channels:
            return self._without_signal(localisation)
        answers = self._ask(crops)
        fluid = "fluid" in crops.channels
        edema_map, extents = _paste(localisation, crops, answers.edema_maps, self._calibration)
        measured = self._measure(localisation, crops, answers)
        levels = tuple(
            self._findings(level, crops, localisation, answers, measured, extents)
            for level in range(len(localisation.vertebrae))
        )
        abstentions = _abstentions(localisation, crops)
        return Scores(
            levels,
            edema_map if fluid else None,
            abstentions,
            edema_threshold=self._calibration.map_threshold,
        )

    def _ask(self, crops: LevelCrops) -> _Answers:
        outputs = self._session.run({"crops": crops.array, "presence": crops.presence})
        heads = outputs["heads"]
        maps = 1.0 / (1.0 + np.exp(-np.clip(outputs["edema_map"][:, 0], -30.0, 30.0)))
        return _Answers(self._calibration.probabilities(heads), heads, maps.astype(np.float32))

    def _measure(
        self, localisation: Localisation, crops: LevelCrops, answers: _Answers
    ) -> _Measured:
        point = self._calibration.operating_points["fracture"]
        intact = [point.call(float(p)) is Call.ABSENT for p in answers.probability["fracture"]]
        judged = [vertebra.level != SACRUM for vertebra in localisation.vertebrae]
        losses = height_losses(
            localisation.vertebrae, intact, self._calibration.reference_heights_mm
        )
        contrast = measure_contrast(crops, judged, self._calibration.contrast)
        signs = measure_signs(crops, localisation, contrast) | height_signs(losses)
        return _Measured(signs, losses)

    def _findings(
        self,
        level: int,
        crops: LevelCrops,
        localisation: Localisation,
        answers: _Answers,
        measured: _Measured,
        extents: NDArray[np.float64],
    ) -> LevelFindings:
        vertebra = localisation.vertebrae[level]
        if vertebra.level == SACRUM:
            return LevelFindings(vertebra, None, None, None, None)
        points = self._calibration.operating_points
        chance = {name: float(values[level]) for name, values in answers.probability.items()}
        edema = fracture = acuity = etiology = None
        group = sequence_set(crops.presence[level])
        fluid = crops.channels.get("fluid")
        if fluid is not None:
            limits = fluid.volume.limits
            if vertebra.coverage is Coverage.PARTIAL:
                limits = (*limits, calls.LIMIT_PARTLY_COVERED)
            edema = calls.weigh_contrast(
                calls.call_edema(chance["edema"], float(extents[level]), points["edema"], limits),
                float(measured.signs["bright_fraction"][level]),
                self._calibration.contrast,
            )
        if vertebra.coverage is Coverage.COMPLETE:
            shapes = _shape_scores(answers.heads[level])
            loss = measured.losses[level]
            fracture = calls.call_fracture(chance["fracture"], shapes, loss, points["fracture"])
        if edema is not None and fracture is not None:
            acuity = calls.call_acuity(chance["unhealed"], edema, fracture, points["unhealed"])
            limits = edema.limited_by
            if group == "fluid_only":
                limits = (*limits, calls.LIMIT_T1_MISSING)
            present = Call.PRESENT in (edema.call, fracture.call)
            etiology = calls.call_etiology(
                chance["pathological"], group, self._calibration, limits, applicable=present
            )
        statistics = distribution_statistics(crops.array[level], crops.presence[level])
        return LevelFindings(
            vertebra=vertebra,
            edema=edema,
            fracture=fracture,
            acuity=acuity,
            etiology=etiology,
            features=_features(level, chance, measured, asked=fluid is not None),
            mimics=_mimics(chance, asked=fluid is not None),
            in_distribution=within(statistics, self._calibration.bounds),
        )

    def _without_signal(self, localisation: Localisation) -> Scores:
        """No series shows any of the bodies: nothing can be said of them."""
        levels = tuple(
            LevelFindings(vertebra, None, None, None, None, in_distribution=False)
            for vertebra in localisation.vertebrae
        )
        reason = "No series has signal where the bodies lie."
        return Scores(levels, None, (Abstention("no_signal_in_bodies", "levels", reason),))


def _shape_scores(heads: NDArray[np.float32]) -> dict[Shape, float]:
    return {Shape(name): float(heads[HEADS.index(f"shape_{name}")]) for name in SHAPES}


def _mimics(chance: Mapping[str, float], *, asked: bool) -> dict[str, float]:
    """Probability of each mimic; without a fluid-sensitive series only cement is asked for."""
    names = MIMICS if asked else ("cement",)
    return {name: chance[f"mimic_{name}"] for name in names}


def _features(
    level: int, chance: Mapping[str, float], measured: _Measured, *, asked: bool
) -> dict[str, Feature]:
    """Learned signs with a probability, where they are asked; measured ones with value and unit."""
    features = {}
    if asked:
        features = {name: Feature(probability=chance[f"sign_{name}"]) for name in SIGNS}
    for name, value in of_level(measured.signs, level).items():
        features[name] = Feature(value=round(value, 3), unit=UNITS[name])
    return features


def _abstentions(localisation: Localisation, crops: LevelCrops) -> tuple[Abstention, ...]:
    said: list[Abstention] = []
    if "fluid" not in crops.channels:
        said.extend(calls.NO_FLUID)
    elif sequence_set(crops.presence[0]) == "fluid_only":
        said.append(calls.T1_MISSING)
    if any(vertebra.level == SACRUM for vertebra in localisation.vertebrae):
        said.append(calls.SACRUM_NOT_SCORED)
    said.extend(
        Abstention(
            calls.LIMIT_PARTLY_COVERED,
            vertebra.level or f"body {vertebra.index}",
            "The body is cut by the edge of the volume: edema, shape and healing are not judged.",
        )
        for vertebra in localisation.vertebrae
        if vertebra.coverage is Coverage.PARTIAL and vertebra.level != SACRUM
    )
    return tuple(said)


def _paste(
    localisation: Localisation,
    crops: LevelCrops,
    edema_maps: NDArray[np.float32],
    calibration: ScorerCalibration,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Bring each crop's edema map home to its own body on the reference grid.

    Returns:
        (slice, row, column) float32 probability, zero outside bodies; and per level the part of
        the body above the bundle's map threshold.
    """
    labels = localisation.labels
    whole = np.zeros(labels.shape, dtype=np.float32)
    extents = np.zeros(len(crops.array))
    halving = np.diag([1.0, 0.5, 0.5, 1.0])
    halving[1:3, 3] = -0.25
    for level, vertebra in enumerate(localisation.vertebrae):
        if vertebra.level == SACRUM or vertebra.index not in crops.boxes:
            continue
        voxels = body_voxels(labels, vertebra.index, crops.boxes[vertebra.index])
        to_map = halving @ np.linalg.inv(crops.affines[level]) @ localisation.affine
        value, inside = sample_points(edema_maps[level], to_lps(to_map, voxels))
        value[~inside] = 0.0
        whole[tuple(voxels.T)] = value
        extents[level] = float((value >= calibration.map_threshold).mean())
    return whole, extents
