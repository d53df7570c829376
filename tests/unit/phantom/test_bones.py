"""Painted bones and discs: labels, continuity across grids, joints, and who may overwrite whom."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from models.errors import GeometryError
from models.geometry import to_index
from models.localiser.classes import Structure
from training.phantom.anatomy import arch, body, disc, ligaments, ribs, sacrum
from training.phantom.anatomy.posture import rotation
from training.phantom.anatomy.solids import (
    NO_PARTS,
    Part,
    SolidLook,
    paint_solid,
    solid_patch,
    table_of,
)
from training.phantom.anatomy.spine import (
    BodyShape,
    Bone,
    Demographics,
    Spine,
    build_spine,
    level_names,
    sample_body,
    sample_disc,
    sample_subject,
)
from training.phantom.painting.grid import Canvas, FineGrid
from training.phantom.painting.tissues import Tissue

PITCH = (2.0, 1.2, 1.2)


def draw_spine(seed: int, fixed: Demographics) -> Spine:
    rng = np.random.default_rng(seed)
    subject = sample_subject(rng, fixed)
    levels = level_names(subject.numbering)
    shapes = {level: sample_body(level, subject, rng, 1.0) for level in levels}
    discs = {level: sample_disc(level, subject.age_years, rng, 0.0) for level in levels}
    return build_spine(subject, {k: (s, s) for k, s in shapes.items()}, discs, rng)


def grid_at(
    middle: np.ndarray, shape: tuple[int, int, int], tilt: tuple[float, float, float] = (0, 0, 0)
) -> FineGrid:
    axes = rotation(*tilt)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = axes[0] * PITCH[0], -axes[2] * PITCH[1]
    affine[:3, 2] = axes[1] * PITCH[2]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return FineGrid(shape, affine)


def paint(spine: Spine, grid: FineGrid, seed: int = 0) -> Canvas:
    """Every painter of bones and discs, in the scene's order."""
    rng = np.random.default_rng(seed)
    canvas = Canvas.blank(grid)
    numbers = {name: n + 1 for n, name in enumerate((*spine.levels, "S1"))}
    arches = {b.level: arch.sample_arch(rng, b, spine.subject) for b in spine.bones if not b.sacral}
    cage, bands = ribs.sample_ribs(rng, spine), ligaments.sample_ligaments(rng, 60.0)
    for bone in spine.bones:
        marrow = body.sample_marrow(rng, 45.0, 8.0, 0.6)
        body.paint_body(canvas, bone, numbers.get(bone.level, 0), marrow)
    for upper, lower in pairwise(spine.bones):
        disc.paint_disc(canvas, upper, lower, disc.sample_disc_look(rng, upper.disc))
    sacrum.paint_sacrum(canvas, spine, sacrum.sample_sacrum(rng, spine))
    for bone in spine.bones:
        if bone.level in arches:
            arch.paint_arch(canvas, bone, spine.canal(bone.level), arches[bone.level])
            ribs.paint_ribs(canvas, bone, cage)
    for upper, lower in pairwise(spine.bones):
        if upper.level in arches:
            pair = (arches[upper.level], arches.get(lower.level))
            canals = (spine.canal(upper.level), spine.canal(lower.level))
            ligaments.paint_ligaments(canvas, (upper, lower), canals, pair, bands)
    return canvas


@pytest.fixture(scope="module")
def spine() -> Spine:
    return draw_spine(1, Demographics(numbering="usual", castellvi="none", age_years=65.0))


@pytest.fixture(scope="module")
def canvas(spine: Spine) -> Canvas:
    return paint(
        spine, grid_at(spine.bone("L3").centre + np.array([0.0, 12.0, 0.0]), (40, 190, 110))
    )


def value_at(canvas: Canvas, values: np.ndarray, bone: Bone, *own: float) -> int:
    """A map's value at a point of a bone's own frame."""
    point = bone.centre + np.array(own) @ bone.axes
    k, i, j = np.rint(to_index(canvas.grid.affine, point)).astype(int)
    return int(values[k, i, j])


