"""Pictures of a localisation over its truth, to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.findings import Localisation
from models.volume import Volume


def draw(path: Path, volume: Volume, found: Localisation, truth: NDArray[np.uint8]) -> None:
    """Three slices with our contours (colour) over the truth (white)."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    middle = int(np.argmax((truth > 0).sum(axis=(1, 2))))
    slices = [min(max(middle + step, 0), len(truth) - 1) for step in (-3, 0, 3)]
    figure, axes = pyplot.subplots(1, 3, figsize=(18, 9))
    brightest = float(np.percentile(volume.array, 99.5))
    aspect = volume.spacing.row_mm / volume.spacing.column_mm
    for axis, index in zip(axes, slices, strict=True):
        axis.imshow(volume.array[index], cmap="gray", vmax=brightest, aspect=aspect)
        if (truth[index] > 0).any():
            axis.contour(truth[index] > 0, [0.5], colors="white", linewidths=0.6)
        for vertebra in found.vertebrae:
            mask = found.labels[index] == vertebra.index
            if mask.any():
                colour = f"C{vertebra.index % 10}"
                axis.contour(mask, [0.5], colors=colour, linewidths=1.2)
                row, column = np.argwhere(mask).mean(axis=0)
                axis.text(column, row, vertebra.level or "?", color=colour, ha="center")
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=60)
    pyplot.close(figure)
