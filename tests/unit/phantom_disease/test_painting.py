"""What is painted: visible, in its place, as wide as asked, as costly as allowed."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from models.localiser.classes import Structure
from tests.unit.phantom_disease.small_spine import INDEX, PITCH, blank, painted, spine_with
from training.phantom.anatomy.body import paint_body, sample_marrow
from training.phantom.disease import Disease, catalogue, deform, paint_disease, sample_run
from training.phantom.disease.endplates import sample_discitis, sample_schmorl
from training.phantom.disease.fracture import edema_parts, ill_defined, sample_fracture
from training.phantom.disease.marrow import faint
from training.phantom.disease.metastasis import sample_metastasis
from training.phantom.disease.model import Edema
from training.phantom.painting.grid import Canvas
from training.phantom.painting.tissues import EDEMA_FREE_WATER, Tissue

MM3_PER_VOXEL = float(np.prod(PITCH))
ALLOWED_MS = 6.0


def run_at_l1(name: str, seed: int) -> dict[str, Disease]:
    run = sample_run(name, np.random.default_rng(seed))
    return dict(zip(("L1", "L2", "L3"), run, strict=False)) if len(run) > 1 else {"L2": run[0]}


def changed(canvas: Canvas, other: Canvas) -> int:
    """Voxels whose tissue differs, or whose fat or water differ by what a scan shows."""
    one, two = canvas.maps, other.maps
    differs = one.tissue != two.tissue
    differs |= np.abs(one.fat.astype(int) - two.fat) >= 6
    differs |= np.abs(one.water.astype(int) - two.water) >= 8
    return int(differs.sum())


@pytest.fixture(scope="module")
def healthy() -> Canvas:
    return painted({})[0]


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_entry_paints_something_visible(name: str, healthy: Canvas) -> None:
    voxel_ml = 1.33 * 0.8 * 0.8 / 1000
    assert changed(painted(run_at_l1(name, 5))[0], healthy) * voxel_ml > 0.05


def test_same_disease_same_bytes() -> None:
    diseases = run_at_l1("pathological_encasing", 4)
    first, again = painted(diseases)[0].maps, painted(diseases)[0].maps
    for name in ("tissue", "fat", "water", "structure", "body"):
        assert np.array_equal(getattr(first, name), getattr(again, name))


@pytest.mark.parametrize("pattern", ["band", "patchy", "diffuse"])
def test_edema_fills_the_extent_asked_for(pattern: str) -> None:
    measured = []
    asked = (0.25, 0.5, 0.75) if pattern != "diffuse" else (0.85, 0.92, 1.0)
    for extent in asked:
        found = []
        for seed in range(4):
            rng = np.random.default_rng(seed)
            edema = Edema(pattern, extent, 0.6, 0.6)
            changes = edema_parts(rng, edema, "superior")
            maps = painted({"L2": Disease(changes=changes)})[0].maps
            marrow = (maps.body == INDEX["L2"]) & (maps.tissue == Tissue.MARROW)
            found.append(np.mean(maps.water[marrow] >= EDEMA_FREE_WATER))
        measured.append(np.mean(found))
    assert measured == pytest.approx(asked, abs=0.14)
    assert measured == sorted(measured)


def test_faint_unrest_stays_below_the_threshold_of_edema() -> None:
    for seed in range(25):
        change = faint(np.random.default_rng(seed))
        maps = painted({"L2": Disease(changes=(change,))})[0].maps
        water = maps.water[maps.body == INDEX["L2"]]
        assert 0 < water.max() < EDEMA_FREE_WATER


def test_edema_is_strongest_at_the_broken_endplate() -> None:
    rng = np.random.default_rng(3)
    changes = edema_parts(rng, Edema("band", 0.7, 0.5, 0.7), "superior")
    maps = painted({"L2": Disease(changes=changes)})[0].maps
    rows = np.where((maps.body == INDEX["L2"]).any(axis=(0, 2)))[0]
    third = len(rows) // 3

    def mean_water(part: np.ndarray) -> float:
        inside = (maps.body[:, part] == INDEX["L2"]) & (maps.tissue[:, part] == Tissue.MARROW)
        return float(maps.water[:, part][inside].mean())

    assert (
        mean_water(rows[:third]) > mean_water(rows[third : 2 * third]) > mean_water(rows[-third:])
    )


def test_metastasis_replaces_what_it_says() -> None:
    for extent_wanted in (True, False):
        shares = []
        for seed in range(12):
            disease = sample_metastasis(np.random.default_rng(seed), "lytic", fractured=False)
            if disease.lesion is None or (disease.lesion.extent > 0.9) != extent_wanted:
                continue
            maps = painted({"L2": disease})[0].maps
            inside = maps.body == INDEX["L2"]
            tumour = maps.tissue[inside] == Tissue.METASTASIS_LYTIC
            shares.append(tumour.mean() / disease.lesion.extent)
        assert np.mean(shares) == pytest.approx(0.85, abs=0.25)


def test_disease_stays_in_its_body() -> None:
    """Nothing inside a body reaches another body or the canal."""
    for name in ("fracture_edema_diffuse", "metastasis_lytic", "haemangioma"):
        spine, clean, sick = spine_with({}), blank(), blank()
        for canvas in (clean, sick):
            canvas.maps.body[...] = 0
            canvas.maps.tissue[...] = Tissue.FAT
        for canvas in (clean, sick):
            for bone in spine.bones:
                marrow = sample_marrow(np.random.default_rng(1), 50.0, 4.0, 0.4)
                paint_body(canvas, bone, INDEX[bone.level], marrow)
        disease = replace(run_at_l1(name, 3)["L2"], bites=(), cuts=())
        paint_disease(sick, spine.bone("L2"), INDEX["L2"], disease)
        outside = clean.maps.body != INDEX["L2"]
        assert np.array_equal(clean.maps.tissue[outside], sick.maps.tissue[outside])
        assert np.array_equal(clean.maps.water[outside], sick.maps.water[outside])


def test_nodes_and_erosions_belong_to_the_disc() -> None:
    node = sample_schmorl(np.random.default_rng(2), acute=False)
    maps = painted({"L2": node})[0].maps
    hole = (maps.tissue == Tissue.NUCLEUS) & (maps.structure == Structure.DISC)
    assert not np.any(hole & (maps.body != 0))
    upper, lower = sample_discitis(np.random.default_rng(2), "full")
    maps = painted({"L1": upper, "L2": lower})[0].maps
    pus = maps.tissue == Tissue.PUS
    assert np.any(pus & (maps.structure == Structure.DISC))
    assert not np.any(maps.body[pus])


@pytest.mark.parametrize(
    "name",
    [
        "pathological_epidural",
        "pathological_paraspinal",
        "fracture_epidural_haematoma",
        "fracture_paraspinal_haematoma",
    ],
)
def test_masses_are_drawn_and_keep_out_of_bone_and_cord(name: str) -> None:
    healthy = painted({})[0].maps
    disease = replace(run_at_l1(name, 7)["L2"], fragments=(), rims=())
    maps = painted({"L2": disease})[0].maps
    mass = maps.tissue == Tissue.SOFT_MASS
    assert mass.sum() * MM3_PER_VOXEL > 100.0
    assert np.any(healthy.structure[mass] == Structure.CANAL) == ("B3" in disease.signs)
    assert not np.any(healthy.structure[mass] == Structure.POSTERIOR_ELEMENTS)
    assert not np.any(maps.body[mass])


@pytest.mark.parametrize("pattern", ["band", "patchy"])
def test_ill_defined_edema_has_a_wider_margin(pattern: str) -> None:
    """Share of the marrow whose free water lies between that inside and that outside."""
    shares = []
    for seed in range(40):
        disease = sample_fracture(np.random.default_rng([4, seed]), "acute", "none")
        if disease.edema is None or disease.edema.pattern != pattern or "G8" not in disease.signs:
            continue
        blurred = replace(disease, changes=tuple(ill_defined(disease.changes[0])))
        pair = []
        for one in (disease, blurred):
            maps = painted({"L2": one})[0].maps
            water = maps.water[maps.body == INDEX["L2"]] / (255.0 * disease.edema.intensity)
            pair.append(float(np.mean((water > 0.1) & (water < 0.6))))
        shares.append(pair)
    sharp, blurry = np.median(shares, axis=0)
    assert len(shares) > 3
    assert blurry > 1.3 * sharp


def test_fragment_belongs_to_its_body_and_lies_in_the_canal() -> None:
    disease = run_at_l1("fracture_retropulsion", 3)["L2"]
    with_it = painted({"L2": disease})[0].maps
    without = painted({"L2": replace(disease, fragments=())})[0].maps
    moved = (with_it.body == INDEX["L2"]) & (without.body == 0)
    assert np.any(without.structure[moved] == Structure.CANAL)
    assert np.all(with_it.structure[moved] == Structure.BODY)


def test_cleft_holds_fluid_or_gas_and_cement_is_cement() -> None:
    for name, tissue in (
        ("fracture_unhealed_fluid", Tissue.FLUID),
        ("fracture_unhealed_gas", Tissue.GAS),
        ("fracture_cemented", Tissue.CEMENT),
    ):
        maps = painted(run_at_l1(name, 6))[0].maps
        assert np.any(maps.tissue[maps.body == INDEX["L2"]] == tissue)


def test_wall_follows_its_sign() -> None:
    bulged = Disease(
        stage="acute",
        fracture="crush",
        loss=0.3,
        etiology="pathological",
        signs=frozenset({"B1"}),
    )
    bone = spine_with({}).bones[1]
    rng = np.random.default_rng(2)
    assert deform(bone.intact, bulged, rng).posterior_bulge > 1.0


def test_a_diseased_level_costs_little() -> None:
    """Median cost over diseased levels, of the process's own time, best of three."""
    spine, canvas = spine_with({}), painted({})[0]
    costs = []
    for seed in range(16):
        rng = np.random.default_rng(seed)
        disease = sample_fracture(rng) if seed % 2 else sample_metastasis(rng)
        spent = []
        for _ in range(3):
            started = time.process_time()
            paint_disease(canvas, spine.bone("L2"), INDEX["L2"], disease)
            spent.append(1000 * (time.process_time() - started))
        costs.append(min(spent))
    assert np.median(costs) < ALLOWED_MS
