"""The spinal canal: epidural fat, sac, cord down to the conus, roots of the cauda equina below it.

The canal is a tube along the posterior walls, painted piece by piece; a piece is straight. Places
along it are counted in millimetres of its own length, so that roots run on from piece to piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from models.localiser.classes import Structure
from training.phantom.anatomy.spine import Spine
from training.phantom.painting.grid import Canvas, Vector
from training.phantom.painting.kernels import (
    Maps,
    Patch,
    Texture,
    grain,
    jit,
    put,
    row_count,
    row_start,
    sample_texture,
)
from training.phantom.painting.tissues import Tissue

SACRAL_NARROWING: Final = {"S1": 0.92, "S2": 0.66, "S3": 0.5, "S4": 0.36, "S5": 0.25}
CONUS_TAPER_MM: Final = 22.0
TAPER_MM: Final = 14.0
PIECE_MM: Final = 9.0
OVERLAP_MM: Final = 1.0
VENTRAL_MM: Final = 2.2
"""Depth of the space between sac and posterior wall at mid-height of a body, where the wall is
hollow and the posterior ligament spans it: veins fill it, with some fat."""

LIGAMENT_HALF_MM: Final = 4.5
LIGAMENT_PART: Final = 0.06
"""Half-width of the posterior longitudinal ligament where it lies on the dura, and its thickness
as a part of the sac's radius."""

_FAT, _LIGAMENT, _CSF = int(Tissue.FAT), int(Tissue.LIGAMENT), int(Tissue.CSF)
_CORD, _NERVE, _VEIN = int(Tissue.CORD), int(Tissue.NERVE), int(Tissue.SLOW_BLOOD)
_CORTEX = int(Tissue.CORTEX)
_CANAL, _IN_CORD = int(Structure.CANAL), int(Structure.CORD)


@dataclass(frozen=True, slots=True)
class CanalForm:
    """What varies from canal to canal.

    Attributes:
        conus_z: Height of the conus' tip's beginning, LPS mm; `sac_end_z` of the end of the sac.
        sac_end_z: See above.
        dorsal: Part of the depth that epidural fat takes behind the sac.
        cord: Radius of the cord as a part of the canal's.
        crowding: How densely the roots lie.
        veins: How much of the anterior epidural plexus is seen, 0..1.
        strands: Texture of the roots; `plexus` of the veins.
        plexus: See above.
    """

    conus_z: float
    sac_end_z: float
    dorsal: float
    cord: float
    crowding: float
    veins: float
    strands: Texture
    plexus: Texture


class _Piece(NamedTuple):
    """A straight piece of canal in its own frame (left, back, head), mm."""

    half: float
    radius_top: float
    radius_bottom: float
    widen: float
    start: float
    top_z: float
    bottom_z: float
    dorsal_top: float
    dorsal_bottom: float
    ventral: float


class _Content(NamedTuple):
    """`CanalForm` as the painter reads it."""

    conus_z: float
    sac_end_z: float
    cord: float
    crowding: float
    veins: float
    strands: Texture
    plexus: Texture


def sample_canal(rng: np.random.Generator, spine: Spine) -> CanalForm:
    """Draw what lies in the canal of a spine."""
    conus = spine.bone(spine.conus_level)
    return CanalForm(
        conus_z=float(conus.centre[2] + rng.uniform(-0.5, 0.5) * conus.shape.height_rim),
        sac_end_z=float(spine.bone("S2").centre[2] + rng.uniform(-8, 14)),
        dorsal=float(rng.uniform(0.05, 0.2)),
        cord=float(rng.uniform(0.40, 0.47)),
        crowding=float(rng.uniform(0.75, 1.05)),
        veins=float(rng.uniform(0.3, 1.0)),
        strands=sample_texture(rng, float(rng.uniform(1.3, 1.9))),
        plexus=sample_texture(rng, 3.0),
    )


