"""Levels held in memory as bytes, and the batches drawn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.crops import CHANNELS, PRESENCE
from models.scorer.distribution import FLUID_ROLES
from models.scorer.heads import BINARY_HEADS
from training.scorer.cache import load_levels, unpacked
from training.scorer.targets import UNKNOWN, without_fluid

FAINTEST_CONTRAST: Final = 0.25
"""Contrast of edema to the marrow around it, log signal, under which no reader would call it. The
question is not asked there: a network made to answer it calls every slightly bright body."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step sees; arrays as in `LevelSet`, unpacked.

    Attributes:
        counts: (batch, 1, slice, row / 2, column / 2): where the edema map is judged.
    """

    crops: NDArray[np.float32]
    presence: NDArray[np.float32]
    targets: NDArray[np.float32]
    edema_map: NDArray[np.float32]
    counts: NDArray[np.float32]


@dataclass(slots=True)
class LevelPool:
    """All levels of a cache folder, or of some of its cases. `refresh` reads files that are new.

    Attributes:
        folder: Of `training.scorer.cache`.
        part: "train", "validation" (one case in twelve) or "all".
    """

    folder: Path
    part: str = "all"
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    presence: list[NDArray[np.float32]] = field(default_factory=list)
    edema_map: list[NDArray[np.uint8]] = field(default_factory=list)
    targets: list[NDArray[np.float32]] = field(default_factory=list)
    about: list[dict[str, Any]] = field(default_factory=list)
    known: set[str] = field(default_factory=set)

    def refresh(self) -> int:
        """Read files not read before; returns how many levels there are now."""
        for path in sorted(self.folder.glob("case-*.npz")):
            if path.name in self.known or not self._wanted(path.stem):
                continue
            self.known.add(path.name)
            levels = load_levels(path)
            self.crops.extend(levels.crops)
            self.presence.extend(levels.presence)
            self.edema_map.extend(levels.edema_map)
            self.targets.extend(levels.targets)
            self.about.extend(levels.about)
        return len(self.crops)

    def _wanted(self, case: str) -> bool:
        validation = hashlib.sha256(case.encode()).digest()[0] % 12 == 0
        return self.part == "all" or validation == (self.part == "validation")

    def batch(self, chosen: NDArray[np.int64], hidden: Sequence[str] = ()) -> Batch:
        """Levels by number, unpacked, with some channels hidden and nothing else changed."""
        crops = unpacked(np.stack([self.crops[i] for i in chosen]))
        presence = np.stack([self.presence[i] for i in chosen])
        for name in hidden:
            hide(crops, presence, name)
        targets = np.stack([self.targets[i] for i in chosen])
        edema = np.stack([self.edema_map[i] for i in chosen])[:, None].astype(np.float32) / 255.0
        return judged(crops, presence, targets, edema)


def judged(
    crops: NDArray[np.float32],
    presence: NDArray[np.float32],
    targets: NDArray[np.float32],
    edema: NDArray[np.float32],
) -> Batch:
    """Blank what cannot be asked of the series shown, and find where the map is judged."""
    shown = presence[:, [PRESENCE.index(role) for role in FLUID_ROLES]].max(axis=1) > 0
    targets = np.where(shown[:, None], targets, without_fluid(targets))
    count, _, slices, rows, columns = crops.shape
    own = crops[:, -2].reshape(count, slices, rows // 2, 2, columns // 2, 2).mean(axis=(3, 5))
    counts = (own > 0.5).astype(np.float32)[:, None] * shown[:, None, None, None, None]
    faint = shown & (_contrast(crops, own, edema) < FAINTEST_CONTRAST)
    targets[np.ix_(faint, [BINARY_HEADS.index(name) for name in ("edema", "unhealed")])] = UNKNOWN
    counts[faint] = 0.0
    return Batch(crops, presence, targets, edema, counts.astype(np.float32))


def _contrast(
    crops: NDArray[np.float32], own: NDArray[np.float32], edema: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(batch,) how much edema outshines the rest of the marrow in view, log signal.

    Infinite where a body has none: that answer is always asked for.
    """
    count, _, slices, rows, columns = crops.shape
    halves = (count, slices, rows // 2, 2, columns // 2, 2)
    fluid = crops[:, CHANNELS.index("fluid")].reshape(halves).mean(axis=(3, 5))
    bodies = crops[:, -1].reshape(halves).mean(axis=(3, 5)) > 0.9
    contrast = np.full(count, np.inf)
    for level in range(count):
        wet = (own[level] > 0.5) & (edema[level, 0] > 0.5)
        rest = bodies[level] & (edema[level, 0] < 0.1)
        if wet.any() and rest.any():
            contrast[level] = np.median(fluid[level][wet]) - np.median(fluid[level][rest])
    return contrast


def hide(crops: NDArray[np.float32], presence: NDArray[np.float32], name: str) -> None:
    """Blank a channel of one crop or of many, and say so in its presence flags, in place."""
    crops[..., CHANNELS.index(name), :, :, :] = 0.0
    flags = (*FLUID_ROLES, "gradient_echo") if name == "fluid" else (name,)
    presence[..., [PRESENCE.index(flag) for flag in flags]] = 0.0
