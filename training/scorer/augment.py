"""What a network is made to bear: hidden series, mirrored sides, and what scanners and patients do.

Everything is done to crops in log units. None of it comes from the shifted recipe `stress`: ranges
are wide enough that scanners the phantom never drew fall inside them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.scorer.crops import CHANNELS, PRESENCE
from models.scorer.distribution import FLUID_ROLES
from models.scorer.normalisation import LOG_RANGE
from training.scorer.pool import Batch, hide, judged

IMAGES: Final = len(CHANNELS) - 2

MOST_WAVES: Final = 0.14
"""Largest SD, in log signal, of the smooth variation added to a channel."""

DROP_FLUID: Final = 0.06
DROP_OTHER: Final = 0.3
"""How often an acquired channel is hidden from the network during training."""

WORST_GRAIN: Final = 0.22
"""Largest SD, in log signal, of pixel noise; a quarter of the channels get up to this much."""

SHIFT_PX: Final = 1
"""Pixels by which a patient has moved between series, in plane."""


def augmented(batch: Batch, rng: np.random.Generator) -> Batch:
    """Hide channels, mirror left and right, and vary what no normalisation gets quite right."""
    crops, presence, edema = batch.crops.copy(), batch.presence.copy(), batch.edema_map
    for level in range(len(crops)):
        _hide_channels(crops[level], presence[level], rng)
        _move(crops[level], rng)
        for channel in range(IMAGES):
            if np.any(crops[level, channel]):
                _disturb(crops[level, channel], rng)
    mirrored = rng.random(len(crops)) < 0.5
    crops[mirrored] = crops[mirrored, :, ::-1]
    edema = np.where(mirrored[:, None, None, None, None], edema[:, :, ::-1], edema)
    return judged(crops, presence, batch.targets, edema)


def _hide_channels(
    crop: NDArray[np.float32], presence: NDArray[np.float32], rng: np.random.Generator
) -> None:
    there = [channel for channel in range(IMAGES) if _shown(presence, CHANNELS[channel])]
    hidden = [
        channel
        for channel in there
        if rng.random() < (DROP_FLUID if CHANNELS[channel] == "fluid" else DROP_OTHER)
    ]
    if len(hidden) == len(there):
        hidden.remove(there[0])
    for channel in hidden:
        hide(crop, presence, CHANNELS[channel])


def _shown(presence: NDArray[np.float32], name: str) -> bool:
    """Whether a channel was acquired and is not hidden."""
    flags = FLUID_ROLES if name == "fluid" else (name,)
    return bool(presence[[PRESENCE.index(flag) for flag in flags]].any())


def _waves(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise of about unit variance: what normal marrow varies by over one to three cm.

    Healthy marrow of real scans departs from the best smooth field by 10 to 15 % at this scale
    (coil, red marrow islands); a network that never saw it takes it for faint edema.
    """
    field = rng.standard_normal((4, 7, 5), dtype=np.float32)
    for axis, size in enumerate(shape):
        place = np.linspace(0.0, field.shape[axis] - 1.0, size)
        lattice = np.arange(field.shape[axis])
        weights = np.clip(1.0 - np.abs(place[:, None] - lattice), 0.0, 1.0).astype(np.float32)
        field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
    return np.asarray(field * np.float32(1.4))


def _disturb(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Sharpness, level, contrast, slow shading, slice gain and grain, in log units, in place."""
    if rng.random() < 0.3:
        _blur(image, rng)
    image *= np.float32(np.exp(rng.normal(0.0, 0.12)))
    # A level is to be judged against its neighbours: what all of the crop shares says nothing.
    image += np.float32(rng.normal(0.0, 0.16))
    for axis, size in enumerate(image.shape):
        ramp = np.linspace(-1.0, 1.0, size, dtype=np.float32) * np.float32(rng.normal(0.0, 0.13))
        image += ramp.reshape([-1 if a == axis else 1 for a in range(3)])
    image += rng.normal(0.0, 0.02, (len(image), 1, 1)).astype(np.float32)
    image += _waves(image.shape, rng) * np.float32(rng.uniform(0.0, MOST_WAVES))
    if rng.random() < 0.2:
        _ghost(image, rng)
    if rng.random() < 0.5:
        most = WORST_GRAIN if rng.random() < 0.5 else 0.09
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        image += grain * np.float32(rng.uniform(0.0, most))
    np.clip(image, *LOG_RANGE, out=image)


def _blur(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Thicker slices or coarser pixels: a three-point mean along one axis, in place."""
    axis = int(rng.integers(3))
    part = np.float32(rng.uniform(0.1, 0.33))
    held = np.concatenate(
        [image.take([0], axis), image, image.take([-1], axis)], axis=axis, dtype=np.float32
    )
    size = image.shape[axis]
    before, after = (held.take(range(first, first + size), axis) for first in (0, 2))
    image += part * (before + after - 2.0 * image)


def _ghost(image: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Stripes across the rows or columns, as breathing and pulsation leave them, in place."""
    axis = int(rng.integers(1, 3))
    size = image.shape[axis]
    waves = rng.uniform(2.0, 9.0) * np.arange(size) / size + rng.random()
    stripes = np.sin(2.0 * np.pi * waves) * rng.uniform(0.0, 0.12)
    image += stripes.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])


def _move(crop: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Shift every series but the fluid-sensitive one, which masks lie on, in place."""
    for channel in range(1, IMAGES):
        if rng.random() < 0.3:
            step = rng.integers(-SHIFT_PX, SHIFT_PX + 1, 2)
            crop[channel] = np.roll(crop[channel], tuple(int(s) for s in step), axis=(1, 2))
