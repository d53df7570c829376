"""Pictures of predictions, so that a person sees what the figures mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.heads import BINARY_HEADS

SHOWN: Final = ("edema", "fracture", "unhealed", "pathological")
Chances = tuple[NDArray[np.float32], NDArray[np.float32]]


def draw_levels(
    path: Path, images: NDArray[np.float32], maps: NDArray[np.float32], answers: Chances
) -> None:
    """Draw levels side by side: the fluid-sensitive image, and with body and predicted edema.

    Args:
        path: PNG.
        images: (level, 2, slice, row, column): fluid-sensitive channel and body mask.
        maps: (level, slice, row / 2, column / 2) predicted edema, 0 to 1.
        answers: Predicted and true (level, len(BINARY_HEADS)), truth NaN where not asked.
    """
    figure, rows = _canvas(2, len(images))
    for level, (image, edema) in enumerate(zip(images, maps, strict=True)):
        middle = int(np.argmax(image[1].sum(axis=(1, 2))))
        fluid = image[0, middle]
        for axes in rows[:, level]:
            axes.imshow(fluid, cmap="gray", vmin=-1.2, vmax=1.2)
        below = rows[1, level]
        size = (-0.5, fluid.shape[1] - 0.5, fluid.shape[0] - 0.5, -0.5)
        # The map is taught inside the body only; around it, it says nothing.
        inside = image[1, middle].reshape(edema.shape[1], 2, edema.shape[2], 2).mean(axis=(1, 3))
        shown = np.ma.masked_where(inside < 0.5, edema[middle])
        below.imshow(shown, cmap="inferno", alpha=0.5, vmin=0, vmax=1, extent=size)
        below.contour(image[1, middle], levels=[0.5], colors="cyan", linewidths=0.8)
        rows[0, level].set_title(_told(answers[0][level], answers[1][level]), fontsize=6)
    figure.savefig(path, dpi=110)


def draw_slices(
    path: Path,
    images: NDArray[np.float32],
    truth: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
) -> None:
    """Draw the middle slice of crops above their true and their predicted structures.

    Args:
        path: PNG.
        images: (crop, slice, row, column).
        truth: The same shape, `models.localiser.classes.Structure`.
        predicted: Likewise.
    """
    figure, rows = _canvas(3, len(images))
    middle = images.shape[1] // 2
    for crop in range(len(images)):
        rows[0, crop].imshow(images[crop, middle], cmap="gray", vmin=0, vmax=1)
        for row, labels in ((1, truth), (2, predicted)):
            rows[row, crop].imshow(labels[crop, middle], cmap="tab10", vmin=0, vmax=9)
    for row, name in enumerate(("image", "truth", "predicted")):
        rows[row, 0].set_title(name, fontsize=7, loc="left")
    figure.savefig(path, dpi=110)


def _canvas(rows: int, columns: int) -> tuple[Any, NDArray[Any]]:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(1.7 * columns, 2.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for one in axes.flat:
        one.set_axis_off()
    return figure, axes


def _told(predicted: NDArray[np.float32], truth: NDArray[np.float32]) -> str:
    words = {0.0: "no", 1.0: "yes"}
    return "\n".join(
        f"{name} {predicted[column]:.2f} ({words.get(float(truth[column]), 'not asked')})"
        for name in SHOWN
        for column in (BINARY_HEADS.index(name),)
    )
