"""The service's own ingest reads back what every vendor's writer wrote: role, place, slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from models.geometry import Plane
from models.volume import Role, Volume, in_sagittal_order
from service.ingest.decode import PixelDecoder
from service.ingest.grid import StackPolicy
from service.ingest.inventory import take_inventory
from service.ingest.safety import Limits
from service.ingest.sequences import role_of
from service.ingest.series_text import words_of
from service.ingest.stacking import Stack, stacks_of, volume_of
from tests.unit.phantom_dicom.drawn import AnyPlane, drawn_case, drawn_grid, tiny
from training.phantom.dicom.pixels import PixelStyle
from training.phantom.dicom.recipe import NO_EXTRAS, ExtraSeries, HeaderFlaws, Storage
from training.phantom.dicom.study import WrittenSeries, WrittenStudy, write_study
from training.phantom.dicom.vendors.catalogue import VENDOR_STORAGE
from training.phantom.scanner.protocols import Site

POLICY = StackPolicy(min_matrix=16)
WRITERS = [
    (vendor, storage)
    for vendor, habits in VENDOR_STORAGE.items()
    for storage in Storage
    if storage is not Storage.ENHANCED or habits.enhanced
]
ALL_ROLES = (Role.STIR, Role.T1, Role.T2, Role.T2_FS, Role.DIXON_WATER)
ALL_EXTRAS = ExtraSeries(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def read_back(folder: Path, workspace: Path) -> list[tuple[Stack, Role]]:
    """Stacks with the roles their headers give them."""
    workspace.mkdir(exist_ok=True)
    inventory = take_inventory(folder, Limits(), workspace)
    assert inventory.refused == ()
    found = []
    for stack in stacks_of(inventory.records, POLICY):
        words = words_of(stack.instance.series_description, stack.instance.protocol_name)
        role = role_of(stack.physics, words, stack.count, stack.planes_in_series)
        found.append((stack, role.role))
    return found


def matching(series: WrittenSeries, found: list[tuple[Stack, Role]]) -> tuple[Stack, Role]:
    """The stack that holds the first slice of a written one."""
    wanted = (series.volume.sop_instance_uids[0], series.volume.frame_numbers[0])
    matches = [
        one
        for one in found
        if wanted in [(record.sop_instance_uid, frame.number) for record, frame in one[0].slices]
    ]
    assert len(matches) == 1
    return matches[0]


def pixels_of(stack: Stack, role: Role) -> Volume:
    with PixelDecoder(Limits()) as decoder:
        planes = list(decoder.decode_frames(stack.slices))
    return volume_of(stack, planes, role)  # type: ignore[arg-type]


def assert_same_place(series: WrittenSeries, stack: Stack) -> None:
    assert stack.count == series.volume.shape[0]
    assert stack.refusal is None
    assert stack.plane is series.plane
    assert stack.affine is not None
    # Slices may be counted from the other end; rows and columns are as stored.
    flipped = stack.affine.copy()
    if stack.affine[:3, 0] @ series.volume.affine[:3, 0] < 0:
        flipped[:3, 3] += flipped[:3, 0] * (stack.count - 1)
        flipped[:3, 0] *= -1
    assert np.abs(flipped - series.volume.affine).max() < 1e-3


def written(folder: Path, **changes: object) -> WrittenStudy:
    return write_study(drawn_case(), folder, tiny(**changes), np.random.default_rng(11))


@pytest.mark.parametrize(("vendor", "storage"), WRITERS)
def test_every_role_comes_back_at_its_place(tmp_path: Path, vendor: str, storage: Storage) -> None:
    field_t = 3.0 if storage is Storage.LEGACY else 1.5
    study = written(
        tmp_path / "out",
        roles=ALL_ROLES,
        site=Site(vendor, field_t),
        storage=storage,
        extras=NO_EXTRAS if storage is Storage.LEGACY else ALL_EXTRAS,
    )
    found = read_back(tmp_path / "out" / "dicom", tmp_path / "work")
    assert len(found) == len(study.series)
    for series in study.series:
        stack, role = matching(series, found)
        assert role is series.volume.role, (series.description, stack.physics)
        assert_same_place(series, stack)


@pytest.mark.parametrize(("vendor", "storage"), WRITERS)
def test_gradient_echo_dixon_comes_back(tmp_path: Path, vendor: str, storage: Storage) -> None:
    study = written(
        tmp_path / "out",
        roles=(Role.DIXON_WATER,),
        gradient_echo_dixon=True,
        site=Site(vendor, 1.5),
        storage=storage,
    )
    found = read_back(tmp_path / "out" / "dicom", tmp_path / "work")
    roles = [matching(series, found)[1] for series in study.series]
    assert roles == [Role.DIXON_WATER, Role.DIXON_FAT, Role.OTHER, Role.OTHER]


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
@pytest.mark.parametrize("storage", [Storage.CLASSIC, Storage.ENHANCED])
def test_pixels_survive_every_transfer_syntax(
    tmp_path: Path, syntax: str, storage: Storage
) -> None:
    study = written(
        tmp_path / "out",
        roles=(Role.STIR,),
        site=Site("siemens", 1.5),
        storage=storage,
        transfer_syntax_uid=syntax,
    )
    assert_pixels(study, tmp_path)


@pytest.mark.parametrize(
    "style",
    [
        PixelStyle(bits_stored=16),
        PixelStyle(bits_stored=16, signed=True),
        PixelStyle(bits_stored=16, signed=True, padding=-32768, padded_columns=2),
        PixelStyle(bits_stored=12, slope=1.37, intercept=0.0),
        PixelStyle(bits_stored=16, slope=0.125, intercept=-64.0),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
def test_pixels_survive_every_way_of_storing_them(
    tmp_path: Path, style: PixelStyle, syntax: str
) -> None:
    study = written(
        tmp_path / "out",
        roles=(Role.T1,),
        site=Site("philips", 1.5),
        storage=Storage.ENHANCED,
        pixels=style,
        transfer_syntax_uid=syntax,
    )
    assert_pixels(study, tmp_path)


def assert_pixels(study: WrittenStudy, tmp_path: Path) -> None:
    ((stack, role),) = read_back(tmp_path / "out" / "dicom", tmp_path / "work")
    volume = in_sagittal_order(pixels_of(stack, role))
    wanted = in_sagittal_order(study.series[0].volume)
    assert volume.array == pytest.approx(wanted.array, rel=1e-6)
    assert volume.sop_instance_uids == wanted.sop_instance_uids
    assert volume.frame_numbers == wanted.frame_numbers


def test_series_of_one_study_differ_in_plane_and_field_of_view(tmp_path: Path) -> None:
    recipe = tiny(angulation_deg=5.0, fov_mm=None, slices=None, thickness_mm=None, pixel_mm=4.0)
    case = drawn_case()
    source = AnyPlane(drawn_grid())
    study = write_study(case, tmp_path / "out", recipe, np.random.default_rng(3), tissue=source)
    found = read_back(tmp_path / "out" / "dicom", tmp_path / "work")
    for series in study.series:
        assert_same_place(series, matching(series, found)[0])
    shapes = {series.volume.shape for series in study.series}
    normals = [s.volume.affine[:3, 0] / s.volume.spacing.slice_mm for s in study.series]
    assert len(shapes) == 3
    assert abs(normals[0] @ normals[1]) < 0.9999


@pytest.mark.parametrize("seed", range(2))
def test_flawed_headers_are_still_read(tmp_path: Path, seed: int) -> None:
    """With every flaw likely, geometry still holds and no file is refused."""
    vendor = ("siemens", "philips")[seed]
    flaws = HeaderFlaws(*([0.5] * 6), {vendor: 0.5}, *([0.5] * 5))
    recipe = tiny(
        roles=ALL_ROLES, flaws=flaws, extras=ALL_EXTRAS, storage=None, site=Site(vendor, 1.5)
    )
    study = write_study(drawn_case(), tmp_path / "out", recipe, np.random.default_rng(seed))
    found = read_back(tmp_path / "out" / "dicom", tmp_path / "work")
    for series in study.series:
        stack, _ = matching(series, found)
        assert_same_place(series, stack)
        assert series.plane in (Plane.SAGITTAL, Plane.AXIAL, Plane.CORONAL)
