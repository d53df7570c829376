"""A small convolutional network that tells phantom crops from real ones, and where it looks."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.realism.crops import SIZE, Crops
from training.realism.detector import Detection, Scores, detect_by

STEPS: Final = 240
BATCH: Final = 32
"""Half of each batch is real."""

PATCH: Final = 16
TRANSPLANTED_CROPS: Final = 48
"""Side of a transplanted patch in mm, and how many crops of each fold it is tried on."""

REGIONS: Final = {
    "body": (slice(22, 42), slice(20, 44)),
    "endplates": (slice(14, 22), slice(20, 44)),
    "discs": (slice(6, 14), slice(20, 44)),
    "prevertebral": (slice(0, SIZE), slice(0, 14)),
    "canal": (slice(0, SIZE), slice(48, 58)),
    "dorsal": (slice(0, SIZE), slice(58, SIZE)),
}
"""Rows and columns of a crop; endplates and discs above stand for those below."""


def build() -> nn.Sequential:
    """About 25,000 weights: four strided convolutions and a linear layer."""
    layers: list[nn.Module] = []
    channels = 1
    for width in (12, 24, 32, 32):
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(channels, 1)
    )


def detect_by_network(crops: Crops, steps: int = STEPS) -> tuple[Detection, NDArray[np.float32]]:
    """Cross-validate the network, trained for so many batches in every fold.

    Returns:
        The detection, and a (SIZE, SIZE) map: the mean rise of the logit "real" of held-out
        phantom crops when the place is taken from a real crop: where the phantom is given away.
    """
    torch.set_num_threads(1)
    maps: list[NDArray[np.float32]] = []

    def train_and_score(train: NDArray[np.intp], test: NDArray[np.intp]) -> Scores:
        model = _fit(crops, train, steps)
        phantom, real = test[~crops.real[test]], test[crops.real[test]]
        maps.append(_given_away(model, crops.images[phantom], crops.images[real]))
        return _score(model, crops.images[test])

    detection = detect_by(crops, train_and_score)
    return detection, np.asarray(np.mean(maps, axis=0), dtype=np.float32)


def region_shares(transplant: NDArray[np.float32]) -> dict[str, float]:
    """Mean of a map over each region."""
    return {name: float(transplant[where].mean()) for name, where in REGIONS.items()}


def _fit(crops: Crops, rows: NDArray[np.intp], steps: int) -> nn.Sequential:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = build()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    kinds = [rows[crops.real[rows] == kind] for kind in (False, True)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    loss_of = nn.BCEWithLogitsLoss()
    model.train()
    for _ in range(steps):
        chosen = np.concatenate([rng.choice(kind, BATCH // 2) for kind in kinds])
        images = _varied(crops.images[chosen], rng)
        target = torch.from_numpy(crops.real[chosen].astype(np.float32))
        optimiser.zero_grad()
        loss = loss_of(model(images)[:, 0], target)
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def _varied(images: NDArray[np.float32], rng: np.random.Generator) -> torch.Tensor:
    """Small shifts, gain and offset: place and brightness shall not be learned by heart."""
    shift = rng.integers(-3, 4, 2)
    moved = np.roll(images, shift, axis=(1, 2))
    gain = rng.uniform(0.85, 1.15, (len(images), 1, 1))
    offset = rng.uniform(-0.06, 0.06, (len(images), 1, 1))
    return torch.from_numpy((moved * gain + offset).astype(np.float32)[:, None])


def _score(model: nn.Sequential, images: NDArray[np.float32]) -> Scores:
    """Logit that each crop is real."""
    with torch.no_grad():
        logits = model(torch.from_numpy(images[:, None]))[:, 0]
    return np.asarray(logits.numpy(), dtype=np.float64)


def _given_away(
    model: nn.Sequential, phantom: NDArray[np.float32], real: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(SIZE, SIZE): by how much a patch of a real crop put there makes phantom crops look real."""
    total = np.zeros((SIZE, SIZE), dtype=np.float32)
    hits = np.zeros((SIZE, SIZE), dtype=np.float32)
    rng = np.random.default_rng(0)
    chosen = phantom[rng.choice(len(phantom), TRANSPLANTED_CROPS)]
    donors = real[rng.choice(len(real), TRANSPLANTED_CROPS)]
    before = _score(model, chosen)
    for row in range(0, SIZE - PATCH + 1, PATCH // 2):
        for column in range(0, SIZE - PATCH + 1, PATCH // 2):
            where = (slice(row, row + PATCH), slice(column, column + PATCH))
            mended = chosen.copy()
            mended[:, *where] = donors[:, *where]
            total[where] += float((_score(model, mended) - before).mean())
            hits[where] += 1.0
    return np.asarray(total / np.maximum(hits, 1.0))
