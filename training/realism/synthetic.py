"""The one door to the phantom: patients, their images and their bodies, as the tables need them.

Everything in this package that looks at a synthetic spine comes through here. When the phantom's
entry points change, `_patient`, `_scan` and `contrasts` follow, `matched`, and the gallery's
table of requests; nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.volume import Role, Volume
from training.phantom.draw import Drawn, draw_image, grid_under, target_of
from training.phantom.painting.tissues import EDEMA_FREE_WATER, Tissue
from training.phantom.patient import grid_around, level_truths
from training.phantom.scanner.acquisition import LabelledVolume, acquire
from training.phantom.scanner.conditions import draw_conditions
from training.phantom.scanner.mix import TRAIN
from training.phantom.scanner.physics import DixonPart
from training.phantom.scanner.placement import place_slices
from training.phantom.scanner.protocols import (
    Protocol,
    Site,
    dixon_part,
    sample_protocol,
    sample_site,
)
from training.phantom.scanner.truth import fraction_on
from training.phantom.scene import Scene, SceneRequest, paint, sample_scene
from training.realism.specimens import Specimen, whole_bodies

LIKE_THE_REAL: Final = replace(TRAIN, gradient_echo_dixon_share=1.0)
"""The real water images at hand are gradient echoes, so that is what they are compared with."""

FLAIR_SITE: Final = Site("ge", 3.0)
"""A scanner whose T1 is often inversion-prepared."""

BODIES_MM: Final = (80, 300, 220)
"""Extent of the grid that body sizes are measured on: slices, rows, columns."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How the synthetic patients are drawn and scanned.

    Attributes:
        region: Field of view asked from the phantom.
        healthy: No disease at all.
        in_plane_mm, slice_mm: Voxel pitch; the protocol's own when None.
    """

    region: str = "lumbar"
    healthy: bool = True
    in_plane_mm: float | None = None
    slice_mm: float | None = None


@dataclass(frozen=True, slots=True)
class SyntheticPatient:
    """One patient: the images asked for, and the bodies on a fine grid of their own.

    Attributes:
        name: Of the patient, from the seed.
        images: By role.
        labelled: The same with structure labels.
        bodies: (slice, row, column) uint8 body indices on a 1 mm cube grid.
        levels: Body index to level name.
    """

    name: str
    images: Mapping[Role, Specimen]
    labelled: Mapping[Role, LabelledVolume]
    bodies: NDArray[np.uint8]
    levels: Mapping[int, str]


def synthetic_volumes(
    role: Role, seeds: Iterable[int], setting: Setting | None = None
) -> Iterator[LabelledVolume]:
    """One labelled volume of a role per seed.

    Args:
        role: What to acquire.
        seeds: One patient each; the same seed and setting give the same volume.
        setting: How; healthy lumbar spines at the protocol's own voxels by default.
    """
    for patient in synthetic_patients((role,), seeds, setting):
        yield patient.labelled[role]


def synthetic_patients(
    roles: tuple[Role, ...],
    seeds: Iterable[int],
    setting: Setting | None = None,
    *,
    with_bodies: bool = False,
) -> Iterator[SyntheticPatient]:
    """Patients scanned with one protocol per role.

    Args:
        roles: What to acquire.
        seeds: One patient each.
        setting: How; healthy lumbar spines at the protocol's own voxels by default.
        with_bodies: Lay the bodies on the 1 mm grid too; else `bodies` is empty.
    """
    setting = setting or Setting()
    for seed in seeds:
        scene = _patient(seed, setting)
        rng = np.random.default_rng([seed, 71])
        drawn = {role: _scan(scene, role, rng, setting) for role in roles}
        levels = {index: level for level, index in scene.numbers.items()}
        images = {role: specimen_of(f"seed {seed}", scene, one) for role, one in drawn.items()}
        labelled = {
            role: LabelledVolume(one.volume, one.structure, one.body, one.protocol)
            for role, one in drawn.items()
        }
        bodies = bodies_at_1mm(scene) if with_bodies else np.zeros((0, 0, 0), np.uint8)
        seen = whole_bodies(bodies, levels) if with_bodies else levels
        yield SyntheticPatient(f"seed {seed}", images, labelled, bodies, seen)


def contrasts(scene: Scene, rng: np.random.Generator) -> dict[str, Volume]:
    """A scene in every kind of image that the phantom makes, by name, on one scanner.

    The Dixon parts of a spin echo are one acquisition; T1 FLAIR is of another scanner, at 3 T.
    """
    site = sample_site(rng)
    images: dict[str, Volume] = {}
    for role in (Role.T1, Role.T2, Role.STIR, Role.T2_FS):
        images |= _series(scene, {role.value: sample_protocol(role, rng, site)}, rng)
    water = sample_protocol(Role.DIXON_WATER, rng, site, gradient_echo=False)
    parts = {f"dixon {part.value}": dixon_part(water, part) for part in DixonPart}
    images |= _series(scene, parts, rng)
    echo = sample_protocol(Role.DIXON_WATER, rng, site, gradient_echo=True)
    images |= _series(scene, {"water, gradient echo": echo}, rng)
    return images | _series(scene, {"t1 flair": _flair(rng)}, rng)


def _flair(rng: np.random.Generator) -> Protocol:
    while True:
        protocol = sample_protocol(Role.T1, rng, FLAIR_SITE)
        if protocol.sequence.inversion_ms is not None:
            return protocol


def bodies_at_1mm(scene: Scene) -> NDArray[np.uint8]:
    """Body indices on a grid of 1 mm cubes around the scene's region."""
    return paint(scene, grid_around(scene.aim, BODIES_MM, (1.0, 1.0, 1.0))).finish().body


def _series(
    scene: Scene, protocols: Mapping[str, Protocol], rng: np.random.Generator
) -> dict[str, Volume]:
    """The images of one acquisition by name."""
    first = next(iter(protocols.values()))
    slices = place_slices(target_of(scene), first, rng)
    conditions = draw_conditions(first, rng)
    tissue = paint(scene, grid_under(slices)).finish()
    return {
        name: acquire(tissue, one, rng, slices=slices, conditions=conditions)
        for name, one in protocols.items()
    }


def _patient(seed: int, setting: Setting) -> Scene:
    request = SceneRequest(region=setting.region, healthy=setting.healthy, numbering="usual")
    return sample_scene(seed, request)


def _scan(scene: Scene, role: Role, rng: np.random.Generator, setting: Setting) -> Drawn:
    return draw_image(
        scene,
        rng,
        role=role,
        in_plane_mm=setting.in_plane_mm,
        slice_mm=setting.slice_mm,
        mix=LIKE_THE_REAL,
    )


def specimen_of(name: str, scene: Scene, drawn: Drawn) -> Specimen:
    """A drawn image with its bodies, as the tables need it."""
    truths = level_truths(scene, drawn.tissue)
    healthy = frozenset(
        t.index for t in truths if t.etiology == "none" and not t.mimics and t.edema_fraction == 0.0
    )
    tissue = drawn.tissue
    wet = (tissue.tissue == Tissue.MARROW) & (tissue.free_water >= EDEMA_FREE_WATER)
    edema = fraction_on(wet, tissue, drawn.volume) if wet.any() else None
    seen = whole_bodies(drawn.body, {t.index: t.level for t in truths})
    return Specimen(name, drawn.volume, drawn.body, seen, edema, healthy)
