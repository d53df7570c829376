"""The scorer alone at its largest: 18 levels, four series, crops and measured signs included.

    python -m tests.benchmark.scorer [--bundle DIR] [--threads N]

The exit code is 1 when two runs differ in a bit.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.findings import (
    Anchor,
    BodySize,
    Coverage,
    LevelName,
    Localisation,
    Scores,
    StudyVolumes,
    Vertebra,
)
from models.geometry import Affine
from models.localiser.classes import Structure
from models.registry import read_bundle, resolve
from models.runtime import CpuOptions, open_session
from models.scorer.crops import CHANNELS, CROP_SHAPE, PRESENCE
from models.scorer.scorer import Scorer
from models.volume import Role, Volume

NAMES = (*(f"T{number}" for number in range(1, 13)), "L1", "L2", "L3", "L4", "L5", "L6")
ROLES = (Role.DIXON_WATER, Role.T1, Role.T2, Role.DIXON_FAT)
SHAPE = (15, 640, 320)
PITCH_MM = (4.4, 0.9, 0.8)
STEP_ROWS, HALF = 34, (5, 13, 20)
"""Rows from body to body, and half their size in voxels."""


@dataclass(frozen=True, slots=True)
class ScorerTime:
    """Median of the runs, in seconds, and whether all gave the same bits."""

    wall_s: float
    cpu_s: float
    network_s: float
    levels: int
    same_bits: bool


def time_scorer(bundle: Path | None, threads: int, repeats: int = 7) -> ScorerTime:
    """Score the same study several times.

    Args:
        bundle: Folder of a bundle; None for the served one.
        threads: Of the runtime.
        repeats: Timed runs, after one that is not.
    """
    opened = read_bundle(bundle) if bundle else resolve("scorer")
    session = open_session(opened, "cpu", CpuOptions(threads=threads))
    scorer = Scorer(session, opened.metadata)
    study, localisation = long_spine()
    scorer(study, localisation)
    walls, cpus, answers = [], [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        scores = scorer(study, localisation)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        answers.append(fingerprint(scores))
    crops = np.zeros((len(NAMES), len(CHANNELS), *CROP_SHAPE), np.float32)
    presence = np.ones((len(NAMES), len(PRESENCE)), np.float32)
    alone = []
    for _ in range(repeats):
        start = time.perf_counter()
        session.run({"crops": crops, "presence": presence})
        alone.append(time.perf_counter() - start)
    same = len(set(answers)) == 1
    medians = (float(np.median(times)) for times in (walls, cpus, alone))
    return ScorerTime(*medians, levels=len(NAMES), same_bits=same)


def fingerprint(scores: Scores) -> bytes:
    """Every number of the answer, bit for bit."""
    numbers = [repr((level.edema, level.fracture, level.features)) for level in scores.levels]
    maps = [m.tobytes() for m in (scores.edema_map, scores.evidence_map) if m is not None]
    return "".join(numbers).encode() + b"".join(maps)


def long_spine() -> tuple[StudyVolumes, Localisation]:
    """Bricks of marrow in a line, a third of them bright and dark as edema is, noise over all."""
    affine = _affine()
    labels = np.zeros(SHAPE, np.uint8)
    structures = np.zeros(SHAPE, np.uint8)
    structures[4:11, :, 185:205] = Structure.CANAL
    vertebrae = []
    for number, name in enumerate(NAMES, start=1):
        row = STEP_ROWS * number - 10
        body = _box((SHAPE[0] // 2, row, 160), HALF)
        labels[body], structures[body] = number, Structure.BODY
        structures[_box((SHAPE[0] // 2, row + 17, 160), (5, 3, 18))] = Structure.DISC
        structures[_box((SHAPE[0] // 2, row, 215), (3, 8, 8))] = Structure.POSTERIOR_ELEMENTS
        vertebrae.append(_vertebra(number, name, affine @ (SHAPE[0] // 2, row, 160, 1)))
    rng = np.random.default_rng(0)
    volumes = {role: _volume(role, labels, affine, rng) for role in ROLES}
    found = Localisation(labels, affine, tuple(vertebrae), Anchor.SACRUM, structures)
    return StudyVolumes(volumes[ROLES[0]], {role.value: v for role, v in volumes.items()}), found


def _box(middle: tuple[int, int, int], half: tuple[int, int, int]) -> tuple[slice, ...]:
    return tuple(slice(m - h, m + h) for m, h in zip(middle, half, strict=True))


def _affine() -> Affine:
    affine = np.zeros((4, 4))
    affine[:3, :3] = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]) * np.array(PITCH_MM)
    affine[3, 3] = 1.0
    return affine


def _volume(
    role: Role, labels: NDArray[np.uint8], affine: Affine, rng: np.random.Generator
) -> Volume:
    image = np.where(labels > 0, 100.0, 70.0) * rng.normal(1.0, 0.08, labels.shape)
    gain = 1.8 if role is Role.DIXON_WATER else 0.6
    image[(labels > 0) & (labels % 3 == 0)] *= gain
    return Volume(np.maximum(image, 0.0).astype(np.float32), affine.copy(), role)


def _vertebra(number: int, name: str, centre: NDArray[np.float64]) -> Vertebra:
    return Vertebra(
        index=number,
        name=LevelName(name, 0.9),
        alternatives=(),
        coverage=Coverage.COMPLETE,
        centroid_lps_mm=centre[:3],
        axes_lps=np.eye(3),
        size=BodySize(30.0, 32.0, 44.0, 23.4, 23.4, 23.4),
        confidence=0.9,
    )


def scorer_text(found: ScorerTime) -> str:
    """One line for the table."""
    bits = "the same bits every time" if found.same_bits else "DIFFERENT BITS between runs"
    return (
        f"scorer alone, {found.levels} levels x {len(ROLES)} series: {found.wall_s * 1000:.0f} ms "
        f"({found.cpu_s * 1000:.0f} CPU-ms; network alone {found.network_s * 1000:.0f} ms), {bits}"
    )


def main() -> int:
    """Print the line; 1 when runs differ."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    found = time_scorer(given.bundle, given.threads)
    sys.stdout.write(scorer_text(found) + "\n")
    return 0 if found.same_bits else 1


if __name__ == "__main__":
    sys.exit(main())
