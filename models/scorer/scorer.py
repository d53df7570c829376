"""The scorer: bodies and series in, findings per level out.

scorer = Scorer(open_session(bundle), bundle.manifest.metadata)
scores = scorer(study_volumes, localisation)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import (
    Abstention,
    Call,
    Coverage,
    Edema,
    Etiology,
    Feature,
    Fracture,
    LevelFindings,
    Localisation,
    Scores,
    Shape,
    StudyVolumes,
)
from models.runtime import Session
from models.scorer import calls
from models.scorer.agreement import disagreements
from models.scorer.calibration import FLUID_ONLY, ScorerCalibration, read_calibration, sequence_set
from models.scorer.combination import MAP_COLUMNS, combination_table, map_shares
from models.scorer.contrast import measure_contrast
from models.scorer.crops import LevelCrops, extract_crops
from models.scorer.distribution import distribution_score, distribution_statistics
from models.scorer.extent import Extent, extent_features
from models.scorer.heads import HEADS, MIMICS, SHAPES, SIGNS
from models.scorer.maps import painted, to_own_scale, values_in_bodies
from models.scorer.measurements import HeightLoss, height_losses
from models.scorer.roles import roles_contradicted
from models.scorer.signs import (
    UNITS,
    height_loss_percent,
    height_signs,
    measure_signs,
    of_level,
)
from models.volume import FLUID_SENSITIVE, Role

SACRUM: Final = "S1"

_NO_ANSWERS: Final = np.zeros((0, len(HEADS)), np.float32)


@dataclass(frozen=True, slots=True)
class _Answers:
    """The network's answers for all levels of a study.

    Attributes:
        heads: (level, len(HEADS)) raw.
        maps: (level, slice, row / 2, column / 2, 1 or 2) probability of edema, and what speaks for
            a pathological cause where the bundle tells.
    """

    heads: NDArray[np.float32]
    maps: NDArray[np.float32]

    @staticmethod
    def joined(parts: Sequence[_Answers]) -> _Answers:
        """Answers for the levels of all parts, in their order."""
        return _Answers(
            np.concatenate([part.heads for part in parts]),
            np.concatenate([part.maps for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is measured of all levels.

    Attributes:
        signs: By name, NaN where there are none.
        losses: Of height.
        oddness: How far each level's images lie from those the model knows; 1 is the border.
    """

    signs: dict[str, NDArray[np.float64]]
    losses: list[HeightLoss | None]
    oddness: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    """What findings are made from.

    Attributes:
        heads: (level, len(HEADS)) answers, weighed with the measured signs where the bundle can.
        probability: The same, calibrated, by head name.
        extents: Level to its edematous part, where edema was looked for.
        height_losses: (level,) percent; None where the measured ones stand.
    """

    heads: NDArray[np.float32]
    probability: dict[str, NDArray[np.float64]]
    extents: dict[int, Extent]
    height_losses: NDArray[np.float64] | None


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
        return self.score(study, localisation)[0]

    def score(
        self, study: StudyVolumes, localisation: Localisation
    ) -> tuple[Scores, NDArray[np.float32]]:
        """Score a study, as a call does, and tell what was answered before calibration.

        Returns:
            The scores, and (level, len(HEADS)) answers; none of them where nothing was asked.
        """
        if not localisation.vertebrae:
            return Scores((), None), _NO_ANSWERS
        with ThreadPoolExecutor(1, "scorer") as beside:
            # The runtime lets go of the interpreter: cutting and measuring cost no time beside it.
            crops, asked = self._begin(study, localisation, beside)
            contradicted = roles_contradicted(crops, localisation)
            if contradicted:
                crops, asked = self._begin(_without_contradicted(study), localisation, beside)
            if not crops.channels:
                withheld = calls.ROLES_CONTRADICTED if contradicted else (_NO_SIGNAL,)
                return self._without_answers(localisation, withheld), _NO_ANSWERS
            signs = self._signs(localisation, crops)
            oddness = self._oddness(crops)
            answers = _Answers.joined([part.result() for part in asked])
        fluid = "fluid" in crops.channels
        judged = [
            level for level, each in enumerate(localisation.vertebrae) if each.level != SACRUM
        ]
        seen = values_in_bodies(localisation, crops, answers.maps, judged)
        wet = {level: (voxels, values[:, 0]) for level, (voxels, values) in seen.items()}
        measured = self._measure(localisation, signs, answers, oddness)
        maps = {level: values for level, (_, values) in wet.items()}
        said = self._judge(crops, answers, measured, maps)
        levels = tuple(
            self._findings(level, crops, localisation, said, measured)
            for level in range(len(localisation.vertebrae))
        )
        scores = Scores(
            levels,
            painted(localisation.labels.shape, wet) if fluid else None,
            _abstentions(localisation, crops, contradicted=contradicted),
            edema_threshold=self._calibration.map_threshold,
            evidence_map=_evidence_map(localisation.labels.shape, seen, levels),
        )
        return scores, said.heads

    def _judge(
        self,
        crops: LevelCrops,
        answers: _Answers,
        measured: _Measured,
        maps: Mapping[int, NDArray[np.float32]],
    ) -> _Judged:
        """Weigh answers with measured signs, calibrate, and read extents from the edema map."""
        combination, heads = self._calibration.combination, answers.heads
        lines = heights = None
        if combination is not None:
            shares = np.full((len(heads), len(MAP_COLUMNS)), np.nan)
            if "fluid" in crops.channels:
                for level, values in maps.items():
                    shares[level] = map_shares(values)
            signs = measured.signs | {"height_loss": height_loss_percent(measured.losses)}
            table = combination_table(heads, shares, crops.presence, signs)
            heads, lines = combination.answers(heads, table), combination.extents(table)
            heights = combination.height_losses(table)
        extents = {
            level: self._extent(values, None if lines is None else lines[level])
            for level, values in maps.items()
        }
        return _Judged(heads, self._calibration.probabilities(heads), extents, heights)

    def _extent(
        self, probability: NDArray[np.float32], lines: NDArray[np.float64] | None
    ) -> Extent:
        """Extent of a body: by the combination's lines, the model's own, or a threshold."""
        model = self._calibration.extent
        if model is None:
            return Extent(float((probability >= self._calibration.map_threshold).mean()))
        return model.bounded(model.lines(extent_features(probability)) if lines is None else lines)

    def _begin(
        self, study: StudyVolumes, localisation: Localisation, beside: Executor
    ) -> tuple[LevelCrops, list[Future[_Answers]]]:
        """Cut crops, and put the first to the network while the others are being cut."""
        asked: list[Future[_Answers]] = []
        crops = extract_crops(
            study,
            localisation,
            lambda array, presence: asked.append(beside.submit(self._ask, array, presence)),
        )
        return crops, asked

    def _ask(self, array: NDArray[np.float32], presence: NDArray[np.float32]) -> _Answers:
        outputs = self._session.run({"crops": array, "presence": presence})
        heads = outputs["heads"]
        maps = 1.0 / (1.0 + np.exp(-np.clip(outputs["edema_map"][:, 0], -30.0, 30.0)))
        evidence = outputs.get("evidence")
        each = (maps,) if evidence is None else (maps, evidence[:, 0])
        return _Answers(heads, np.stack(each, axis=-1).astype(np.float32, copy=False))

    def _signs(
        self, localisation: Localisation, crops: LevelCrops
    ) -> dict[str, NDArray[np.float64]]:
        judged = [vertebra.level != SACRUM for vertebra in localisation.vertebrae]
        contrast = measure_contrast(crops, judged, self._calibration.contrast)
        return measure_signs(crops, localisation, contrast)

    def _oddness(self, crops: LevelCrops) -> tuple[float, ...]:
        return tuple(
            distribution_score(distribution_statistics(crop, presence), self._calibration.bounds)
            for crop, presence in zip(crops.array, crops.presence, strict=True)
        )

    def _measure(
        self,
        localisation: Localisation,
        signs: dict[str, NDArray[np.float64]],
        answers: _Answers,
        oddness: tuple[float, ...],
    ) -> _Measured:
        """Signs and heights; bodies that look intact are what heights are compared with."""
        intact = self._calibration.is_intact(answers.heads)
        losses = height_losses(
            localisation.vertebrae, intact.tolist(), self._calibration.reference_heights_mm
        )
        return _Measured(signs | height_signs(losses), losses, oddness)

    def _findings(
        self,
        level: int,
        crops: LevelCrops,
        localisation: Localisation,
        judged: _Judged,
        measured: _Measured,
    ) -> LevelFindings:
        vertebra = localisation.vertebrae[level]
        if vertebra.level == SACRUM:
            return LevelFindings(vertebra, None, None, None, None)
        points = self._calibration.operating_points
        chance = {name: float(values[level]) for name, values in judged.probability.items()}
        edema = fracture = acuity = etiology = None
        group = sequence_set(crops.presence[level])
        fluid = crops.channels.get("fluid")
        if fluid is not None:
            limits = fluid.volume.limits
            if vertebra.coverage is Coverage.PARTIAL:
                limits = (*limits, calls.LIMIT_PARTLY_COVERED)
            if chance["mimic_cement"] >= calls.CEMENTED:
                limits = (*limits, calls.LIMIT_CEMENT)
            extent = judged.extents.get(level, Extent(0.0))
            edema = calls.weigh_contrast(
                calls.call_edema(chance["edema"], extent, points["edema"], limits),
                float(measured.signs["bright_fraction"][level]),
                self._calibration.contrast,
            )
        if vertebra.coverage is Coverage.COMPLETE:
            shapes = _shape_scores(judged.heads[level])
            fracture = calls.call_fracture(
                chance["fracture"], shapes, _percent(level, measured, judged), points["fracture"]
            )
        if edema is not None and fracture is not None:
            members = self._calibration.acuity_set(chance["unhealed"], chance["fracture"], group)
            acuity = calls.call_acuity(
                chance["unhealed"], edema, fracture, points["unhealed"], members
            )
            limits = edema.limited_by
            if group == FLUID_ONLY:
                limits = (*limits, calls.LIMIT_T1_MISSING)
            etiology = calls.call_etiology(
                chance["pathological"],
                group,
                self._calibration,
                limits,
                asked=calls.surer(edema.call, fracture.call),
            )
        oddness = measured.oddness[level]
        findings = LevelFindings(
            vertebra=vertebra,
            edema=edema,
            fracture=fracture,
            acuity=acuity,
            etiology=etiology,
            features=_features(level, chance, measured, asked=fluid is not None),
            mimics=_mimics(chance, asked=fluid is not None),
            in_distribution=oddness <= 1.0,
            distribution_score=round(oddness, 3) if isfinite(oddness) else None,
        )
        if fluid is None:
            return findings
        return replace(
            findings,
            disagreements=self._disagreements(findings, measured.losses[level]),
            safety=self._safety(chance),
        )

    def _disagreements(self, findings: LevelFindings, loss: HeightLoss | None) -> tuple[str, ...]:
        """Contradictions of calls and measured signs."""
        said = {name: part.call for name, part in _binary_calls(findings).items()}
        etiology = findings.etiology
        if etiology is not None and etiology.call in _AS_CALL:
            said["pathological"] = _AS_CALL[etiology.call]
        wall = findings.features["convex_posterior_border"].probability
        if wall is not None:
            said["convex_posterior_border"] = _confident(wall)
        measured = {
            name: feature.value
            for name, feature in findings.features.items()
            if feature.value is not None
        }
        if loss is not None:
            measured["height_loss"] = loss.percent
        return disagreements(self._calibration.agreements, said, measured)

    def _safety(self, chance: Mapping[str, float]) -> tuple[str, ...]:
        point = self._calibration.operating_points.get("discitis")
        if point is None or point.call(chance["mimic_discitis"]) is Call.ABSENT:
            return ()
        return (calls.SAFETY_DISCITIS,)

    def _without_answers(
        self, localisation: Localisation, withheld: tuple[Abstention, ...]
    ) -> Scores:
        """No series can be used: nothing can be said of the bodies."""
        levels = tuple(
            LevelFindings(vertebra, None, None, None, None, in_distribution=False)
            for vertebra in localisation.vertebrae
        )
        return Scores(levels, None, withheld)


