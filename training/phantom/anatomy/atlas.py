"""What lies above C2, so that a neck looks right: the dens, C1 and the base of the skull.

All in the frame of the body of C2 (left, back, head), mm. None of it is a labelled body: the dens
and C1 count as posterior elements, the skull as background.
"""

from __future__ import annotations

from models.localiser.classes import Structure
from training.phantom.anatomy.solids import Part
from training.phantom.anatomy.spine import Bone

_BODY = int(Structure.BODY)


def atlas_parts(axis: Bone, canal: tuple[float, float]) -> list[Part]:
    """The dens and C1: anterior arch, lateral masses, posterior arch.

    Args:
        axis: The bone C2.
        canal: Half-depth and half-width of the lumbar canal, mm.
    """
    top = 0.5 * axis.shape.height_rim
    size = axis.shape.half_depth / 7.0
    wall, deep, wide = axis.shape.half_depth, 0.95 * canal[0], canal[1]
    ring = top + 9.0 * size
    behind = wall + 2 * deep + 4.0
    parts = [
        Part(
            (0.0, 0.5, top - 5.0), (0.0, 0.5, top + 10.0 * size), (5.0, 5.0, 4.5), 1.0, joins=_BODY
        ),
        Part((0.0, 0.0, top - 4.0), (0.0, 0.5, top + 2.0), (6.5, 6.0, 3.0), 1.0, joins=_BODY),
    ]
    for s in (1.0, -1.0):
        mass = (s * (wide + 4.5), wall - 3.0, ring - 2.0)
        front = (s * 7.0, -7.5 * size, ring)
        parts += [
            Part((0.0, -8.6 * size, ring), front, (2.6, 2.4, 5.0), 1.0),
            Part(front, mass, (2.8, 2.8, 4.0), 1.0),
            Part(mass, mass, (6.0, 7.5, 6.5), 1.0),
            Part(mass, (s * (wide + 1.0), behind - 6.0, ring), (2.4, 2.4, 3.4), 0.9),
            Part((s * (wide + 1.0), behind - 6.0, ring), (0.0, behind, ring), (2.2, 2.2, 3.6), 0.9),
        ]
    return parts


def skull_parts(axis: Bone, canal: tuple[float, float]) -> list[Part]:
    """The clivus in front of the foramen magnum and the condyles beside it.

    The vault of the skull belongs to the backdrop.
    """
    top = 0.5 * axis.shape.height_rim
    size = axis.shape.half_depth / 7.0
    wall, deep = axis.shape.half_depth, canal[0]
    base = top + 22.0 * size
    opening = wall + 2 * deep + 8.0
    parts = [
        Part((0.0, -2.0, base + 1.0), (0.0, -14.0, base + 16.0), (11.0, 4.0, 4.0), 1.2),
        Part((0.0, -14.0, base + 16.0), (0.0, -24.0, base + 36.0), (14.0, 7.0, 6.0), 1.2),
    ]
    for s in (1.0, -1.0):
        condyle = (s * 15.0, wall + 1.0, base - 3.0)
        parts.append(Part(condyle, (s * 17.0, wall + 6.0, base), (5.5, 8.0, 4.5), 1.0))
        parts.append(Part(condyle, (s * 24.0, opening + 4.0, base), (9.0, 6.0, 4.0), 1.2))
    return parts
