"""One synthetic patient: sample anatomy and disease, paint the tissues, keep the truth.

case = sample_case(seed, CaseRequest(region="lumbar"))
python -m training.phantom.case --out DIR --count 400 --seed 1    # many, one file each
"""

from __future__ import annotations

import argparse
import json
import zipfile
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.phantom import pathology, skeleton, soft_tissue
from training.phantom.anatomy import (
    BodyShape,
    Bone,
    DiscState,
    Spine,
    Subject,
    build_spine,
    level_names,
    rotation,
    sample_body,
    sample_disc,
    sample_subject,
)
from training.phantom.canvas import Canvas, FineGrid
from training.phantom.pathology import HEALTHY, Disease
from training.phantom.tissues import EDEMA_FREE_WATER, LevelTruth, SpineCase, Tissue, TissueGrid

REGIONS = {"lumbar": 0.5, "lumbosacral": 0.2, "thoracolumbar": 0.2, "thoracic": 0.1}
"""Fields of view and how often training asks for them."""


@dataclass(frozen=True, slots=True)
class CaseRequest:
    """What to draw. Anything left None or empty is sampled.

    Attributes:
        region: One of `REGIONS`.
        diseases: Level name to the disease wanted there; given, no other disease is sampled.
        healthy: No sampled disease at all.
        in_plane_mm, slice_mm: Pitch of the fine grid.
        slices: Number of fine slices.
        field_mm: (rows, columns) extent of the fine grid, or None to sample it.
        numbering: Numbering variant.
    """

    region: str | None = None
    diseases: dict[str, Disease] = field(default_factory=dict)
    healthy: bool = False
    in_plane_mm: float = 0.8
    slice_mm: float = 1.4
    slices: int = 48
    field_mm: tuple[float, float] | None = None
    numbering: str | None = None


def sample_case(seed: int, request: CaseRequest | None = None) -> SpineCase:
    """Draw one patient.

    Args:
        seed: The same seed and request give the same case, bit for bit.
        request: What is fixed in advance.

    Returns:
        Tissue maps on the fine grid and the truth of every level.
    """
    request = request or CaseRequest()
    rng = np.random.default_rng(seed)
    subject = sample_subject(rng)
    if request.numbering is not None:
        subject = replace(subject, numbering=request.numbering)
    levels = level_names(subject.numbering)
    region = request.region or str(rng.choice(list(REGIONS), p=list(REGIONS.values())))
    diseases = _diseases(levels, region, request, rng)
    spine, shapes = _assemble(subject, levels, diseases, rng)
    grid = _fine_grid(spine, region, request, rng)
    canvas, marrow = _paint(grid, spine, diseases, rng)
    tissue = canvas.finish()
    truths = _truths(spine, shapes, diseases, tissue, marrow)
    return SpineCase(tissue, truths, seed, subject.sex, subject.age_years, subject.numbering)


def _diseases(
    levels: tuple[str, ...], region: str, request: CaseRequest, rng: np.random.Generator
) -> dict[str, Disease]:
    if request.diseases or request.healthy:
        return dict(request.diseases)
    found: dict[str, Disease] = {}
    candidates = [n for n in levels if n[0] in ("T", "L")]
    in_view = {"thoracic": candidates[:-2], "lumbar": candidates[-8:]}.get(region, candidates[-9:])
    if rng.random() < 0.16:
        return found
    spread = rng.random() < 0.12  # multiple metastases in one spine
    for level in in_view:
        draw = rng.random()
        if spread and rng.random() < 0.4:
            found[level] = pathology.sample_metastasis(rng)
        elif draw < 0.17:
            found[level] = pathology.sample_fracture(rng)
        elif draw < 0.22 and not spread:
            found[level] = pathology.sample_metastasis(rng)
    _add_mimics(found, levels, in_view, rng)
    return found


def _add_mimics(
    found: dict[str, Disease],
    levels: tuple[str, ...],
    in_view: list[str],
    rng: np.random.Generator,
) -> None:
    reddish = rng.random() < 0.15
    for level in in_view:
        mimics: list[str] = []
        for name, chance in (
            ("schmorl_node", 0.08),
            ("schmorl_node_acute", 0.025),
            ("haemangioma", 0.05),
            ("haemangioma_atypical", 0.015),
            ("bone_island", 0.02),
        ):
            if rng.random() < chance:
                mimics.append(name)
        if reddish and rng.random() < 0.8:
            mimics.append("red_marrow")
        _add(found, level, *mimics)
    for upper, lower in pairwise(levels):
        if upper not in in_view or lower not in in_view:
            continue
        kind = str(
            rng.choice(
                ["none", "modic_1", "modic_2", "modic_3", "discitis"],
                p=[0.855, 0.055, 0.055, 0.015, 0.02],
            )
        )
        healthy = upper not in found or found[upper].stage == "none"
        if kind != "none" and healthy and found.get(lower, HEALTHY).stage == "none":
            _add(found, upper, f"{kind}_inferior")
            _add(found, lower, f"{kind}_superior")


