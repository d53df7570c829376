"""What every compiled painter is built from: points of a box, smooth noise, soft edges, solids.

Painters are plain scalar loops compiled by numba. They get the maps to paint, a `Patch` (a box of
voxels and the way from voxel index to a solid's own frame) and named tuples of numbers; they draw
no random numbers. What looks random is a `Texture`: smooth noise fixed in the solid's own frame,
so that two scans of one patient show the same marrow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numba.core import config
from numpy.typing import NDArray

from training.phantom.painting.cache import LOCATORS

Function = TypeVar("Function", bound=Callable[..., Any])

LATTICE: Final = 64
"""Edge of the periodic noise lattice; a texture of 3 mm repeats after 19 cm."""

_LAST: Final = np.uint64(LATTICE - 1)
_ONE: Final = np.uint64(1)
_LINE: Final = np.uint64(6)
_PLANE: Final = np.uint64(12)
"""Powers of two of a line and of a plane of the lattice."""

UNIT_VARIANCE: Final = 1.55
"""Interpolation between lattice points damps the noise by this factor."""

FAR_MM: Final = 99.0


def jit(function: Function) -> Function:
    """Compile a painter once and keep the result on disk until the package's source changes."""
    others = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = LOCATORS  # read while the function is wrapped
    try:
        wrapped = numba.njit(cache=True, error_model="numpy", forceinline=True)(function)
    finally:
        config.CACHE_LOCATOR_CLASSES = others
    return cast(Function, wrapped)


class Maps(NamedTuple):
    """The maps of a `TissueGrid` while they are painted, (slice, row, column) uint8, and noise.

    Attributes:
        tissue, fat, water, structure, body, mark: As in `TissueGrid`.
        noise: The lattice that `grain` reads.
    """

    tissue: NDArray[np.uint8]
    fat: NDArray[np.uint8]
    water: NDArray[np.uint8]
    structure: NDArray[np.uint8]
    body: NDArray[np.uint8]
    mark: NDArray[np.uint8]
    noise: NDArray[np.float32]


class Patch(NamedTuple):
    """A box of voxels seen from a solid.

    Attributes:
        box: (6,) first and last+1 slice, row and column.
        frame: (3, 4) index (slice, row, column, 1) to the solid's own frame, mm.
    """

    box: NDArray[np.int64]
    frame: NDArray[np.float64]


class Texture(NamedTuple):
    """Smooth noise of about zero mean and unit variance: place in the lattice and 1 / length."""

    x: float
    y: float
    z: float
    per_mm: float


@cache
def noise_lattice() -> NDArray[np.float32]:
    """(LATTICE ** 3,) normal numbers of a cubic lattice, always the same."""
    rng = np.random.default_rng(20210917)
    lattice = rng.standard_normal(LATTICE**3, dtype=np.float32)
    lattice *= np.float32(UNIT_VARIANCE)
    lattice.setflags(write=False)
    return lattice


def sample_texture(rng: np.random.Generator, length_mm: float) -> Texture:
    """A texture with a correlation length of about `length_mm`."""
    x, y, z = rng.uniform(0.0, LATTICE, 3)
    return Texture(float(x), float(y), float(z), 1.0 / length_mm)


@jit
def row_count(box: NDArray[np.int64]) -> int:
    """Rows of voxels in a box, all slices together."""
    return (box[1] - box[0]) * (box[3] - box[2])


@jit
def row_start(patch: Patch, number: int) -> tuple[int, int, float, float, float]:
    """Slice, row, and the point that column 0 of that row has in the solid's frame.

    Three fine slices that an acquired one averages are sampled a third of a voxel apart in plane,
    so that edges and layers thinner than a fine voxel come out smooth and not as stairs or beads.
    """
    box, f = patch.box, patch.frame
    rows = box[3] - box[2]
    k = box[0] + number // rows
    i = box[2] + number % rows
    phase = k % 3
    off = 0.0 if phase == 0 else (1.0 / 3.0 if phase == 1 else -1.0 / 3.0)
    x = f[0, 0] * k + f[0, 1] * (i + off) - f[0, 2] * off + f[0, 3]
    y = f[1, 0] * k + f[1, 1] * (i + off) - f[1, 2] * off + f[1, 3]
    z = f[2, 0] * k + f[2, 1] * (i + off) - f[2, 2] * off + f[2, 3]
    return k, i, x, y, z


