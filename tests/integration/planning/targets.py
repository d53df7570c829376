"""Targets measured on synthetic studies, held against where the body was built.

    python -m tests.integration.planning.targets --spines 8     prints the table of errors

A spine is drawn with a wedge, a biconcave and a crush fracture, scanned in an oblique stack, and
measured twice: on the truth's own label map, which asks the geometry alone, and on what the shipped
localiser makes of the image. The true target follows the same rule on the continuous solid.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.findings import (
    Anchor,
    Coverage,
    LevelName,
    Localisation,
    StudyVolumes,
    Vertebra,
)
from models.geometry import to_lps
from models.localiser.bodies import chain_directions, measure
from models.morphometry.morphometry import measure_levels
from models.morphometry.result import CUT_SIDEWAYS
from models.morphometry.target import AIMED_PART, CORTEX_MM, MOST_PART
from models.volume import Role
from training.phantom.anatomy.body import body_distances
from training.phantom.anatomy.posture import rotation
from training.phantom.anatomy.spine import Bone
from training.phantom.disease.fracture import sample_fracture
from training.phantom.draw import Drawn, draw_image
from training.phantom.scanner.truth import fraction_on
from training.phantom.scene import Aim, Scene, SceneRequest, sample_scene

Array = NDArray[np.float64]
Localise = Callable[[StudyVolumes], Localisation]

FRACTURES: Final = {"T12": "wedge", "L1": "crush", "L2": "biconcave", "L3": "wedge"}
"""Level to the shape drawn there; the other levels are whole."""

SLICE_MM: Final = 4.4
"""Distance of slices; with thicker ones nothing is claimed."""

MOST_TURN_DEG: Final = np.array([10.0, 8.0, 8.0])
"""A stack is turned against the spine by up to this, about each of its axes."""

MATCH_MM: Final = 12.0
"""A localised body belongs to the true one whose centre is nearer than this."""

MARGIN: Final = 3
_STEP_MM: Final = 0.02
_REACH: Final = np.arange(-40.0, 40.0 + _STEP_MM, _STEP_MM)


@dataclass(frozen=True, slots=True)
class Spine:
    """A synthetic spine and one image of it."""

    scene: Scene
    drawn: Drawn


@dataclass(frozen=True, slots=True)
class Miss:
    """How one measured target lies against the true one.

    Attributes:
        level: Of the body.
        shape: Drawn fracture, "whole" for none.
        error_mm: Distance to the true target.
        along_mm: (3,) to the left, to the back and to the head of it, in the body's own frame.
        inside: Whether the point lies inside the true solid.
        depth_part: Part of the true depth behind the true anterior wall, at the point's height.
        cut: Whether the target says that the body goes on beyond the slices.
    """

    level: str
    shape: str
    error_mm: float
    along_mm: Array
    inside: bool
    depth_part: float
    cut: bool


def draw_spine(seed: int) -> Spine:
    """Draw a spine with all three shapes, and a STIR image of it in an oblique stack."""
    rng = np.random.default_rng(seed)
    diseases = {level: sample_fracture(rng, "acute", shape) for level, shape in FRACTURES.items()}
    request = SceneRequest(region="thoracolumbar", numbering="usual", diseases=diseases)
    scene = sample_scene(seed, request)
    turn = rotation(*np.radians(rng.uniform(-MOST_TURN_DEG, MOST_TURN_DEG)))
    scene = replace(scene, aim=Aim(scene.aim.middle, turn @ scene.aim.axes))
    return Spine(scene, draw_image(scene, rng, role=Role.STIR, slice_mm=SLICE_MM))


def true_localisation(spine: Spine) -> Localisation:
    """What a localiser without error would say: the truth's labels, measured by its own ruler."""
    drawn, numbers = spine.drawn, spine.scene.numbers
    found = [(name, index) for name, index in numbers.items() if _is_whole(drawn.body == index)]
    names = [name for name, _ in found]
    centres = np.array([spine.scene.spine.bone(name).centre for name in names])
    labels = np.zeros_like(drawn.body)
    vertebrae = []
    directions = chain_directions(centres)
    for place, ((name, index), direction) in enumerate(zip(found, directions, strict=True), 1):
        labels[drawn.body == index] = place
        occupancy = fraction_on((drawn.tissue.body == index).astype(np.float32), drawn.tissue,
                                drawn.volume)  # fmt: skip
        vertebrae.append(_vertebra(place, name, occupancy, drawn, direction))
    return Localisation(
        labels, drawn.volume.affine, tuple(vertebrae), Anchor.SACRUM, drawn.structure
    )


def _is_whole(mask: NDArray[np.bool_]) -> bool:
    """Whether a body is seen, and not cut by an edge of the image."""
    if not mask.any():
        return False
    edges = (mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1], mask[0], mask[-1])
    return not any(edge.any() for edge in edges)


