"""Signals of tissues and lesions in whole spines, in the order that two compartments predict.

Against the table of expected relative signals (T1, T2, STIR, T2 with fat suppression); normal
marrow is 1. Protocols are drawn, faults and noise are not; partial volume is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from models.volume import Role, Volume
from tests.unit.phantom_physics.test_acquisition import calm, quiet
from training.phantom.disease import Disease, sample_run
from training.phantom.disease.fracture import sample_fracture
from training.phantom.draw import grid_under, target_of
from training.phantom.painting.tissues import Mark, Tissue, TissueGrid
from training.phantom.scanner.acquisition import acquire, fraction_on, place_slices
from training.phantom.scanner.protocols import Protocol, Site, sample_protocol
from training.phantom.scanner.sampling import SliceGeometry
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene

SICK: Final = (
    ("L1", "metastasis_lytic", 9),
    ("L3", "modic_1", 2),
    ("T9", "metastasis_blastic", 1),
)
QUIET: Final = (
    ("T11", "fracture_healed", 1),
    ("T12", "fracture_cemented", 4),
    ("L1", "haemangioma", 6),
    ("L3", "modic_2", 2),
    ("T8", "red_marrow_diffuse", 3),
    ("T10", "fracture_unhealed_fluid", 7),
)
SITES: Final = (Site("siemens", 1.5), Site("ge", 3.0))
WET: Final = 60

Masks = dict[str, NDArray[np.bool_]]


def fracture(
    stage: str, *, intensity: tuple[float, float], fat_left: tuple[float, float]
) -> Disease:
    """The first fracture of a stage whose edema is as wet, and as poor in fat, as the table's."""
    rng = np.random.default_rng(1)
    while True:
        disease = sample_fracture(rng, stage, "wedge")
        edema = disease.edema
        if (
            edema is not None
            and edema.extent > 0.4
            and intensity[0] < edema.intensity < intensity[1]
            and fat_left[0] < edema.fat_ratio < fat_left[1]
        ):
            return disease


def spine(wanted: tuple[tuple[str, str, int], ...]) -> Scene:
    diseases: dict[str, Disease] = {}
    if wanted is SICK:
        diseases = {
            "T11": fracture("subacute", intensity=(0.3, 0.42), fat_left=(0.6, 0.8)),
            "T12": fracture("acute", intensity=(0.65, 0.85), fat_left=(0.4, 0.6)),
        }
    for level, name, seed in wanted:
        run = sample_run(name, np.random.default_rng(seed))
        below = f"{level[0]}{int(level[1:]) + 1}"
        diseases |= dict(zip((level, below), run[:2], strict=False))
    request = SceneRequest(
        "thoracolumbar", diseases=diseases, numbering="usual", sex="F", age_years=64.0
    )
    return sample_scene(21, request)


def masks(scene: Scene, grid: TissueGrid) -> Masks:
    """What lies where on the fine grid."""
    number = scene.numbers
    body = {
        level: grid.body == number[level]
        for level in ("T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3")
    }
    marrow, wet = grid.tissue == Tissue.MARROW, grid.free_water >= WET
    found = {
        "marrow": body["L2"] & marrow,
        "csf": grid.tissue == Tissue.CSF,
        "muscle": (grid.tissue == Tissue.MUSCLE) & (grid.fat_percent < 10),
        "fat": grid.tissue == Tissue.FAT,
        "cord": grid.tissue == Tissue.CORD,
        "disc": (grid.tissue == Tissue.NUCLEUS) & (grid.free_water > 150),
        "worn_disc": (grid.tissue == Tissue.NUCLEUS) & (grid.free_water < 80),
    }
    if scene.disease("L1").lesion is not None:
        return found | {
            "subacute": body["T11"] & marrow & wet,
            "acute": body["T12"] & marrow & wet,
            "lytic": body["L1"] & (grid.tissue == Tissue.METASTASIS_LYTIC),
            "modic_1": body["L3"] & marrow & wet,
            "blastic": body["T9"] & (grid.tissue == Tissue.METASTASIS_BLASTIC),
        }
    assert grid.mark is not None
    return found | {
        "healed": body["T11"] & marrow,
        "cement": grid.tissue == Tissue.CEMENT,
        "haemangioma": body["L1"] & (grid.tissue == Tissue.HAEMANGIOMA),
        "modic_2": grid.mark == Mark.FATTY,
        "red": body["T8"] & marrow,
        "fluid": body["T10"] & (grid.tissue == Tissue.FLUID),
    }


@cache
def images(role: Role) -> tuple[dict[str, float], ...]:
    """Per scanner: median signal of everything in both spines, in parts of normal marrow."""
    return tuple(_image(role, site) for site in SITES)


