"""The sampled spine: sizes, numbering, posture, and clear refusals of what cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import GeometryError
from models.localiser.classes import Structure
from training.phantom.anatomy.body import body_distances, endplate
from training.phantom.anatomy.norms import CASTELLVI, NORMS, NUMBERINGS, joined_sides, level_names
from training.phantom.anatomy.spine import (
    BodyShape,
    Demographics,
    DiscState,
    Spine,
    Subject,
    build_spine,
    check_shape,
    sample_body,
    sample_disc,
    sample_subject,
)
from training.phantom.painting.grid import FineGrid
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene


def draw_bodies(
    rng: np.random.Generator, fixed: Demographics
) -> tuple[Subject, dict[str, tuple[BodyShape, BodyShape]], dict[str, DiscState]]:
    subject = sample_subject(rng, fixed)
    levels = level_names(subject.numbering)
    shapes = {level: sample_body(level, subject, rng, 1.0) for level in levels}
    discs = {level: sample_disc(level, subject.age_years, rng, 0.0) for level in levels}
    return subject, {level: (shape, shape) for level, shape in shapes.items()}, discs


def draw_spine(seed: int, numbering: str | None = None, castellvi: str | None = None) -> Spine:
    rng = np.random.default_rng(seed)
    fixed = Demographics(numbering=numbering, castellvi=castellvi)
    return build_spine(*draw_bodies(rng, fixed), rng)


def test_the_same_seed_gives_the_same_spine() -> None:
    first, again, other = draw_spine(3), draw_spine(3), draw_spine(4)
    assert first.subject == again.subject
    for mine, theirs in zip(first.bones, again.bones, strict=True):
        assert mine.shape == theirs.shape
        assert np.array_equal(mine.centre, theirs.centre)
    assert first.subject != other.subject


@pytest.mark.parametrize("numbering", sorted(NUMBERINGS))
def test_every_numbering_can_be_built(numbering: str) -> None:
    spine = draw_spine(11, numbering=numbering)
    assert spine.levels == level_names(numbering)
    assert [b.level for b in spine.bones] == [
        *spine.levels, "S1", "S2", "S3", "S4", "S5", "Co1", "Co2"
    ]  # fmt: skip
    heights = [b.centre[2] for b in spine.bones]
    assert heights == sorted(heights, reverse=True)
    assert np.allclose(spine.atlas[0], spine.bones[0].centre, atol=45.0)


def test_a_lumbarised_sacrum_is_squared_and_has_a_disc() -> None:
    usual, lumbarised = draw_spine(5, numbering="usual"), draw_spine(5, numbering="lumbarised")
    for spine, low, high in ((usual, 0.0, 0.75), (lumbarised, 0.82, 1.1)):
        first = spine.bone("S1").shape
        assert low < first.half_depth_bottom / first.half_depth_top < high
    assert usual.bone("S1").disc is None
    formed = lumbarised.bone("S1").disc
    assert formed is not None
    assert formed.hydration > 0.4


def test_a_sacralised_l5_tapers_and_its_disc_is_rudimentary() -> None:
    usual, fused = draw_spine(6, numbering="usual"), draw_spine(6, numbering="sacralised")

    def gap(spine):  # noqa: ANN001, ANN202
        upper, lower = spine.bone("L5"), spine.bone("S1")
        floor = upper.centre - 0.5 * upper.shape.height_rim * upper.axes[2]
        return float((floor - (lower.centre + 0.5 * lower.shape.height_rim * lower.axes[2]))
                     @ lower.axes[2])  # fmt: skip

    assert gap(fused) < 0.6 * gap(usual)
    assert fused.bone("L5").shape.half_depth_bottom < 0.93 * fused.bone("L5").shape.half_depth_top
    assert fused.subject.castellvi.startswith(("I", "V"))


def test_sizes_scatter_like_people() -> None:
    """3rd lumbar bodies of 120 people: medians within 15 % of the measured masks."""
    rng = np.random.default_rng(0)
    shapes = [sample_body("L3", sample_subject(rng), rng, 1.0) for _ in range(120)]
    posterior = np.array([s.height_posterior for s in shapes])
    depth = np.array([2 * s.half_depth for s in shapes])
    assert abs(np.median(posterior) / 28.1 - 1) < 0.15
    assert abs(np.median(depth) / 32.4 - 1) < 0.15
    assert 0.045 < posterior.std() / posterior.mean() < 0.11
    assert 0.05 < depth.std() / depth.mean() < 0.13


def test_sizes_of_one_person_go_together() -> None:
    rng = np.random.default_rng(1)
    pairs = []
    for _ in range(80):
        subject = sample_subject(rng)
        pairs.append([sample_body(n, subject, rng, 1.0).height_posterior for n in ("L2", "L4")])
    assert np.corrcoef(np.array(pairs).T)[0, 1] > 0.6


def test_neighbouring_mid_heights_differ_as_little_as_measured() -> None:
    ratios = []
    for seed in range(60):
        spine = sample_scene(seed, SceneRequest(healthy=True, numbering="usual")).spine
        above, here, below = (spine.bone(n).shape.height_middle for n in ("L2", "L3", "L4"))
        ratios.append(2 * here / (above + below))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.025)
    # Measured with the noise of 1 mm masks: 0.048.
    assert 0.025 < np.std(ratios) < 0.065


def test_men_are_taller_than_women() -> None:
    rng = np.random.default_rng(2)
    scale = {
        sex: np.mean([sample_subject(rng, Demographics(sex=sex)).scale for _ in range(80)])
        for sex in ("F", "M")
    }
    assert 0.88 < scale["F"] / scale["M"] < 0.97


def test_supine_lordosis_is_that_of_people() -> None:
    angles = []
    for seed in range(60):
        spine = draw_spine(seed, numbering="usual")
        up = [spine.bone(level).axes[2] for level in ("L1", "L5")]
        lean = [np.degrees(np.arctan2(v[1], v[2])) for v in up]
        angles.append(lean[0] - lean[1])
    assert 22 < np.median(angles) < 40
    assert 5 < np.std(angles) < 15


@pytest.mark.parametrize("seed", range(8))
def test_neighbouring_bodies_do_not_overlap(seed: int) -> None:
    """No point of a body's upper endplate lies inside the body above it."""
    spine = draw_spine(seed)
    for upper, lower in zip(spine.bones[:-1], spine.bones[1:], strict=True):
        shape = lower.shape
        for u in np.linspace(-0.9, 0.9, 7):
            for v in np.linspace(-0.9, 0.9, 7):
                if u * u + v * v > 0.9:
                    continue
                z = endplate(shape, u, v, True) - 0.3  # noqa: FBT003
                own = np.array([v * shape.half_width, u * shape.half_depth, z])
                point = lower.centre + own @ lower.axes
                x, y, z = upper.axes @ (point - upper.centre)
                assert body_distances(upper.shape, x, y, z)[0] > 0, (upper.level, u, v)


