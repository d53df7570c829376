"""Real scanner files end as their index says; real spines get the right role and place."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from models.geometry import Plane, to_lps
from models.volume import Role
from service.ingest.decode import PixelDecoder
from service.ingest.grid import StackPolicy
from service.ingest.inventory import take_inventory
from service.ingest.records import Ingested, Refusal
from service.ingest.safety import Limits
from service.ingest.sequences import role_of
from service.ingest.series_text import words_of
from service.ingest.stacking import Stack, stacks_of
from service.ingest.study import read_study

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ACUITY_REAL_DATA", ROOT.parent / "shared"))
RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
POLICY = StackPolicy()

ABSENT = f"no real scans: set ACUITY_REAL_DATA (looked for {DATA.name}/real_dicom, real_studies)"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (DATA / "real_dicom" / "index.json").exists(), reason=ABSENT),
]


def index() -> dict[str, dict[str, Any]]:
    path = DATA / "real_dicom" / "index.json"
    return {i["path"]: i for i in json.loads(path.read_text())["items"]} if path.exists() else {}


def studies() -> list[str]:
    return sorted(path.parent.name for path in (DATA / "real_studies").glob("*/truth.json"))


# Codes that are an honest form of the refusal that the index asks for.
EXPECTED = {
    "siemens_e11_sag_gre": {"field_map", "too_few_slices", "not_a_spine_examination"},
    "siemens_e11_mosaic": {"mosaic"},
    "siemens_trio_transfer_syntaxes": {"mosaic", "not_sagittal"},
    "siemens_xa30_enhanced_t1_sag": {"not_a_spine_examination"},
    "siemens_xa30_enhanced_adc": {"diffusion", "derived"},
    "siemens_xa30_enhanced_color": {"unsupported_sop_class"},
    "siemens_xa30_phoenix_sr": {"not_an_image"},
    "ge_pioneer_ax_t1": {"not_sagittal"},
    "ge_architect_epi_fs": {"echo_planar", "not_sagittal"},
    "philips_achieva_enhanced_b0": {"derived", "field_map", "not_sagittal"},
    "philips_elition_enhanced_real": {"derived", "not_sagittal"},
    "philips_elition_enhanced_fieldmap": {"derived", "field_map", "not_sagittal"},
    "philips_raw_data_storage": {"no_pixel_data"},
    "toshiba_galan": {"echo_planar", "not_sagittal"},
    "toshiba_galan_sagname": {"echo_planar", "not_sagittal"},
    "nema_wg04_philips_stir": {"not_sagittal", "single_slice", "other_study"},
    "nema_wg04_philips_shoulder": {"not_sagittal", "single_slice"},
    "pydicom_mr_small": {"not_sagittal", "single_slice", "conflicting_duplicate"},
    "pydicom_mr_truncated": {"truncated_pixel_data"},
    "pydicom_emri_small": {"geometry_missing", "truncated_pixel_data", "conflicting_duplicate"},
    "pydicom_no_meta": {"not_an_image"},
    "siemens_avanto_vibe_fs_overlay": {"derived"},
    "spine_hitachi_t2_single": {"single_slice"},
    "spine_siemens_essenza_wrong_bodypart": {"single_slice"},
}

# Stacks of each item: how many, and slices of each; nothing where no image is stacked.
STACKS = {
    "siemens_e11_sag_gre": [5],
    "siemens_xa30_enhanced_t1_sag": [96],
    "siemens_xa30_enhanced_adc": [39],
    "ge_pioneer_ax_t1": [130],
    "philips_achieva_enhanced_b0": [32, 32],
    "philips_elition_enhanced_real": [40],
    "philips_elition_enhanced_fieldmap": [53, 53, 53, 53],
    "toshiba_galan": [4],
    "toshiba_galan_sagname": [4],
    "spine_hitachi_t2_single": [1],
    "spine_siemens_essenza_wrong_bodypart": [1],
}

ROLES = {
    "nema_wg04_philips_stir": Role.STIR,
    "ge_pioneer_ax_t1": Role.T1,
    "siemens_xa30_enhanced_t1_sag": Role.T1,
    "spine_hitachi_t2_single": Role.T2,
    "spine_siemens_essenza_wrong_bodypart": Role.T2,
    "nema_wg04_philips_shoulder": Role.T1,
    "siemens_avanto_vibe_fs_overlay": Role.OTHER,
    "siemens_e11_mosaic": Role.OTHER,
    "ge_architect_epi_fs": Role.OTHER,
}


def stacks(item: str, tmp_path: Path) -> tuple[Stack, ...]:
    given = take_inventory(DATA / "real_dicom" / item, Limits(), tmp_path)
    return stacks_of(given.records, POLICY)


def read(path: Path, tmp_path: Path) -> Ingested:
    return read_study(path, limits=Limits(), policy=POLICY, workspace=tmp_path)


def corners(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(8, 3) LPS mm of a grid's corners, in an order that does not depend on how it is stored."""
    indices = np.array(list(itertools.product(*[(0, size - 1) for size in shape])), float)
    points = to_lps(affine, indices)
    return points[np.lexsort(np.round(points, 1).T)]