def _add(found: dict[str, Disease], level: str, *mimics: str) -> None:
    if mimics:
        disease = found.get(level, HEALTHY)
        found[level] = replace(disease, mimics=disease.mimics + mimics)


def _assemble(
    subject: Subject,
    levels: tuple[str, ...],
    diseases: dict[str, Disease],
    rng: np.random.Generator,
) -> tuple[Spine, dict[str, tuple[BodyShape, BodyShape]]]:
    shapes: dict[str, tuple[BodyShape, BodyShape]] = {}
    discs: dict[str, DiscState] = {}
    common = float(rng.normal(1.0, 0.02))
    degeneration = float(rng.normal(0, 0.25))
    for level in levels:
        intact = sample_body(level, subject, rng, common)
        disease = diseases.get(level, HEALTHY)
        shapes[level] = (pathology.deform(intact, disease, rng), intact)
        disc = sample_disc(level, subject.age_years, rng, degeneration)
        discs[level] = _disc_under(disease, disc, rng)
    return build_spine(subject, shapes, discs, rng), shapes


def _disc_under(disease: Disease, disc: DiscState, rng: np.random.Generator) -> DiscState:
    names = disease.mimics
    if "discitis_inferior" in names:
        return replace(
            disc, hydration=float(rng.uniform(0.6, 1.0)), height_factor=0.55, vacuum=False
        )
    if any(name in ("modic_1_inferior", "modic_2_inferior", "modic_3_inferior") for name in names):
        return replace(
            disc,
            hydration=min(disc.hydration, float(rng.uniform(0.05, 0.35))),
            height_factor=min(disc.height_factor, float(rng.uniform(0.4, 0.8))),
        )
    return disc


def _fine_grid(
    spine: Spine, region: str, request: CaseRequest, rng: np.random.Generator
) -> FineGrid:
    names = spine.levels
    centre_level = {
        "lumbar": names[-3],
        "lumbosacral": names[-1],
        "thoracolumbar": names[-6],
        "thoracic": names[-11],
    }[region]
    bone = spine.bone(centre_level)
    rows_mm, columns_mm = request.field_mm or (
        float(rng.uniform(240, 330)),
        float(rng.uniform(190, 260)),
    )
    # Technologists aim the stack along the spine: small residual tilts about every axis.
    axes = rotation(np.radians(rng.normal(0, 4)), np.radians(rng.normal(0, 3)), rng.normal(0, 0.05))
    spacing = np.array([request.slice_mm, request.in_plane_mm, request.in_plane_mm])
    shape = (
        request.slices,
        int(rows_mm / request.in_plane_mm),
        int(columns_mm / request.in_plane_mm),
    )
    middle = bone.centre + np.array([rng.normal(0, 3), rng.normal(5, 12), rng.normal(0, 14)])
    affine = np.eye(4)
    affine[:3, 0] = axes[0] * spacing[0]
    affine[:3, 1] = -axes[2] * spacing[1]
    affine[:3, 2] = axes[1] * spacing[2]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return FineGrid(shape, affine)


def _paint(
    grid: FineGrid, spine: Spine, diseases: dict[str, Disease], rng: np.random.Generator
) -> tuple[Canvas, dict[str, int]]:
    canvas = Canvas.blank(grid)
    soft_tissue.paint_background(canvas, spine, rng)
    numbers = {name: i + 1 for i, name in enumerate((*spine.levels, "S1"))}
    base = 100 * spine.subject.marrow_fat
    spread = float(rng.uniform(3.0, 8.5))
    vein = float(rng.uniform(0.2, 1.0))
    for bone in spine.bones:
        disease = diseases.get(bone.level, HEALTHY)
        field_ = skeleton.body_field(canvas, bone, bone.shape)
        if field_ is None:
            continue
        fat = base + rng.normal(0, 3) + disease.fat_shift
        marrow = skeleton.Marrow(float(np.clip(fat, 6, 88)), spread, vein)
        mask = skeleton.paint_body(field_, bone, numbers.get(bone.level, 0), marrow, rng)
        pathology.paint_disease(field_, bone.shape, disease, mask, rng)
        if "G3" in disease.signs:
            pathology.paint_retropulsion(field_.patch, bone.shape, numbers[bone.level], rng)
    for upper, lower in pairwise(spine.bones):
        skeleton.paint_disc(canvas, upper, lower, rng)
        if "discitis_inferior" in diseases.get(upper.level, HEALTHY).mimics:
            _infect_disc(canvas, upper, rng)
    skeleton.paint_canal(canvas, spine, rng)
    skeleton.paint_sacral_sides(canvas, spine, rng)
    for bone in spine.bones:
        if not bone.sacral:
            _paint_around(canvas, bone, spine, diseases.get(bone.level, HEALTHY), rng)
    return canvas, numbers


def _infect_disc(canvas: Canvas, upper: Bone, rng: np.random.Generator) -> None:
    below = upper.centre - upper.axes[2] * (0.5 * upper.shape.height_rim + 3)
    patch = canvas.patch(below, upper.axes, np.array([26.0, 22.0, 9.0]))
    if patch is not None:
        wet = (patch.tissue == Tissue.NUCLEUS) | (
            (patch.tissue == Tissue.ANNULUS) & (skeleton.texture(patch, rng, 5.0) > -0.2)
        )
        patch.paint(wet, Tissue.PUS)