def test_the_same_draw_gives_the_same_bytes(spine: Spine, canvas: Canvas) -> None:
    again = paint(spine, canvas.grid)
    for name in ("tissue", "fat", "water", "structure", "body"):
        assert np.array_equal(getattr(again.maps, name), getattr(canvas.maps, name)), name


def test_labels_lie_where_the_bones_are(spine: Spine, canvas: Canvas) -> None:
    maps = canvas.maps
    for n, level in enumerate((*spine.levels, "S1")):
        if level not in ("T12", "L1", "L2", "L3", "L4", "L5", "S1"):
            continue
        bone = spine.bone(level)
        wanted = Structure.SACRUM_S1 if level == "S1" else Structure.BODY
        assert value_at(canvas, maps.structure, bone, 0, 0, 0) == wanted, level
        assert value_at(canvas, maps.body, bone, 0, 0, 0) == n + 1, level
        if level != "S1":
            tip = bone.shape.half_depth + 2 * spine.canal(level)[0] + 14.0
            behind = [
                value_at(canvas, maps.structure, bone, 0, tip, z) for z in np.arange(-20, 4, 1.0)
            ]
            assert Structure.POSTERIOR_ELEMENTS in behind, level


def test_discs_fill_the_gap_between_their_bodies(spine: Spine, canvas: Canvas) -> None:
    for upper, lower in pairwise(spine.bones):
        if upper.level not in ("L1", "L2", "L3", "L4", "L5"):
            continue
        start = upper.centre
        line = [start + t * (lower.centre - start) for t in np.linspace(0, 1, 60)]
        index = np.rint(to_index(canvas.grid.affine, np.array(line))).astype(int)
        seen = canvas.maps.structure[tuple(index.T)]
        solid = {int(Structure.BODY), int(Structure.SACRUM_S1)}
        between = [int(v) for v in seen if int(v) not in solid]
        assert between.count(int(Structure.DISC)) >= 3, upper.level
        # Nothing but the unlabelled quarter millimetre of cortex beside either endplate.
        assert len(between) - between.count(int(Structure.DISC)) <= 4, upper.level


def test_a_tilted_grid_cuts_the_same_solids(spine: Spine) -> None:
    """Volumes and centres of bodies and discs agree between two angulations."""
    middle = spine.bone("L3").centre + np.array([0.0, 8.0, 0.0])
    straight = paint(spine, grid_at(middle, (44, 80, 100)))
    tilted = paint(spine, grid_at(middle, (48, 96, 110), (0.2, 0.12, 0.1)))
    number = spine.levels.index("L3") + 1
    centres, volumes = [], []
    for canvas in (straight, tilted):
        voxels = np.argwhere(canvas.maps.body == number)
        centres.append((canvas.grid.affine @ np.append(voxels.mean(axis=0), 1))[:3])
        volumes.append(len(voxels))
    assert np.linalg.norm(centres[0] - centres[1]) < 0.6
    assert abs(volumes[0] / volumes[1] - 1) < 0.03


def test_one_point_has_one_tissue_on_every_grid(spine: Spine) -> None:
    """Away from edges both grids see the same structure, within a voxel."""
    middle = spine.bone("L3").centre + np.array([0.0, 8.0, 0.0])
    straight = paint(spine, grid_at(middle, (44, 80, 100)))
    tilted = paint(spine, grid_at(middle, (60, 120, 130), (0.2, 0.12, 0.1)))
    index = np.argwhere(straight.maps.structure != 255)[::37]
    points = index @ straight.grid.affine[:3, :3].T + straight.grid.affine[:3, 3]
    other = np.rint(to_index(tilted.grid.affine, points)).astype(int)
    held = np.all((other >= 1) & (other < np.array(tilted.maps.body.shape) - 1), axis=1)
    mine = straight.maps.structure[tuple(index[held].T)]
    around = np.stack(
        [
            tilted.maps.structure[tuple((other[held] + step).T)]
            for step in np.argwhere(np.ones((3, 3, 3))) - 1
        ]
    )
    assert held.sum() > 1000
    assert np.mean((around == mine).any(axis=0)) > 0.995


