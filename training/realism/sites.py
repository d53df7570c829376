"""Real against real: how well crops of one data set are told from those of another.

Two scanners differ without either being wrong. What the classifier reaches between two sets of
real scans is what a phantom drawn from other protocols could at best be told by.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.realism.crops import Crops
from training.realism.detector import Clue, Detection, detect_by_features
from training.realism.features import feature_table

FEWEST_PATIENTS: Final = 2
"""Per data set: cross-validation by patient needs one to learn from and one to judge."""

CLUES_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class SitePair:
    """Two data sets of real scans of one kind of sequence.

    Attributes:
        names: Of the data sets.
        patients: Of each.
        detection: How well the crops were told apart.
        clues: By what, worst first; `phantom` holds the first data set's figures.
    """

    names: tuple[str, str]
    patients: tuple[int, int]
    detection: Detection
    clues: list[Clue]


def site_pairs(crops: Crops) -> list[SitePair]:
    """Every two data sets with at least `FEWEST_PATIENTS` patients each; phantoms are left out.

    Args:
        crops: Of one kind of sequence; patients are named data set, underscore, patient.
    """
    sites = np.array([str(patient).split("_")[0] for patient in crops.patients])
    counts = {
        str(site): len(np.unique(crops.patients[crops.real & (sites == site)]))
        for site in np.unique(sites[crops.real])
    }
    enough = [site for site, count in counts.items() if count >= FEWEST_PATIENTS]
    return [
        _pair(crops, sites, names, (counts[names[0]], counts[names[1]]))
        for names in combinations(enough, 2)
    ]


def as_line(pair: SitePair) -> str:
    """A pair in one line of text."""
    (first, second), (few, many) = pair.names, pair.patients
    low, high = pair.detection.interval
    told = ", ".join(clue.name for clue in pair.clues[:CLUES_NAMED])
    return (
        f"  real {first} ({few} patients) against real {second} ({many}): AUROC by features "
        f"{pair.detection.auroc:.3f} ({low:.3f}-{high:.3f}), by {told}"
    )


def as_mapping(pair: SitePair) -> dict[str, Any]:
    """The same for machines."""
    return {
        "names": pair.names,
        "patients": pair.patients,
        "auroc": pair.detection.auroc,
        "interval": pair.detection.interval,
        "clues": [clue.name for clue in pair.clues[:CLUES_NAMED]],
    }


def _pair(
    crops: Crops, sites: NDArray[np.str_], names: tuple[str, str], patients: tuple[int, int]
) -> SitePair:
    chosen = crops.real & np.isin(sites, names)
    # The detector tells "real" from the rest: here the second data set from the first.
    relabelled = Crops(
        crops.images[chosen],
        sites[chosen] == names[1],
        crops.patients[chosen],
        crops.names[chosen],
    )
    detection, found = detect_by_features(relabelled, *feature_table(relabelled.images))
    return SitePair(names, patients, detection, found)
