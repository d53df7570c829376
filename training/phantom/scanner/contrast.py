"""Contrasts that no scanner makes, for a share of the training images."""

from __future__ import annotations

import numpy as np

from training.phantom.painting.tissues import Tissue
from training.phantom.scanner.physics import FAT_LEVELS, TABLE_SHAPE, WATER_LEVELS, SignalTable


def random_contrast(rng: np.random.Generator) -> SignalTable:
    """A contrast no scanner makes: every tissue its own signal, marrow still led by fat and water.

    Tissues stay groups (one level each, plus a slope with fat, edema and hydration), and what is
    void in every sequence mostly stays dark, so that anatomy can still be told from background.

    Source: contrast randomisation as in synthetic-to-real segmentation; a trial here found it
    worthless alone and helpful as a third of the images.
    """
    level = rng.uniform(0.05, 1.0, len(Tissue))
    for void in (Tissue.AIR, Tissue.GAS, Tissue.CEMENT, Tissue.LUNG, Tissue.METAL):
        level[void] = rng.uniform(0.0, 0.06)
    level[Tissue.CORTEX] *= rng.choice((0.15, 0.5))
    # A body is only seen where it differs from its discs.
    while abs(level[Tissue.MARROW] - level[Tissue.NUCLEUS]) < 0.12:
        level[Tissue.NUCLEUS] = rng.uniform(0.05, 1.0)
    water = np.broadcast_to(level[:, None, None], TABLE_SHAPE).copy()
    free = np.linspace(0.0, 1.0, WATER_LEVELS)
    for tissue, spread in ((Tissue.MARROW, 0.6), (Tissue.NUCLEUS, 0.3)):
        water[tissue] *= np.clip(1.0 + rng.normal(0.0, spread) * free, 0.15, 2.5)
    fraction = np.linspace(0.0, 1.0, FAT_LEVELS)[None, :, None]
    fat_level = rng.uniform(0.0, 1.2)
    # Bulk fat and marrow fat need not agree, as under failing suppression.
    per_tissue_fat = np.full((len(Tissue), 1, 1), fat_level)
    per_tissue_fat[Tissue.MARROW] = fat_level + rng.normal(0.0, 0.15) * (rng.random() < 0.5)
    fat = np.clip(per_tissue_fat, 0.0, None) * fraction
    return SignalTable(
        (water * (1.0 - fraction)).astype(np.float32),
        np.broadcast_to(fat, TABLE_SHAPE).astype(np.float32),
    )
