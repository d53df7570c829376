"""Labelled studies as level crops on disk, made by the very code that serves: read, localise, crop.

One file a study in the format of `training.scorer.cache`, named by what it is made of, so that a
second run, a changed label or another localiser finds or remakes what it needs.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.findings import Coverage, Localisation
from models.localiser.localiser import Localiser
from models.registry import Bundle
from models.runtime import CpuOptions, open_session
from models.scorer.crops import CROP_SHAPE, extract_crops
from models.scorer.heads import HEADS, MIMICS, SHAPES
from service.pipeline import Read, reader
from service.settings import Settings
from training.datasets.agreement import consensus
from training.datasets.manifest import Manifest
from training.datasets.mask_images import image_stem
from training.datasets.rows import NOT_SCORED, LabelRow, Labels
from training.judging.cases import TASKS, truth_of
from training.judging.reading import matching
from training.scorer.cache import LevelSet, packed, save_levels
from training.scorer.targets import UNKNOWN

MAP_UNKNOWN: Final = "map_unknown"
"""Fact of a level whose edema was called and not outlined."""

Labelled = list[tuple[LabelRow, Labels]]


def fill_levels(
    manifest: Manifest,
    localiser: Bundle,
    cache: Path,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, int]:
    """Make the crops of every study of a manifest that are not there yet.

    Args:
        manifest: Rows of one part.
        localiser: Finds the bodies, as in service.
        cache: Receives `case-<digest>.npz`; files of no study of the manifest are removed.
        progress: Told how many studies are done, of how many.

    Returns:
        What became of studies and levels: "studies", "levels", and what was left out by code.
    """
    cache.mkdir(parents=True, exist_ok=True)
    by_study: dict[str, Labelled] = defaultdict(list)
    for row, labels in consensus(manifest.rows).values():
        by_study[row.study_instance_uid].append((row, labels))
    localise = Localiser(open_session(localiser, "cpu", CpuOptions()), localiser.metadata)
    read = reader(Settings())
    counts: dict[str, int] = defaultdict(int)
    wanted = set()
    for done, labelled in enumerate(by_study.values()):
        progress(done, len(by_study))
        path = cache / f"case-{_digest(labelled, localiser)}.npz"
        wanted.add(path.name)
        if not path.exists():
            made = _made(manifest, labelled, localise, read, counts)
            if made is None:
                continue
            save_levels(path, made)
        counts["studies"] += 1
        with np.load(path, allow_pickle=False) as stored:
            counts["levels"] += len(stored["targets"])
    for path in cache.glob("case-*.npz"):
        if path.name not in wanted:
            path.unlink()
    progress(len(by_study), len(by_study))
    return dict(counts)


def _digest(labelled: Labelled, localiser: Bundle) -> str:
    told = [row.study_sha256 for row, _ in labelled[:1]] + [localiser.sha256]
    told += sorted(f"{row.level} {row.centre_lps_mm} {labels}" for row, labels in labelled)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:20]


def _made(
    manifest: Manifest, labelled: Labelled, localise: Localiser, read: Read, counts: dict[str, int]
) -> LevelSet | None:
    path = manifest.study_path(labelled[0][0])
    volumes = None if image_stem(path) is not None else read(path).volumes
    if volumes is None:
        counts["study_unread"] += 1
        return None
    localisation = localise(volumes)
    places = [
        (matching(row, localisation.vertebrae), labels)
        for row, labels in labelled
        if row.level != NOT_SCORED
    ]
    kept = [(place, labels) for place, labels in places if _usable(place, localisation, counts)]
    crops = extract_crops(volumes, localisation) if kept else None
    if crops is None or not crops.channels:
        return None
    numbers = [place for place, _ in kept if place is not None]
    slices, rows, columns = CROP_SHAPE
    roles = "+".join(sorted(volumes.by_role))
    return LevelSet(
        crops=packed(crops.array[numbers]),
        presence=crops.presence[numbers],
        edema_map=np.zeros((len(numbers), slices, rows // 2, columns // 2), np.uint8),
        targets=np.stack([label_targets(labels) for _, labels in kept]),
        about=tuple(_about(localisation, number, roles) for number in numbers),
    )


def _usable(place: int | None, localisation: Localisation, counts: dict[str, int]) -> bool:
    if place is None:
        counts["body_not_found"] += 1
        return False
    if localisation.vertebrae[place].coverage is not Coverage.COMPLETE:
        counts["body_cut"] += 1
        return False
    return True


def label_targets(labels: Labels) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(len(HEADS),) answers that labels give; `UNKNOWN` for every question they leave open."""
    answers = dict.fromkeys(HEADS, float(UNKNOWN))
    answers |= {task: value for task, value in truth_of(labels).items() if task in TASKS}
    for mimic in MIMICS:
        said = getattr(labels, f"mimic_{mimic}", None)
        if said is not None:
            answers[f"mimic_{mimic}"] = float(said)
    if labels.shape is not None:
        answers |= {f"shape_{shape}": float(labels.shape == shape) for shape in SHAPES}
    if labels.height_loss_percent is not None:
        answers["height_loss"] = labels.height_loss_percent / 100.0
    return np.array([answers[name] for name in HEADS], dtype=np.float32)


def _about(localisation: Localisation, number: int, roles: str) -> dict[str, object]:
    level = localisation.vertebrae[number].level
    return {"level": level, "sequence_set": roles, MAP_UNKNOWN: True}