_NO_SIGNAL: Final = Abstention(
    "no_signal_in_bodies", "levels", "No series has signal where the bodies lie."
)


def _without_contradicted(study: StudyVolumes) -> StudyVolumes:
    """The study without its fluid-sensitive series and T1: which of them is wrong is not known."""
    doubted = {*FLUID_SENSITIVE, Role.T1}
    kept = {name: volume for name, volume in study.by_role.items() if volume.role not in doubted}
    return replace(study, by_role=kept)


def _percent(level: int, measured: _Measured, judged: _Judged) -> float | None:
    """Height loss of a body, weighed with what the network sees; None where none was measured."""
    loss = measured.losses[level]
    if loss is None:
        return None
    return loss.percent if judged.height_losses is None else float(judged.height_losses[level])


_AS_CALL: Final = {Etiology.PATHOLOGICAL: Call.PRESENT, Etiology.BENIGN: Call.ABSENT}
_CONFIDENT: Final = 0.9
"""A sign is held against its measure from this probability on, or below what is left of 1."""


def _binary_calls(findings: LevelFindings) -> dict[str, Edema | Fracture]:
    parts = {"edema": findings.edema, "fracture": findings.fracture}
    return {name: part for name, part in parts.items() if part is not None}


def _confident(probability: float) -> Call:
    if probability >= _CONFIDENT:
        return Call.PRESENT
    return Call.ABSENT if probability <= 1.0 - _CONFIDENT else Call.INDETERMINATE


def _evidence_map(
    shape: tuple[int, ...],
    seen: Mapping[int, tuple[NDArray[np.int64], NDArray[np.float32]]],
    levels: Sequence[LevelFindings],
) -> NDArray[np.float32] | None:
    """Evidence on etiology of the bodies whose etiology is judged; None without any."""
    told = {
        level: (voxels, values[:, 1])
        for level, (voxels, values) in seen.items()
        if values.shape[1] > 1 and _etiology_judged(levels[level])
    }
    return painted(shape, to_own_scale(told)) if told else None


def _etiology_judged(findings: LevelFindings) -> bool:
    etiology = findings.etiology
    return etiology is not None and etiology.pathological_probability is not None


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


def _abstentions(
    localisation: Localisation, crops: LevelCrops, *, contradicted: bool
) -> tuple[Abstention, ...]:
    said: list[Abstention] = []
    if contradicted:
        said.extend(calls.ROLES_CONTRADICTED)
    elif "fluid" not in crops.channels:
        said.extend(calls.NO_FLUID)
    elif sequence_set(crops.presence[0]) == FLUID_ONLY:
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