def nearest_plane(affine: NDArray[np.float64]) -> str:
    normal = np.cross(affine[:3, 2], affine[:3, 1])
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(normal)))]


@pytest.mark.parametrize("item", sorted(EXPECTED))
def test_every_item_is_refused_as_expected(item: str, tmp_path: Path) -> None:
    found = read(DATA / "real_dicom" / item, tmp_path)
    codes = {one.refusal.code for one in found.refused_files}
    assert codes <= EXPECTED[item]
    assert found.volumes is None
    assert found.files_used == 0
    assert len(found.refused_files) == index()[item]["n_files"]
    assert [a.code for a in found.abstentions] == ["no_usable_sagittal_series"]


def test_every_item_of_the_index_is_tested() -> None:
    assert set(index()) == set(EXPECTED)


@pytest.mark.parametrize("item", sorted(STACKS))
def test_stacks_slices_and_plane(item: str, tmp_path: Path) -> None:
    found = stacks(item, tmp_path)
    assert [stack.count for stack in found] == STACKS[item]
    for stack in found:
        assert stack.affine is not None
        assert stack.refusal is None
        assert nearest_plane(stack.affine) == index()[item]["plane"]


@pytest.mark.parametrize("item", sorted(ROLES))
def test_roles_by_physics(item: str, tmp_path: Path) -> None:
    for stack in stacks(item, tmp_path):
        instance = stack.instance
        words = words_of(instance.series_description, instance.protocol_name)
        assert role_of(stack.physics, words, stack.count).role is ROLES[item]


@pytest.mark.parametrize("item", sorted(STACKS))
def test_geometry_equals_the_independent_readers(item: str, tmp_path: Path) -> None:
    found = stacks(item, tmp_path)
    geometry = index()[item].get("geometry", {})
    references = [
        (RAS_OF_LPS @ np.vstack([one["affine_ras"], [0, 0, 0, 1]]), tuple(one["dim"][:3]))
        for one in geometry.get("dcm2niix", [])
    ]
    if "simpleitk" in geometry:
        one = geometry["simpleitk"]
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(one["direction"], (3, 3)) * one["spacing_mm"]
        affine[:3, 3] = one["origin_lps"]
        references.append((affine, tuple(one["size"])))
    if not references:
        pytest.skip("the index gives no geometry for this item")
    for stack in found:
        assert stack.affine is not None
        shape = (stack.count, stack.instance.rows, stack.instance.columns)
        for affine, size in references:
            # The index rounds to 1e-4 mm per voxel and 1e-5 of a direction.
            rounding = 1e-3 + 1.5e-4 * max(size)
            assert sorted(size) == sorted(shape)
            np.testing.assert_allclose(
                corners(stack.affine, shape), corners(affine, size), atol=rounding
            )