def _vertebra(
    place: int, name: str, occupancy: NDArray[np.float32], drawn: Drawn, direction: Array
) -> Vertebra:
    where = np.argwhere(occupancy > 0)
    low = np.maximum(where.min(axis=0) - MARGIN, 0)
    high = where.max(axis=0) + MARGIN + 1
    block = occupancy[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))]
    affine = drawn.volume.affine.copy()
    affine[:3, 3] = to_lps(drawn.volume.affine, low.astype(np.float64))
    measured = measure(np.ascontiguousarray(block, np.float32), affine, direction)
    return Vertebra(
        place, LevelName(name, 0.95), (), Coverage.COMPLETE, measured.centroid_lps_mm,
        measured.axes_lps, measured.size, 0.99,
    )  # fmt: skip


def misses(spine: Spine, localisation: Localisation) -> Iterator[Miss]:
    """Hold every measured target against the true body it lies nearest to.

    Bodies that nothing true lies near, and bodies without a target, are left out.
    """
    geometries = measure_levels(localisation, [False] * len(localisation.vertebrae))
    bones = [spine.scene.spine.bone(name) for name in spine.scene.spine.levels]
    for vertebra, geometry in zip(localisation.vertebrae, geometries, strict=True):
        away = [float(np.linalg.norm(b.centre - vertebra.centroid_lps_mm)) for b in bones]
        bone = bones[int(np.argmin(away))]
        if geometry is None or geometry.target is None or min(away) > MATCH_MM:
            continue
        point = geometry.target.point_lps_mm
        local = bone.axes @ (point - bone.centre)
        along = local - true_target(bone)
        front, behind = _walls(bone, float(local[2]))
        yield Miss(
            level=bone.level,
            shape=FRACTURES.get(bone.level, "whole"),
            error_mm=float(np.linalg.norm(along)),
            along_mm=along,
            inside=body_distances(bone.shape, *(float(v) for v in local))[0] < 0.0,
            depth_part=(float(local[1]) - front) / (behind - front),
            cut=CUT_SIDEWAYS in geometry.target.limited_by,
        )


def true_target(bone: Bone) -> Array:
    """(3,) place of the target in the body's own frame (left, back, head), from its solid.

    On the mid-line, 29 % of the depth behind the anterior wall and at least 5 mm, in the anterior
    third, half-way between the endplates there.
    """
    head = 0.0
    back = 0.0
    for _ in range(8):
        front, behind = _walls(bone, head)
        depth = behind - front
        back = front + min(max(AIMED_PART * depth, CORTEX_MM), MOST_PART * depth)
        inside = np.array([body_distances(bone.shape, 0.0, back, z)[0] < 0.0 for z in _REACH])
        head = float(_REACH[inside].mean())
    return np.array([0.0, back, head])


def _walls(bone: Bone, head: float) -> tuple[float, float]:
    inside = np.array([body_distances(bone.shape, 0.0, y, head)[0] < 0.0 for y in _REACH])
    along = _REACH[inside]
    return float(along.min()), float(along.max())


def shipped_localiser() -> Localise:
    """Open the localiser that the product ships."""
    from models.localiser.localiser import Localiser
    from models.registry import resolve
    from models.runtime import open_session
    from service.settings import Settings

    bundle = resolve(Settings().localiser_bundle)
    return Localiser(open_session(bundle, "cpu"), bundle.metadata)


def through(spine: Spine, localise: Localise) -> Localisation:
    """What a localiser makes of the image."""
    volume = spine.drawn.volume
    return localise(StudyVolumes(volume, {volume.role: volume}))


def _print(title: str, found: Sequence[Miss]) -> None:
    print(f"\n{title}")  # noqa: T201  a command
    print("shape      bodies  median mm  95 % mm  worst mm  within 2 mm  inside  anterior third")  # noqa: T201
    for shape in ("whole", *dict.fromkeys(FRACTURES.values()), "all"):
        chosen = [miss for miss in found if shape in (miss.shape, "all")]
        if not chosen:
            continue
        error = np.array([miss.error_mm for miss in chosen])
        third = np.mean([miss.depth_part <= MOST_PART for miss in chosen])
        print(  # noqa: T201
            f"{shape:10} {len(chosen):6} {np.median(error):10.2f} {np.quantile(error, 0.95):8.2f} "
            f"{error.max():9.2f} {100 * np.mean(error < 2.0):10.0f} % "
            f"{100 * np.mean([miss.inside for miss in chosen]):5.0f} % {100 * third:11.0f} %"
        )


def main() -> None:
    """Print the errors on a number of spines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--spines", type=int, default=8)
    parser.add_argument("--first", type=int, default=7000, help="seed of the first spine")
    given = parser.parse_args()
    localise = shipped_localiser()
    on_truth: list[Miss] = []
    on_image: list[Miss] = []
    for seed in range(given.first, given.first + given.spines):
        spine = draw_spine(seed)
        on_truth += misses(spine, true_localisation(spine))
        on_image += misses(spine, through(spine, localise))
    _print("on the truth's label map", on_truth)
    _print("through the shipped localiser", [miss for miss in on_image if not miss.cut])
    _print(
        "through the shipped localiser, bodies cut by the stack and marked so",
        [miss for miss in on_image if miss.cut],
    )


if __name__ == "__main__":
    main()
