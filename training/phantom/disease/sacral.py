"""Insufficiency fracture of the sacrum: upright bands of edema in the alae, often joined by a bar.

Seen at the edge of many lumbar studies and no vertebral fracture: it is drawn so that a reader
meets it, and the truth of S1 names no fracture. Source: the H or Honda sign (Lyders 2010).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from models.localiser.classes import Structure
from training.phantom.anatomy.spine import Bone, Spine
from training.phantom.numbers import held
from training.phantom.painting.grid import Canvas
from training.phantom.painting.kernels import (
    Maps,
    Patch,
    Texture,
    grain,
    jit,
    put,
    ramp,
    row_count,
    row_start,
    sample_texture,
)
from training.phantom.painting.tissues import Tissue

BOTH_SIDES: Final = 0.6
WITH_BAR: Final = 0.4
LINE_SEEN: Final = 0.7
"""Parts of these fractures; two thirds are bilateral."""

ALA_MM: Final = 9.0
"""The bands run beside the sacral bodies, this far from their walls, medial to the joints."""

_MARROW, _SCLEROSIS = int(Tissue.MARROW), int(Tissue.SCLEROSIS)
_S1, _LOWER = int(Structure.SACRUM_S1), int(Structure.SACRUM_LOWER)


@dataclass(frozen=True, slots=True)
class SacralFracture:
    """What is broken, and how wet.

    Attributes:
        left, right: Water added in that ala, 0..255; 0 where it is whole.
        bar: Water of the bar through S2; 0 without one.
        width_mm: Half-width of a band.
        line: Whether the fracture line is seen in it.
        texture: Of the edema.
    """

    left: float
    right: float
    bar: float
    width_mm: float
    line: bool
    texture: Texture


class _Bands(NamedTuple):
    """`SacralFracture` in the frame of S1, mm."""

    left: float
    right: float
    bar: float
    bar_z: float
    place: float
    width: float
    line: int
    texture: Texture


def sample_sacral_fracture(
    rng: np.random.Generator, age_years: float, share: float
) -> SacralFracture | None:
    """Draw whether the sacrum is broken: `share` of spines at 75 years, none below 45."""
    old = held((age_years - 45.0) / 30.0, 0.0, 1.5)
    if rng.random() >= min(1.0, share * old):
        return None
    sides = rng.uniform(60.0, 190.0, 2)
    if rng.random() >= BOTH_SIDES:
        sides[int(rng.integers(2))] = 0.0
    return SacralFracture(
        left=float(sides[0]),
        right=float(sides[1]),
        bar=float(rng.uniform(50.0, 150.0)) if rng.random() < WITH_BAR else 0.0,
        width_mm=float(rng.uniform(4.5, 9.0)),
        line=bool(rng.random() < LINE_SEEN),
        texture=sample_texture(rng, float(rng.uniform(3.0, 6.0))),
    )


def paint_sacral_fracture(canvas: Canvas, spine: Spine, fracture: SacralFracture) -> None:
    """Wet the marrow of the alae; the sacrum is painted already.

    Args:
        canvas: Painted in place.
        spine: Whose sacrum.
        fracture: As sampled.
    """
    first, second = spine.bone("S1"), spine.bone("S2")
    bands = _Bands(
        fracture.left,
        fracture.right,
        fracture.bar,
        float((second.centre - first.centre) @ first.axes[2]),
        first.shape.half_width + ALA_MM,
        fracture.width_mm,
        int(fracture.line),
        fracture.texture,
    )
    reach = np.array([bands.place + 3.0 * bands.width, 40.0, 60.0])
    patch = canvas.patch(_between(first, second), first.axes, reach)
    if patch is not None:
        frame = canvas.into(first.centre, first.axes)
        _paint_bands(canvas.maps, Patch(patch.box, frame), bands)


def _between(first: Bone, second: Bone) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(0.5 * (first.centre + second.centre))


@jit
def _paint_bands(maps: Maps, patch: Patch, bands: _Bands) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            structure = maps.structure[k, i, j]
            if structure not in (_S1, _LOWER) or maps.tissue[k, i, j] != _MARROW:
                continue
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            rough = grain(maps.noise, bands.texture, x, y, z)
            side = bands.left if x > 0.0 else bands.right
            across = abs(abs(x) - bands.place + 1.5 * rough)
            water = side * ramp(bands.width - across, 4.0)
            inner = min(1.0, max(0.0, (bands.place - abs(x)) / 6.0 + 0.5))
            bar = bands.bar * inner * ramp(5.0 - abs(z - bands.bar_z + rough), 4.0)
            water = max(water, bar) * (1.0 + 0.25 * rough)
            if bands.line == 1 and side > 0.0 and across < 0.8 and rough > -0.8:
                put(maps, (k, i, j), _SCLEROSIS, 0.0, 0.0)
            elif water > maps.water[k, i, j]:
                put(
                    maps, (k, i, j), _MARROW, maps.fat[k, i, j] * (1.0 - 0.5 * water / 255.0), water
                )