def test_castellvi_types_name_their_sides() -> None:
    assert [joined_sides(kind, left=True) for kind in CASTELLVI] == [
        (0, 0), (1, 0), (1, 1), (2, 0), (2, 2), (3, 0), (3, 3), (3, 2)
    ]  # fmt: skip
    assert joined_sides("IIa", left=False) == (0, 2)


def test_impossible_settings_are_refused() -> None:
    rng = np.random.default_rng(0)
    subject = sample_subject(rng, Demographics(numbering="usual"))
    for wrong in (
        {"sex": "X"}, {"age_years": -3.0}, {"stature_cm": 20.0}, {"numbering": "L9"},
        {"castellvi": "V"},
    ):  # fmt: skip
        with pytest.raises(GeometryError):
            Demographics(**wrong)
    for call in (
        lambda: level_names("L9"),
        lambda: sample_body("L9", subject, rng, 1.0),
        lambda: sample_disc("Q1", 50.0, rng, 0.0),
        lambda: sample_body("L3", replace(subject, scale=-1.0), rng, 1.0),
        lambda: joined_sides("X", left=True),
    ):
        with pytest.raises(GeometryError):
            call()


def test_impossible_bodies_are_refused() -> None:
    rng = np.random.default_rng(0)
    shape = sample_body("L3", sample_subject(rng), rng, 1.0)
    for wrong in (
        shape._replace(height_anterior=-4.0),
        shape._replace(half_depth_top=200.0),
        shape._replace(half_width_top=float("nan")),
        shape._replace(waist=0.9),
        shape._replace(lip=-1.0),
    ):
        with pytest.raises(GeometryError):
            check_shape(wrong)


def test_a_spine_needs_all_its_levels_and_discs() -> None:
    rng = np.random.default_rng(0)
    subject, bodies, discs = draw_bodies(rng, Demographics(numbering="usual"))
    short = {level: pair for level, pair in bodies.items() if level != "T7"}
    with pytest.raises(GeometryError):
        build_spine(subject, short, discs, rng)
    with pytest.raises(GeometryError):
        build_spine(subject, bodies, {"L1": discs["L1"]}, rng)
    with pytest.raises(GeometryError):
        build_spine(replace(subject, scale=9.0), bodies, discs, rng)


def test_every_level_has_a_norm() -> None:
    for numbering in NUMBERINGS:
        assert set(level_names(numbering)) <= set(NORMS)


def _canal_mm(scene: Scene, levels: Sequence[str]) -> NDArray[np.float64]:
    """(n, 2) depth and width of the drawn canal behind the middle of each body, mm."""
    step, half = 0.5, 18.0
    places = np.arange(-half, half, step)
    sizes = []
    for level in levels:
        bone = scene.spine.bone(level)
        behind = bone.shape.half_depth + scene.spine.canal(level)[0]
        affine = np.eye(4)
        affine[:3, :3] = np.stack([bone.axes[2], bone.axes[1], bone.axes[0]], axis=1) * step
        middle = bone.centre + behind * bone.axes[1]
        shape = (3, len(places), len(places))
        affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        structure = paint(scene, FineGrid(shape, affine)).maps.structure[1]
        canal = np.isin(structure, (Structure.CANAL, Structure.CORD))
        sizes.append(step * np.array([canal.any(axis=1).sum(), canal.any(axis=0).sum()]))
    return np.array(sizes)


def test_the_canal_is_narrow_in_the_chest_and_widens_down_the_loins() -> None:
    """Thoracic 17 to 22 mm wide, 15.5 to 18 deep; lumbar 24 to 27, shallowest at L3."""
    thoracic, lumbar = ("T4", "T6", "T8"), ("L1", "L2", "L3", "L4", "L5")
    scenes = [
        sample_scene(seed, SceneRequest(healthy=True, numbering="usual")) for seed in range(8)
    ]
    chest = np.median([_canal_mm(scene, thoracic) for scene in scenes], axis=0)
    loins = np.median([_canal_mm(scene, lumbar) for scene in scenes], axis=0)
    assert np.all((chest[:, 1] > 15.5) & (chest[:, 1] < 20.0))
    assert np.all((chest[:, 0] > 14.0) & (chest[:, 0] < 18.5))
    assert np.all(np.diff(loins[:, 1]) > -0.6)
    assert loins[-1, 1] > loins[0, 1] + 2.0
    assert np.argmin(loins[:, 0]) == lumbar.index("L3")
    assert loins[:, 1].min() > chest[:, 1].max() + 2.0