def _paint_around(
    canvas: Canvas, bone: Bone, spine: Spine, disease: Disease, rng: np.random.Generator
) -> None:
    canal = (spine.canal_half_depth, spine.canal_half_width)
    marrow = skeleton.paint_posterior_elements(canvas, bone, canal, rng)
    signs = disease.signs
    if "B2" in signs and marrow is not None:
        back = skeleton.arch_patch(canvas, bone)
        if back is not None:
            pathology.infiltrate_pedicle(back, marrow, disease.etiology == "pathological", rng)
    if not signs & {"B3", "B5"}:
        return
    near = canvas.patch(bone.centre, bone.axes, np.array([48.0, 44.0, 34.0]))
    if near is not None and "B3" in signs:
        pathology.paint_epidural_mass(near, bone.shape.half_depth, rng)
    if near is not None and "B5" in signs:
        pathology.paint_paraspinal_mass(near, bone.shape, rng)


def _truths(
    spine: Spine,
    shapes: dict[str, tuple[BodyShape, BodyShape]],
    diseases: dict[str, Disease],
    tissue: TissueGrid,
    numbers: dict[str, int],
) -> tuple[LevelTruth, ...]:
    counts = np.bincount(tissue.body.ravel(), minlength=256)
    wet = tissue.free_water >= EDEMA_FREE_WATER
    wet &= (tissue.tissue == Tissue.MARROW) | (tissue.tissue == Tissue.METASTASIS_LYTIC)
    wet_counts = np.bincount(tissue.body[wet], minlength=256)
    faces = [face for axis in range(3) for face in (0, tissue.body.shape[axis] - 1)]
    edges = np.unique(
        np.concatenate(
            [tissue.body.take(face, axis=i // 2).ravel() for i, face in enumerate(faces)]
        )
    )
    truths = []
    for level, index in numbers.items():
        bone = spine.bone(level)
        shape, intact = shapes.get(level, (bone.shape, bone.intact))
        disease = diseases.get(level, HEALTHY)
        after = (shape.height_anterior, shape.height_middle, shape.height_posterior)
        before = (intact.height_anterior, intact.height_middle, intact.height_posterior)
        visible = "outside" if counts[index] == 0 else "complete"
        if visible == "complete" and index in edges:
            visible = "partial"
        truths.append(
            LevelTruth(
                index=index,
                level=level,
                visible=visible,
                centroid_lps_mm=bone.centre,
                axes_lps=bone.axes,
                heights_mm=after,
                intact_heights_mm=before,
                depth_mm=2 * shape.half_depth,
                width_mm=2 * shape.half_width,
                fracture=disease.fracture,
                stage=disease.stage,
                height_loss_percent=max(
                    100 * (1 - a / b) for a, b in zip(after, before, strict=True)
                ),
                edema_fraction=float(wet_counts[index] / max(1, counts[index])),
                etiology=disease.etiology,
                signs=dict.fromkeys(sorted(disease.signs), True),
                mimics=pathology.mimic_names(disease.mimics),
            )
        )
    return tuple(truths)


_MAPS = ("tissue", "fat_percent", "free_water", "structure", "body")


def save_case(path: Path, case: SpineCase) -> None:
    """Write a case to one compressed `.npz` file."""
    truth = []
    for level in case.levels:
        row = asdict(level)
        row["centroid_lps_mm"] = level.centroid_lps_mm.tolist()
        row["axes_lps"] = level.axes_lps.tolist()
        truth.append(row)
    about = {
        "seed": case.seed,
        "sex": case.sex,
        "age_years": case.age_years,
        "numbering": case.numbering,
        "levels": truth,
    }
    maps: dict[str, NDArray[np.generic]] = {name: getattr(case.grid, name) for name in _MAPS}
    maps["affine"] = case.grid.affine
    maps["about"] = np.array(json.dumps(about))
    # The fastest deflate is as small as the best here, and five times quicker.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in maps.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load_case(path: Path) -> SpineCase:
    """Read a case written by `save_case`."""
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        grid = TissueGrid(affine=stored["affine"], **{name: stored[name] for name in _MAPS})
    levels = []
    for row in about.pop("levels"):
        row["centroid_lps_mm"] = np.array(row["centroid_lps_mm"])
        row["axes_lps"] = np.array(row["axes_lps"])
        for name in ("heights_mm", "intact_heights_mm", "mimics"):
            row[name] = tuple(row[name])
        levels.append(LevelTruth(**row))
    return SpineCase(grid, tuple(levels), **about)


def main() -> None:
    """Write many cases, one file each; existing files are kept, so it may be run again."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first case")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in range(arguments.seed, arguments.seed + arguments.count):
        path = arguments.out / f"case-{seed:07d}.npz"
        if not path.exists():
            part = path.with_suffix(".part")
            save_case(part, sample_case(seed))
            part.rename(path)


if __name__ == "__main__":
    main()