@jit
def columns_within(
    patch: Patch, start: tuple[float, float, float], reach: tuple[float, float, float]
) -> tuple[int, int]:
    """First and last+1 column of a row that lie in a block about the origin of the frame.

    Args:
        patch: Where the row lies; the columns are held in its box.
        start: The point of column 0, as `row_start` gives it.
        reach: Half-extents of the block, mm.
    """
    low, high = float(patch.box[4]), float(patch.box[5] - 1)
    for axis in range(3):
        step = patch.frame[axis, 2]
        if abs(step) < 1e-9:
            if abs(start[axis]) > reach[axis]:
                return 0, 0
            continue
        one, other = (-reach[axis] - start[axis]) / step, (reach[axis] - start[axis]) / step
        low, high = max(low, min(one, other)), min(high, max(one, other))
    if low > high:
        return 0, 0
    return int(np.ceil(low)), int(np.floor(high)) + 1


@jit
def grain(noise: NDArray[np.float32], texture: Texture, x: float, y: float, z: float) -> float:
    """Smooth noise of a texture at a point of the frame it is fixed in, mm."""
    x = x * texture.per_mm + texture.x
    y = y * texture.per_mm + texture.y
    z = z * texture.per_mm + texture.z
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    # The edge is a power of two: & wraps it. Unsigned, because a signed index is checked each time.
    i, j, k = _wrapped(fx), _wrapped(fy), _wrapped(fz)
    i1, j1, k1 = _next(i) << _PLANE, _next(j) << _LINE, _next(k)
    i, j = i << _PLANE, j << _LINE
    u, v, w = x - fx, y - fy, z - fz
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    near = (noise[i + j + k] * (1 - w) + noise[i + j + k1] * w) * (1 - v) + (
        noise[i + j1 + k] * (1 - w) + noise[i + j1 + k1] * w
    ) * v
    far = (noise[i1 + j + k] * (1 - w) + noise[i1 + j + k1] * w) * (1 - v) + (
        noise[i1 + j1 + k] * (1 - w) + noise[i1 + j1 + k1] * w
    ) * v
    return near * (1 - u) + far * u


@jit
def _wrapped(floor: float) -> np.uint64:
    return np.uint64(np.int64(floor)) & _LAST


@jit
def _next(index: np.uint64) -> np.uint64:
    return (index + _ONE) & _LAST


@jit
def ramp(value: float, softness: float) -> float:
    """0 below, 1 above zero, with a soft edge of the given width."""
    return min(1.0, max(0.0, 0.5 + value / (2.0 * softness)))


@jit
def as_byte(value: float) -> np.uint8:
    """A number as uint8, held in 0..255."""
    return np.uint8(min(255.0, max(0.0, value)))


@jit
def rounded_max(first: float, second: float, radius: float) -> float:
    """Signed distance to the intersection of two solids, its edge rounded by `radius` mm."""
    a, b = first + radius, second + radius
    outside = np.sqrt(max(a, 0.0) ** 2 + max(b, 0.0) ** 2)
    return outside + min(max(a, b), 0.0) - radius


@jit
def capsules_distance(
    capsules: NDArray[np.float64], x: float, y: float, z: float, margin: float
) -> float:
    """Signed distance (mm, approximate) to a union of stretched capsules; FAR_MM beyond a margin.

    Args:
        capsules: (n, 9) start, end and half-thickness along x, y and z, mm.
        x: Place of the point to the left, in the same frame.
        y: To the back.
        z: To the head.
        margin: Distance from which on a capsule is not evaluated.
    """
    nearest = FAR_MM
    for c in capsules:
        reach_x, reach_y, reach_z = c[6] + margin, c[7] + margin, c[8] + margin
        if x < min(c[0], c[3]) - reach_x or x > max(c[0], c[3]) + reach_x:
            continue
        if y < min(c[1], c[4]) - reach_y or y > max(c[1], c[4]) + reach_y:
            continue
        if z < min(c[2], c[5]) - reach_z or z > max(c[2], c[5]) + reach_z:
            continue
        px, py, pz = (x - c[0]) / c[6], (y - c[1]) / c[7], (z - c[2]) / c[8]
        ax, ay, az = (c[3] - c[0]) / c[6], (c[4] - c[1]) / c[7], (c[5] - c[2]) / c[8]
        length = ax * ax + ay * ay + az * az
        if length > 0.0:
            t = min(1.0, max(0.0, (px * ax + py * ay + pz * az) / length))
            px, py, pz = px - t * ax, py - t * ay, pz - t * az
        d = (np.sqrt(px * px + py * py + pz * pz) - 1.0) * min(c[6], c[7], c[8])
        nearest = min(nearest, d)
    return nearest


@jit
def put(maps: Maps, at: tuple[int, int, int], tissue: int, fat: float, water: float) -> None:
    """Write a tissue and its state into one voxel; structure and body stay."""
    maps.tissue[at] = tissue
    maps.fat[at] = as_byte(fat)
    maps.water[at] = as_byte(water)
