"""Contact sheets: crops in a grid with captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.realism.crops import Crops

ACROSS: Final = 10


def draw_grid(
    path: Path,
    rows: Sequence[tuple[str, Sequence[tuple[str, NDArray[Any]]]]],
    *,
    tile_inches: float = 1.7,
    dpi: int = 110,
) -> None:
    """Draw rows of captioned grey pictures, each row with its own title, as one PNG.

    Args:
        path: Where to.
        rows: (title, pictures), a picture being (caption, image with values 0..1).
        tile_inches: Width of a picture.
        dpi: Pixels per inch.
    """
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    across = max(len(pictures) for _, pictures in rows)
    tallest = max(image.shape[0] / image.shape[1] for _, line in rows for _, image in line)
    size = (tile_inches * across + 1.6, (tile_inches * tallest + 0.16) * len(rows) + 0.2)
    figure, axes = pyplot.subplots(len(rows), across, figsize=size, squeeze=False)
    for line, (title, pictures) in zip(axes, rows, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, (caption, image) in zip(line, pictures, strict=False):
            axis.imshow(image, cmap="gray", vmin=0.0, vmax=1.0)
            axis.set_title(caption, fontsize=6, pad=2)
        line[0].text(
            -0.08, 0.5, title, transform=line[0].transAxes, fontsize=7, ha="right", va="center"
        )
    figure.subplots_adjust(
        left=1.5 / size[0],
        right=0.995,
        top=1 - 0.2 / size[1],
        bottom=0.002,
        wspace=0.03,
        hspace=0.07,
    )
    figure.savefig(path, dpi=dpi)
    pyplot.close(figure)


def draw_verdicts(path: Path, crops: Crops, scores: NDArray[np.float64] | None, group: str) -> None:
    """The most obviously phantom and the most real-looking crops, with real ones to compare."""
    if scores is None:
        scores = np.random.default_rng(0).random(crops.count)
    known = np.where(np.isfinite(scores), scores, 0.5)
    rows = []
    for title, kind, most_real in (
        ("phantom,\nmost obvious", False, False),
        ("phantom,\nmost real-looking", False, True),
        ("real,\nmost typical", True, True),
        ("real, most\nphantom-like", True, False),
    ):
        candidates = np.flatnonzero(crops.real == kind)
        order = candidates[np.argsort(known[candidates])]
        chosen = order[::-1][:ACROSS] if most_real else order[:ACROSS]
        rows.append(
            (
                f"{group}\n{title}",
                [
                    (f"{'' if kind else crops.names[n]} {known[n]:.2f}".strip(), crops.images[n])
                    for n in chosen
                ],
            )
        )
    draw_grid(path, rows)


def draw_transplant(path: Path, crops: Crops, transplant: NDArray[np.float32]) -> None:
    """Mean phantom and mean real crop beside where the phantom is given away (bright)."""
    mean = [crops.images[crops.real == kind].mean(axis=0) for kind in (False, True)]
    low, high = np.percentile(transplant, (2, 98))
    shown = np.clip((transplant - low) / max(float(high - low), 1e-6), 0.0, 1.0)
    pictures = [("mean phantom", mean[0]), ("mean real", mean[1]), ("given away by", shown)]
    draw_grid(path, [("", pictures)], tile_inches=3.0)
