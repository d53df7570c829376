"""Signal order and faults as they show in rendered images of a block of every tissue."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import GeometryError
from models.localiser.classes import Structure
from models.volume import Role
from tests.unit.phantom_physics.test_acquisition import calm, quiet
from tests.unit.phantom_physics.toy import block_grid
from training.phantom.painting.grid import fine_grid
from training.phantom.painting.tissues import Tissue, TissueGrid
from training.phantom.scanner.acquisition import (
    StackTarget,
    acquire,
    fraction_on,
    place_slices,
    truth_on,
)
from training.phantom.scanner.conditions import Conditions, Element, draw_conditions
from training.phantom.scanner.fields import coil_map
from training.phantom.scanner.physics import DixonPart, Readout
from training.phantom.scanner.protocols import Protocol, Site, dixon_part, sample_protocol

MIXTURES = {
    "marrow": (Tissue.MARROW, 50, 0),
    "red": (Tissue.MARROW, 30, 0),
    "edema": (Tissue.MARROW, 26, 190),
    "lytic": (Tissue.METASTASIS_LYTIC, 3, 0),
    "blastic": (Tissue.METASTASIS_BLASTIC, 3, 0),
    "healed": (Tissue.MARROW, 58, 0),
    "haemangioma": (Tissue.HAEMANGIOMA, 80, 0),
    "csf": (Tissue.CSF, 0, 0),
    "disc_ii": (Tissue.NUCLEUS, 0, 191),
    "disc_iv": (Tissue.NUCLEUS, 0, 64),
    "muscle": (Tissue.MUSCLE, 0, 0),
    "fluid": (Tissue.FLUID, 0, 0),
    "cord": (Tissue.CORD, 0, 0),
    "fat": (Tissue.FAT, 100, 0),
    "cement": (Tissue.CEMENT, 0, 0),
}
TILE = 10
SITE = Site("siemens", 1.5)


def tiles() -> TissueGrid:
    """One tile of each mixture side by side, in marrow."""
    shape = (12, 40, TILE * len(MIXTURES))
    tissue = np.full(shape, Tissue.MARROW, dtype=np.uint8)
    fat = np.full(shape, 50, dtype=np.uint8)
    water = np.zeros(shape, dtype=np.uint8)
    for number, (kind, percent, free) in enumerate(MIXTURES.values()):
        where = (slice(None), slice(None), slice(number * TILE, (number + 1) * TILE))
        tissue[where], fat[where], water[where] = kind, percent, free
    zero = np.zeros(shape, dtype=np.uint8)
    return TissueGrid(tissue, fat, water, zero, zero, np.diag([1.0, 1.0, 1.0, 1.0]))


def protocol_for(role: Role, seed: int, *, gradient_echo: bool = False) -> Protocol:
    rng = np.random.default_rng(seed)
    protocol = quiet(sample_protocol(role, rng, SITE, gradient_echo=gradient_echo))
    return replace(
        protocol, pixel_mm=1.0, acquired_mm=(1.0, 1.0), thickness_mm=3.0, gap_mm=0.3, slices=3
    )


def rendered(protocol: Protocol, conditions: Conditions | None = None) -> dict[str, float]:
    """Median of each tile in an image, in parts of normal marrow."""
    grid = tiles()
    volume = acquire(
        grid, protocol, np.random.default_rng(0), conditions=conditions or calm(protocol)
    )
    start = volume.affine[2, 3]
    assert start < 2.0
    medians = {
        name: float(np.median(volume.array[1, 12:-12, number * TILE + 3 : (number + 1) * TILE - 3]))
        for number, name in enumerate(MIXTURES)
    }
    return {name: median / medians["marrow"] for name, median in medians.items()}


def over_protocols(role: Role) -> list[dict[str, float]]:
    return [rendered(protocol_for(role, seed)) for seed in range(8)]


def median_of(images: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([image[name] for image in images])) for name in MIXTURES}


def ordered(image: dict[str, float], *names: str) -> bool:
    values = [image[name] for name in names]
    return all(low < high for low, high in pairwise(values))


def test_stir_orders_tissues_as_expected() -> None:
    images = over_protocols(Role.STIR)
    for image in images:
        assert ordered(image, "cement", "marrow", "edema", "csf")
        assert ordered(image, "disc_iv", "disc_ii", "csf")
    # Residual fat of real scans brings red, normal and healed marrow close to one another.
    middle = median_of(images)
    assert ordered(middle, "healed", "marrow", "red", "edema")
    assert 1.2 < middle["edema"] < 2.5
    assert 1.2 < middle["lytic"] < 2.5
    assert 0.5 < middle["muscle"] < 1.1
    assert 0.5 < middle["fat"] < 1.4


def test_t1_orders_tissues_as_expected() -> None:
    for image in over_protocols(Role.T1):
        assert ordered(image, "cement", "blastic", "lytic", "marrow", "haemangioma")
        assert ordered(image, "csf", "muscle", "edema", "marrow", "healed", "fat")


def test_t2_orders_tissues_as_expected() -> None:
    for image in over_protocols(Role.T2):
        assert ordered(image, "blastic", "red", "marrow", "edema", "disc_ii", "csf")
        assert ordered(image, "muscle", "disc_iv", "marrow", "haemangioma")


def test_fat_saturation_orders_tissues_as_expected() -> None:
    for image in over_protocols(Role.T2_FS):
        assert ordered(image, "marrow", "red", "edema", "disc_ii", "csf")


def test_edema_and_metastasis_agree_on_stir_and_part_on_t1_and_dixon_fat() -> None:
    stir = median_of(over_protocols(Role.STIR))
    assert stir["lytic"] / stir["edema"] == pytest.approx(1.0, abs=0.2)
    t1 = median_of(over_protocols(Role.T1))
    assert t1["lytic"] < 0.88 * t1["edema"]
    fat = median_of(over_protocols(Role.DIXON_FAT))
    assert fat["lytic"] < 0.5 * fat["edema"]


def test_whole_swap_gives_the_other_dixon_image() -> None:
    water = protocol_for(Role.DIXON_WATER, 1)
    fat = dixon_part(water, DixonPart.FAT)
    swapped = replace(calm(water), swapped=1.0)
    assert rendered(water, swapped) == pytest.approx(rendered(fat, calm(fat)), rel=0.05, abs=0.02)


def test_a_swap_touches_neither_stir_nor_in_phase_images() -> None:
    water = protocol_for(Role.DIXON_WATER, 1)
    for protocol in (protocol_for(Role.STIR, 1), dixon_part(water, DixonPart.IN_PHASE)):
        swapped = replace(calm(protocol), swapped=1.0)
        assert rendered(protocol, swapped) == rendered(protocol)


def test_a_poor_inversion_takes_water_signal() -> None:
    grid, protocol = tiles(), protocol_for(Role.STIR, 2)
    lossy = replace(calm(protocol), inversion_loss=0.1)
    full, poor = (
        acquire(grid, protocol, np.random.default_rng(0), conditions=c).array
        for c in (calm(protocol), lossy)
    )
    number = list(MIXTURES).index("csf")
    where = (1, slice(12, -12), slice(number * TILE + 3, number * TILE + 7))
    assert np.median(poor[where]) < 0.85 * np.median(full[where])


def test_the_coil_has_the_asked_slope_at_the_spine_and_humps_along_it() -> None:
    protocol = protocol_for(Role.STIR, 0)
    rows, depth = np.linspace(-14, 14, 200), np.linspace(20, 0, 180)
    elements = (Element(-12.0, 1.0), Element(-3.0, 1.3), Element(6.0, 0.8))
    smooth = replace(
        calm(protocol), elements=elements, element_radius_cm=6.0, coil_per_cm=0.145, coil_ridge=0.0
    )
    course = np.log(coil_map(smooth, rows, depth, 7.5))
    assert np.ptp(course, axis=0).max() < 1e-3
    near = np.abs(depth - 7.5) < 1.0
    slope = np.polyfit(-depth[near], course[0, near], 1)[0]
    assert slope == pytest.approx(0.145, rel=0.05)
    humps = coil_map(replace(smooth, coil_ridge=1.0), rows, depth, 7.5)
    at_spine = humps[:, np.argmin(np.abs(depth - 7.5))]
    assert at_spine[-1] < 0.7 * at_spine.max()
    assert np.abs(np.diff(np.log(at_spine))).max() < 0.05


def bodies(grid: TissueGrid, protocol: Protocol, conditions: Conditions) -> NDArray[np.float64]:
    volume = acquire(grid, protocol, np.random.default_rng(0), conditions=conditions)
    _, body = truth_on(grid, volume)
    return np.array([np.median(volume.array[body == number]) for number in (1, 2, 3)])


def test_shading_makes_equal_bodies_differ_about_as_measured() -> None:
    """Three bodies span 7 cm, so less than the 0.13 measured over five to nine bodies."""
    grid = block_grid()
    spread = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        protocol = sample_protocol(Role.STIR, rng, SITE)
        protocol = replace(protocol, pixel_mm=1.0, thickness_mm=3.0, snr=60.0)
        medians = bodies(grid, protocol, draw_conditions(protocol, rng))
        spread.append(medians.std() / medians.mean())
    assert 0.015 < np.median(spread) < 0.13
    assert np.max(spread) > 0.05


def with_tissue(tissue: Tissue) -> TissueGrid:
    grid = block_grid()
    kinds = grid.tissue.copy()
    kinds[13:17, 40:48, 30:36] = tissue
    return replace(grid, tissue=kinds)


@pytest.mark.parametrize("role", [Role.T1, Role.STIR])
def test_metal_spoils_far_more_than_cement(role: Role) -> None:
    protocol = protocol_for(role, 3)
    protocol = replace(protocol, slices=9)
    spoiled = {}
    for tissue in (Tissue.METAL, Tissue.CEMENT):
        grid = with_tissue(tissue)
        clean, bent = (
            acquire(
                grid,
                protocol,
                np.random.default_rng(0),
                conditions=replace(calm(protocol), metal=metal),
            ).array
            for metal in (0.0, 8.0)
        )
        spoiled[tissue] = int((np.abs(bent - clean) > 0.25 * np.median(clean)).sum())
    assert spoiled[Tissue.METAL] > 150
    assert spoiled[Tissue.METAL] > 4 * spoiled[Tissue.CEMENT]


def test_metal_has_no_signal_of_its_own() -> None:
    grid, protocol = with_tissue(Tissue.METAL), replace(protocol_for(Role.T1, 3), slices=9)
    conditions = replace(calm(protocol), metal=8.0)
    image = acquire(grid, protocol, np.random.default_rng(0), conditions=conditions)
    core = fraction_on(grid.tissue == Tissue.METAL, grid, image) > 0.99
    assert core.any()
    marrow = np.median(image.array[fraction_on(grid.tissue == Tissue.MARROW, grid, image) > 0.99])
    assert np.percentile(image.array[core], 90) < 0.2 * marrow


def test_gradient_echoes_suffer_more_from_metal() -> None:
    strength = {}
    for gradient_echo in (False, True):
        rng = np.random.default_rng(5)
        protocol = sample_protocol(Role.DIXON_WATER, rng, SITE, gradient_echo=gradient_echo)
        drawn = [draw_conditions(protocol, np.random.default_rng(s)).metal for s in range(20)]
        strength[protocol.sequence.readout] = float(np.mean(drawn))
    assert strength[Readout.GRADIENT_ECHO] > 1.5 * strength[Readout.TURBO_SPIN_ECHO]


def test_turning_the_patient_turns_the_image() -> None:
    grid, protocol = block_grid(), protocol_for(Role.T1, 1)
    still, turned = (
        acquire(
            grid, protocol, np.random.default_rng(0), conditions=replace(calm(protocol), turn_deg=d)
        ).array[1]
        for d in (0.0, 4.0)
    )
    middle = tuple(n // 2 for n in still.shape)
    assert turned[middle] == pytest.approx(still[middle], rel=0.1)
    assert np.corrcoef(still.ravel(), turned.ravel())[0, 1] < 0.97


def test_wrap_folds_the_other_end_in() -> None:
    grid, protocol = block_grid(), replace(protocol_for(Role.T1, 1), phase_axis=2)
    plain, wrapped = (
        acquire(
            grid, protocol, np.random.default_rng(0), conditions=replace(calm(protocol), wrap=w)
        ).array
        for w in (0.0, 0.8)
    )
    behind = (slice(None), slice(None), slice(-2, None))
    assert wrapped[behind].mean() > 5.0 * max(plain[behind].mean(), 1.0)


def test_faults_belong_to_their_sequences() -> None:
    for role in (Role.STIR, Role.T1, Role.T2, Role.T2_FS, Role.DIXON_WATER):
        for seed in range(40):
            rng = np.random.default_rng(seed)
            protocol = sample_protocol(role, rng, SITE)
            drawn = draw_conditions(protocol, rng)
            assert drawn.swapped == 0.0 or role is Role.DIXON_WATER
            assert (drawn.inversion_modes is None) is (role is not Role.STIR)
            assert drawn.turn_deg == 0.0


def test_a_stack_can_be_planned_at_an_angle_before_anything_is_painted() -> None:
    target = StackTarget(
        np.array([3.0, -20.0, 40.0]),
        np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]),
        (90.0, 300.0, 260.0),
    )
    protocol = sample_protocol(Role.T1, np.random.default_rng(0), SITE)
    where = place_slices(target, protocol, np.random.default_rng(1), turn_deg=4.0)
    steps = np.linalg.norm(where.affine[:3, :3], axis=0)
    assert steps == pytest.approx((protocol.pitch_mm, protocol.pixel_mm, protocol.pixel_mm))
    unit = where.affine[:3, :3] / steps
    assert unit.T @ unit == pytest.approx(np.eye(3), abs=1e-9)
    assert np.linalg.det(unit) == pytest.approx(np.linalg.det(target.axes_lps.T))
    assert 0.98 < unit[0, 0] < 1.0
    middle = (where.affine @ [*((np.array(where.shape) - 1) / 2), 1.0])[:3]
    assert np.abs(middle - target.middle_lps_mm).max() < 40.0
    painted = fine_grid(where.affine, where.shape, where.thickness_mm)
    zero = np.zeros(painted.shape, dtype=np.uint8)
    marrow = np.full(painted.shape, Tissue.MARROW, dtype=np.uint8)
    fat = np.full(painted.shape, 45, dtype=np.uint8)
    grid = TissueGrid(marrow, fat, zero, zero, zero, painted.affine)
    volume = acquire(grid, protocol, np.random.default_rng(0), slices=where)
    assert volume.array.mean() > 10


def test_a_painted_grid_is_not_cut_at_an_angle() -> None:
    protocol = sample_protocol(Role.T1, np.random.default_rng(0), SITE)
    with pytest.raises(GeometryError):
        place_slices(block_grid(), protocol, np.random.default_rng(1), turn_deg=3.0)


def test_a_grid_stands_for_its_own_target() -> None:
    grid = block_grid()
    protocol = sample_protocol(Role.T1, np.random.default_rng(0), SITE)
    direct, planned = (
        place_slices(target, protocol, np.random.default_rng(1))
        for target in (grid, StackTarget.of_grid(grid))
    )
    assert np.allclose(direct.affine, planned.affine)
    assert direct.shape == planned.shape


def test_bodies_of_all_indices_are_labelled() -> None:
    grid = block_grid()
    body = grid.body * 12
    volume = acquire(grid, protocol_for(Role.T1, 0), np.random.default_rng(0))
    structure, labels = truth_on(replace(grid, body=body), volume)
    assert set(np.unique(labels)) == {0, 12, 24, 36}
    assert Structure.BODY in structure