def simpleitk_reading(files: list[str]) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine in our index order (slice, row, column) and shape, as SimpleITK's reader has them."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(files)
    image = reader.Execute()
    direction = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = np.eye(4)
    affine[:3, :3] = direction[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    columns, rows, slices = image.GetSize()
    return affine, (slices, rows, columns)


@pytest.mark.parametrize("item", ["ge_pioneer_ax_t1", "siemens_e11_sag_gre", "toshiba_galan"])
def test_classic_stacks_equal_simpleitk(item: str, tmp_path: Path) -> None:
    (stack,) = stacks(item, tmp_path)
    affine, shape = simpleitk_reading([str(record.path) for record, _ in stack.slices])
    assert stack.affine is not None
    assert shape == (stack.count, stack.instance.rows, stack.instance.columns)
    assert np.abs(corners(stack.affine, shape) - corners(affine, shape)).max() < 1e-3
    np.testing.assert_allclose(stack.affine, affine, atol=1e-3)


@pytest.mark.parametrize("item", sorted(EXPECTED))
def test_pixels_decode_where_the_index_says_so(item: str, tmp_path: Path) -> None:
    given = take_inventory(DATA / "real_dicom" / item, Limits(), tmp_path)
    frames = [(record, record.frames[0]) for record in given.records][:12]
    with PixelDecoder(Limits()) as decoder:
        decoded = decoder.decode_frames(frames)
    readable = [one for one in decoded if not isinstance(one, Refusal)]
    supported = EXPECTED[item] != {"unsupported_sop_class"}
    if index()[item]["expected"]["pixel_data_must_decode"] and supported:
        assert readable
    for (record, _), plane in zip(frames, decoded, strict=True):
        if not isinstance(plane, Refusal):
            assert plane.shape == (record.rows, record.columns)


WEIGHTINGS = {
    "T1 TSE": "t1",
    "TIRM (STIR), fat-suppressed fluid-sensitive": "stir",
    "T2 TSE, not fat-suppressed": "t2",
    "T2 (T)SE, not fat-suppressed": "t2",
}


@pytest.mark.parametrize("study", studies())
def test_real_spine(study: str, tmp_path: Path) -> None:
    """Role, files and grid of every real study, against its truth and SimpleITK's reading."""
    folder = DATA / "real_studies" / study
    truth = json.loads((folder / "truth.json").read_text())
    found = read(folder / "dicom", tmp_path)
    assert found.refused_files == ()
    assert found.volumes is not None
    volumes = {v.series_instance_uid: v for v in found.volumes.by_role.values()}
    for series in truth["series"]:
        volume = volumes[series["series_instance_uid"]]
        weighting = series["true_weighting"]
        water = weighting.startswith("water image")
        assert volume.role.value == ("dixon_water" if water else WEIGHTINGS[weighting])
        assert ("gradient_echo_water_image" in volume.limits) is water
        assert volume.shape == (series["n_slices"], series["rows"], series["columns"])
        image = nibabel.load(folder / series["truth_nifti"])
        affine = RAS_OF_LPS @ image.affine
        np.testing.assert_allclose(
            corners(volume.affine, volume.shape), corners(affine, image.shape), atol=1e-3
        )
    plain_t2 = {"t2"} >= set(found.volumes.by_role) - {"t1"}
    fluid = [a for a in found.abstentions if a.code == "no_fluid_sensitive_series"]
    assert bool(fluid) is plain_t2


@pytest.mark.parametrize("study", studies())
def test_pixels_confirm_or_stay_silent(study: str, tmp_path: Path) -> None:
    """The pixel check contradicts no correct header."""
    found = read(DATA / "real_studies" / study / "dicom", tmp_path)
    for outcome in found.series:
        assert outcome.plane is Plane.SAGITTAL
        assert outcome.confidence >= 0.9
        assert not {"fat_suppression_not_seen", "fat_dark_without_suppression"} & set(
            outcome.findings
        )