def test_pedicles_open_into_the_body(spine: Spine, canvas: Canvas) -> None:
    rng = np.random.default_rng(0)
    bone = spine.bone("L4")
    parts = arch.pedicle_parts(bone, spine.canal("L4"), arch.sample_arch(rng, bone, spine.subject))
    x, y = abs(parts[0][0]), bone.shape.half_depth + 0.7 * spine.canal("L4")[0]
    z = parts[0][2]
    assert arch.in_pedicle(parts, x, y, z)
    assert arch.in_pedicle(parts, -x, y, z)
    assert not arch.in_pedicle(parts, 0.0, y, z)
    assert not arch.in_pedicle(parts, x, y, z - 20.0)
    assert value_at(canvas, canvas.maps.structure, bone, x, y, z) == Structure.POSTERIOR_ELEMENTS
    patch = arch.arch_patch(canvas, bone)
    assert patch is not None
    box = tuple(slice(*pair) for pair in patch.box.reshape(3, 2))
    assert (canvas.maps.structure[box] == Structure.POSTERIOR_ELEMENTS).sum() > 1000


def test_facet_joints_have_a_space(canvas: Canvas) -> None:
    joints = (canvas.maps.tissue == Tissue.CARTILAGE) | (canvas.maps.tissue == Tissue.FLUID)
    assert (joints & (canvas.maps.structure == Structure.POSTERIOR_ELEMENTS)).sum() > 60


def test_marrow_is_ringed_by_cortex(canvas: Canvas) -> None:
    labelled = canvas.maps.body > 0
    tissue = canvas.maps.tissue[labelled]
    assert 0.02 < np.mean(tissue == Tissue.CORTEX) < 0.3
    fat = canvas.maps.fat[labelled & (canvas.maps.tissue == Tissue.MARROW)].astype(float)
    assert 38 < fat.mean() < 54
    assert 5 < fat.std() < 14


def test_bodies_are_round_in_front_and_have_corners_behind(spine: Spine) -> None:
    """18 mm beside the middle both walls lie 3 to 4.5 mm further back, as on real scans."""
    shifts, corners = [], []
    for level in ("T12", "L1", "L2", "L3", "L4"):
        shape = spine.bone(level).shape
        depth = np.arange(-30.0, 30.0, 0.25)

        def walls(x: float, shape: BodyShape = shape, depth: np.ndarray = depth) -> np.ndarray:
            held = depth[[body.in_label(shape, x, y, 0.0) for y in depth]]
            return held[[0, -1]]

        beside, middle = walls(0.75 * shape.half_width), walls(0.0)
        shifts.append((beside - middle).mean())
        assert beside[0] > middle[0] + 2.0
        corners.append(walls(0.5 * shape.half_width)[1] - middle[1])
    assert 3.0 < np.median(shifts) < 4.5
    # A hollow between the corners, where the canal lies.
    assert np.median(corners) > 0.0


def test_only_thoracic_levels_have_ribs(spine: Spine) -> None:
    for level, some in (("T12", True), ("T6", True), ("L1", False), ("L3", False)):
        bone = spine.bone(level)
        canvas = Canvas.blank(grid_at(bone.centre + np.array([0.0, 10.0, 0.0]), (60, 60, 60)))
        cage = ribs.sample_ribs(np.random.default_rng(0), spine)
        ribs.paint_ribs(canvas, bone, cage)
        assert (canvas.maps.tissue == Tissue.MARROW).any() == some, level
    bone = spine.bone("L1")
    canvas = Canvas.blank(grid_at(bone.centre + np.array([0.0, 10.0, 0.0]), (60, 60, 60)))
    cage = replace(ribs.sample_ribs(np.random.default_rng(0), spine), lumbar_mm=30.0)
    ribs.paint_ribs(canvas, bone, cage)
    assert (canvas.maps.tissue == Tissue.MARROW).any()