@cache
def stack(sick: bool) -> tuple[SliceGeometry, TissueGrid, Masks]:
    """Slices over a spine, what is painted under them, and where what lies."""
    scene = spine(SICK if sick else QUIET)
    protocol = drawn(Role.T2, SITES[0])
    slices = place_slices(target_of(scene), protocol, np.random.default_rng(2))
    grid = paint(scene, grid_under(slices)).finish()
    return slices, grid, masks(scene, grid)


def drawn(role: Role, site: Site) -> Protocol:
    protocol = quiet(sample_protocol(role, np.random.default_rng(5), site, gradient_echo=False))
    sizes = {"thickness_mm": 3.0, "gap_mm": 0.3, "pixel_mm": 1.0, "slices": 13}
    return replace(protocol, acquired_mm=(1.0, 1.0), **sizes)


def _image(role: Role, site: Site) -> dict[str, float]:
    found: dict[str, float] = {}
    protocol = drawn(role, site)
    for sick in (True, False):
        slices, grid, parts = stack(sick)
        rng = np.random.default_rng(0)
        volume = acquire(grid, protocol, rng, slices=slices, conditions=calm(protocol))
        medians = dict(_medians(parts, grid, volume))
        found |= {name: value / medians["marrow"] for name, value in medians.items()}
    return found


def _medians(parts: Masks, grid: TissueGrid, volume: Volume) -> Iterator[tuple[str, float]]:
    for name, where in parts.items():
        share = fraction_on(where, grid, volume)
        inside = share >= min(0.9, 0.9 * float(share.max()))
        assert inside.sum() >= 3, name
        yield name, float(np.median(volume.array[inside]))


def rising(image: dict[str, float], *names: str) -> bool:
    return all(image[low] < image[high] for low, high in pairwise(names))


@pytest.mark.parametrize("scanner", range(len(SITES)))
def test_stir(scanner: int) -> None:
    image = images(Role.STIR)[scanner]
    assert rising(image, "cement", "blastic", "marrow", "subacute", "acute", "csf")
    assert 0.75 * image["csf"] < image["fluid"] < 1.25 * image["csf"]
    assert rising(image, "worn_disc", "disc", "csf")
    assert image["modic_1"] > 1.2
    assert image["cord"] > 1.2
    # Edema and metastasis are nearly alike here; red marrow is not far from the rest.
    assert image["lytic"] / image["acute"] == pytest.approx(1.0, abs=0.25)
    assert 0.85 < image["red"] < 1.75
    assert 0.85 < image["healed"] < 1.1


@pytest.mark.parametrize("scanner", range(len(SITES)))
def test_t1(scanner: int) -> None:
    image = images(Role.T1)[scanner]
    assert rising(image, "cement", "blastic", "lytic", "acute", "subacute", "marrow", "fat")
    assert rising(image, "csf", "muscle", "acute")
    assert rising(image, "marrow", "modic_2", "fat")
    assert image["lytic"] < 0.9 * image["acute"]
    assert image["red"] < 0.95
    assert image["modic_1"] < 0.9
    assert image["haemangioma"] > 1.0
    assert image["healed"] == pytest.approx(1.03, abs=0.08)
    assert image["fluid"] < image["muscle"]


@pytest.mark.parametrize("scanner", range(len(SITES)))
def test_t2(scanner: int) -> None:
    image = images(Role.T2)[scanner]
    assert rising(image, "cement", "blastic", "muscle", "marrow", "acute", "disc", "csf")
    assert rising(image, "worn_disc", "marrow", "haemangioma", "fluid")
    assert rising(image, "red", "marrow", "fat", "csf")
    assert 0.7 < image["lytic"] < 1.3


@pytest.mark.parametrize("scanner", range(len(SITES)))
def test_t2_with_fat_suppression(scanner: int) -> None:
    image = images(Role.T2_FS)[scanner]
    assert rising(image, "cement", "fat", "marrow", "red", "subacute", "acute", "disc", "csf")
    assert rising(image, "healed", "marrow", "modic_1")
    assert image["lytic"] / image["acute"] == pytest.approx(1.1, abs=0.35)
    assert image["fluid"] > image["disc"]


@pytest.mark.parametrize("scanner", range(len(SITES)))
def test_dixon_fat(scanner: int) -> None:
    image = images(Role.DIXON_FAT)[scanner]
    assert rising(image, "blastic", "acute", "subacute", "marrow", "modic_2", "fat")
    assert image["lytic"] < 0.5 * image["acute"]
    assert max(image["csf"], image["cord"], image["disc"], image["muscle"]) < 0.3
