"""Judged levels drawn by chance, with a known strength of the model."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.findings import Call
from training.judging.cases import FACTS, TASKS, Judged, gathered

LEVELS = 6


def drawn(
    patients: int = 60,
    *,
    seed: int = 0,
    strength: float = 2.5,
    shift: float = 0.0,
    scale: float = 1.0,
    noise_seed: int | None = None,
) -> Judged:
    """Levels whose logit is the honest log odds, then scaled and shifted.

    The same `seed` gives the same truth; `noise_seed` another model's answers to it.
    """
    truth_rng = np.random.default_rng(seed)
    rng = np.random.default_rng(seed + 1000 if noise_seed is None else noise_seed)
    rows: list[dict[str, Any]] = []
    for patient in range(patients):
        for level in range(LEVELS):
            truth = {task: float(truth_rng.random() < 0.3) for task in TASKS}
            # Two unit normals `strength` apart have the log odds strength * (x - strength / 2).
            odds = {
                task: strength * (rng.normal(truth[task] * strength, 1.0) - strength / 2)
                + np.log(0.3 / 0.7)
                for task in TASKS
            }
            logit = {task: scale * value + shift for task, value in odds.items()}
            chance = {task: float(1 / (1 + np.exp(-value))) for task, value in logit.items()}
            facts = dict.fromkeys(FACTS, "unknown")
            facts |= {"sex": "F" if patient % 2 else "M", "grade": f"grade {level % 3}"}
            rows.append(
                {
                    "patient": f"p{patient}",
                    "study": f"s{patient}",
                    "level": f"L{level}",
                    "found": True,
                    "named": True,
                    "truth": truth,
                    "logit": logit,
                    "probability": chance,
                    "call": {task: called(chance[task]) for task in TASKS},
                    "etiology_set": "pathological"
                    if chance["pathological"] > 0.9
                    else "benign"
                    if chance["pathological"] < 0.1
                    else "benign+pathological",
                    "group": "fluid_only",
                    "facts": facts,
                }
            )
    return gathered(rows)


def called(probability: float) -> Call:
    """A call at 0.5, undecided close to it."""
    if abs(probability - 0.5) < 0.05:
        return Call.INDETERMINATE
    return Call.PRESENT if probability > 0.5 else Call.ABSENT