def test_necks_of_ribs_are_as_thick_as_in_people_and_the_last_more_slender(spine: Spine) -> None:
    sizes = {}
    for level in ("T10", "T12"):
        bone = spine.bone(level)
        canvas = Canvas.blank(grid_at(bone.centre + np.array([0.0, 10.0, 0.0]), (60, 60, 60)))
        cage = replace(ribs.sample_ribs(np.random.default_rng(0), spine), stout=1.0)
        ribs.paint_ribs(canvas, bone, cage)
        beside = bone.centre + (bone.intact.half_width + 9.0) * bone.axes[0]
        at = round(float(to_index(canvas.grid.affine, beside)[0]))
        rows, columns = np.nonzero(canvas.maps.structure[at] == Structure.RIB)
        sizes[level] = (np.ptp(rows) + 1) * PITCH[1], (np.ptp(columns) + 1) * PITCH[2], len(rows)
    height, depth, pixels = sizes["T10"]
    assert 10.0 < height < 15.0
    assert 7.0 < depth < 15.0
    assert 60.0 < pixels * PITCH[1] * PITCH[2] < 130.0
    assert sizes["T12"][2] < 0.75 * pixels


def test_a_dry_disc_is_darker_and_a_gas_disc_has_gas(spine: Spine) -> None:
    upper, lower = spine.bone("L3"), spine.bone("L4")
    assert upper.disc is not None
    found = {}
    for name, state in (
        ("wet", replace(upper.disc, hydration=0.95, vacuum=False)),
        ("dry", replace(upper.disc, hydration=0.1, vacuum=True)),
    ):
        canvas = Canvas.blank(grid_at(0.5 * (upper.centre + lower.centre), (40, 50, 60)))
        look = disc.sample_disc_look(np.random.default_rng(3), state)
        disc.paint_disc(canvas, upper, lower, look)
        maps = canvas.maps
        found[name] = (
            maps.water[maps.tissue == Tissue.NUCLEUS].mean(), (maps.tissue == Tissue.GAS).any()
        )  # fmt: skip
    assert found["wet"][0] > 3 * found["dry"][0]
    assert not found["wet"][1]
    assert found["dry"][1]


def test_a_fused_process_runs_into_the_sacrum() -> None:
    fixed = Demographics(numbering="sacralised", castellvi="IIIb", age_years=50.0)
    spine = draw_spine(4, fixed)
    rng = np.random.default_rng(0)
    joined = arch.sample_arch(rng, spine.bone("L5"), spine.subject)
    assert (joined.joined_left, joined.joined_right) == (3, 3)
    assert arch.sample_arch(rng, spine.bone("L4"), spine.subject).joined_left == 0
    with pytest.raises(GeometryError):
        arch.sample_arch(rng, spine.bone("S1"), spine.subject)


def test_solids_never_overwrite_what_is_labelled() -> None:
    canvas = Canvas.blank(grid_at(np.zeros(3), (20, 30, 30)))
    canvas.maps.structure[:10] = Structure.CANAL
    table = table_of([Part((0.0, 0.0, -5.0), (0.0, 0.0, 5.0), (8.0, 8.0, 8.0))])
    found = solid_patch(canvas, np.zeros(3), np.eye(3), table)
    assert found is not None
    texture = sacrum.sample_texture(np.random.default_rng(0), 3.0)
    arch_label = int(Structure.POSTERIOR_ELEMENTS)
    core, shell = int(Tissue.MARROW), int(Tissue.CORTEX)
    paint_solid(
        canvas.maps, *found, NO_PARTS, SolidLook(shell, core, 50.0, 5.0, texture, arch_label)
    )
    assert not canvas.maps.tissue[:10].any()
    assert (canvas.maps.structure[10:] == arch_label).sum() > 300
    assert (canvas.maps.tissue[10:] == Tissue.MARROW).any()


def test_bones_outside_the_grid_are_left_alone(spine: Spine) -> None:
    canvas = Canvas.blank(grid_at(np.array([0.0, 900.0, 0.0]), (10, 10, 10)))
    painted = paint(spine, canvas.grid)
    assert not painted.maps.tissue.any()