def canal_line(spine: Spine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centre line of the canal, cranial to caudal, two points per bone, and its size there.

    Returns:
        (n, 3) LPS mm; (n, 2) half-depth, mm, and half-width over half-depth.
    """
    points, sizes = [], []
    for bone in spine.bones:
        if bone.level.startswith("Co"):
            continue
        deep, wide = spine.canal(bone.level)
        radius = deep * SACRAL_NARROWING.get(bone.level, 1.0)
        if bone.level.startswith("C"):
            radius *= 0.85
        offset = bone.intact.half_depth * 1.03 + radius * 0.98
        for end in (0.3, -0.3):
            points.append(
                bone.centre + bone.axes[1] * offset + bone.axes[2] * end * bone.shape.height_rim
            )
            sizes.append((radius, wide / deep))
    # Above C2 the canal runs through the atlas to the foramen magnum.
    points = [*spine.atlas[::-1], *points]
    sizes = [sizes[0], sizes[0], *sizes]
    line = np.array(points)
    # The dura does not follow every corner: it spans the bends and the steps between two bodies.
    for _ in range(2):
        line[1:-1] = 0.25 * line[:-2] + 0.5 * line[1:-1] + 0.25 * line[2:]
    return line, np.array(sizes)


class Course(NamedTuple):
    """The canal's tube at places along its own length, cranial to caudal.

    Attributes:
        places: (n,) mm from its upper end.
        line: (n, 3) LPS mm: its middle.
        radius: (n,) mm: its half-depth.
        wide: (n,) its half-width over its half-depth.
        behind_disc: (n,) 0 behind the middle of a body to 1 behind a disc.
    """

    places: NDArray[np.float64]
    line: NDArray[np.float64]
    radius: NDArray[np.float64]
    wide: NDArray[np.float64]
    behind_disc: NDArray[np.float64]

    @property
    def ventral(self) -> NDArray[np.float64]:
        """(n,) mm: how much further than its half-depth it reaches towards a hollow wall."""
        return VENTRAL_MM * (1.0 - self.behind_disc)


def canal_course(spine: Spine, pitch_mm: float = PIECE_MM) -> Course:
    """The course of a spine's canal from the foramen magnum down.

    Args:
        spine: Whose.
        pitch_mm: Largest distance of two places.
    """
    points, sizes = canal_line(spine)
    walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0.0, walked[-1], int(walked[-1] / pitch_mm) + 2)
    # 0 behind the middle of a body, 1 behind a disc: two points per bone.
    ends = np.arange(len(walked)) % 2 == 1
    return Course(
        places=places,
        line=CubicSpline(walked, points)(places),
        radius=np.interp(places, walked, sizes[:, 0]),
        wide=np.interp(places, walked, sizes[:, 1]),
        behind_disc=np.interp(places, 0.5 * (walked[:-1] + walked[1:]), ends[:-1].astype(float)),
    )


def paint_canal(canvas: Canvas, spine: Spine, form: CanalForm) -> None:
    """Paint the canal wherever no bone or disc is.

    Args:
        canvas: Painted in place; bones and discs are there already.
        spine: Whose canal.
        form: What varies.
    """
    places, line, radius, wide, behind_disc = canal_course(spine)
    content = _Content(
        form.conus_z,
        form.sac_end_z,
        form.cord,
        form.crowding,
        form.veins,
        form.strands,
        form.plexus,
    )
    # Fat fills the gap between two laminae; veins lie behind the middle of a body.
    dorsal = form.dorsal * (0.6 + 1.1 * behind_disc)
    steps = line[:-1] - line[1:]
    lengths = np.linalg.norm(steps, axis=1)
    axes, middles = frames_along(steps), 0.5 * (line[:-1] + line[1:])
    halves = 0.5 * lengths + OVERLAP_MM
    reach = np.stack([radius[:-1] * wide[:-1] + 2.0, radius[:-1] + VENTRAL_MM, halves], axis=1)
    first, last = canvas.grid.box_around(middles, axes, reach)
    near = np.all((last > 0) & (first < canvas.grid.shape), axis=1)
    for n in np.flatnonzero(near):
        piece = _Piece(
            half=float(halves[n]),
            radius_top=float(radius[n]),
            radius_bottom=float(radius[n + 1]),
            widen=float(0.5 * (wide[n] + wide[n + 1])),
            start=float(0.5 * (places[n] + places[n + 1])),
            top_z=float(line[n, 2]),
            bottom_z=float(line[n + 1, 2]),
            dorsal_top=float(dorsal[n]),
            dorsal_bottom=float(dorsal[n + 1]),
            ventral=float(1.0 - behind_disc[n]),
        )
        patch = canvas.patch(middles[n], axes[n], reach[n])
        if patch is not None:
            _paint_piece(canvas.maps, patch, piece, content)


def frames_along(heads: Vector) -> Vector:
    """(n, 3, 3) rows left, back, head of pieces that run along (n, 3) vectors."""
    heads = heads / np.linalg.norm(heads, axis=1, keepdims=True)
    left = np.array([1.0, 0.0, 0.0]) - heads * heads[:, :1]
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    return np.stack([left, np.cross(heads, left), heads], axis=1)


@jit
def _paint_piece(maps: Maps, patch: Patch, piece: _Piece, content: _Content) -> None:
    step = patch.frame[:, 2]
    for row in range(row_count(patch.box)):
        k, i, x0, y0, z0 = row_start(patch, row)
        for j in range(patch.box[4], patch.box[5]):
            x, y, z = x0 + step[0] * j, y0 + step[1] * j, z0 + step[2] * j
            if abs(z) > piece.half:
                continue
            at = (k, i, j)
            if maps.structure[at] not in (0, _CANAL, _IN_CORD):
                continue
            # The outermost part of a body's wall is cortex without a label.
            if maps.structure[at] == 0 and maps.tissue[at] == _CORTEX:
                continue
            t = min(1.0, max(0.0, 0.5 - 0.5 * z / (piece.half - OVERLAP_MM)))
            radius = piece.radius_top + (piece.radius_bottom - piece.radius_top) * t
            wide = radius * piece.widen
            if not _in_tube(x / wide, y, radius, VENTRAL_MM * piece.ventral):
                continue
            maps.structure[at] = _CANAL
            height = piece.top_z + (piece.bottom_z - piece.top_z) * t
            dorsal = piece.dorsal_top + (piece.dorsal_bottom - piece.dorsal_top) * t
            sac = _sac(x / (0.9 * wide), y / radius, dorsal)
            _fill(maps, at, piece.ventral, content, (x, y, radius, height, piece.start - z, sac))


@jit
def _in_tube(across: float, y: float, radius: float, ventral: float) -> bool:
    """Whether a point lies in the canal: round behind, flat in front, where the bodies bound it."""
    across *= across
    if y >= 0.0:
        return across + (y / radius) ** 2 < 1.0
    deep = (y / (radius + ventral)) ** 2
    return across * across + deep * deep < 1.0


@jit
def _sac(across: float, deep: float, dorsal: float) -> float:
    """Place in the sac's cross-section: 0 its middle to 1 its wall; fat lies behind it."""
    deep = (deep + dorsal) / (1.0 - dorsal)
    return np.sqrt(across * across + deep * deep)


@jit
def _fill(
    maps: Maps,
    at: tuple[int, int, int],
    ventral: float,
    content: _Content,
    place: tuple[float, float, float, float, float, float],
) -> None:
    """What a voxel of the canal holds: `place` is x, y, radius, height, length walked and sac."""
    x, y, radius, height, along, sac = place
    left = height - content.sac_end_z
    if left < TAPER_MM:
        sac /= np.sqrt(max(left, 0.01) / TAPER_MM)
    # In front the posterior ligament lies on the dura; behind a body both are off the wall.
    ligament = LIGAMENT_PART if y < 0.0 and abs(x) < LIGAMENT_HALF_MM else 0.0
    if left <= 0.0 or sac >= 1.02 + ligament:
        # Two channels run down the canal beside the midline and join behind each body.
        vein = content.veins * max(ventral, min(1.0, abs(x) / (0.9 * radius)))
        plexus = grain(maps.noise, content.plexus, x, y, 0.3 * along) + 2.4 * vein - 0.7
        if y < -0.4 * radius and plexus > 0.0:
            put(maps, at, _VEIN, max(15.0, 85.0 - 60.0 * plexus), 0.0)
        else:
            put(maps, at, _FAT, 95.0, 0.0)
        return
    if sac >= 0.97:
        put(maps, at, _LIGAMENT, 0.0, 0.0)  # the dura
        return
    above = height - content.conus_z
    cord = min(4.2, content.cord * radius * (1.0 + min(above, 0.0) / CONUS_TAPER_MM))
    if above > -CONUS_TAPER_MM and (x / 1.3) ** 2 + (y + 0.5) ** 2 < max(cord, 0.0) ** 2:
        maps.structure[at] = _IN_CORD
        put(maps, at, _CORD, 0.0, 0.0)
        return
    # Roots hang behind in a supine patient; higher up they lie close around the conus.
    if above < 6.0 and y > -0.2 * radius:
        crowd = content.crowding - 0.9 * min(1.0, max(0.0, y / radius))
        if grain(maps.noise, content.strands, x, y, 0.1 * along) > crowd:
            put(maps, at, _NERVE, 0.0, 0.0)
            return
    put(maps, at, _CSF, 0.0, 0.0)
