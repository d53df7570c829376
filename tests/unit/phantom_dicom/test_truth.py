"""The truth of a written study against the grid it was made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydantic import BaseModel

from models.anatomy import LABEL_VALUES
from models.geometry import to_lps
from models.volume import Role, Volume
from service.report.document import LevelReport
from tests.unit.phantom_dicom.drawn import AnyPlane, drawn_case, drawn_grid, tiny
from training.phantom.dicom.label_maps import LESION_CLASSES, labels_on
from training.phantom.dicom.recipe import ExtraSeries
from training.phantom.dicom.study import WrittenStudy, write_study
from training.phantom.dicom.truth import edema_contrasts, visibility
from training.phantom.disease.fracture import sample_fracture
from training.phantom.patient import sample_case
from training.phantom.scanner.protocols import Site
from training.phantom.scene import SceneRequest
from training.phantom.stamp import PHANTOM_VERSION


def written(folder: Path, **changes: object) -> tuple[WrittenStudy, dict[str, Any]]:
    settings: dict[str, object] = {"site": Site("siemens", 1.5), **changes}
    study = write_study(drawn_case(), folder, tiny(**settings), np.random.default_rng(8))
    return study, json.loads(study.truth.read_text())


def test_geometry_is_exact(tmp_path: Path) -> None:
    study, truth = written(tmp_path, extras=ExtraSeries(1.0, 1.0, 0.0, 0.0, 1.0, 0.0))
    assert len(truth["series"]) == len(study.series)
    for series, stated in zip(study.series, truth["series"], strict=True):
        assert np.array_equal(np.array(stated["affine_lps"]), series.volume.affine)
        assert tuple(stated["shape"]) == series.volume.shape
        assert stated["role"] == series.volume.role.value
        assert stated["protocol"]["sequence"]["repetition_ms"] > 0


COUNTERPARTS = {
    "coverage": "visible",
    "body.volume_ml": "volume_ml",
    "body.depth_mm": "depth_mm",
    "body.width_mm": "width_mm",
    "body.height_anterior_mm": "heights_mm",
    "body.height_middle_mm": "heights_mm",
    "body.height_posterior_mm": "heights_mm",
    "edema.call": "edema_fraction",
    "edema.extent_fraction": "edema_fraction",
    "edema.extent_bin": "edema_fraction",
    "fracture.call": "acuity",
    "fracture.height_loss_percent": "height_loss_percent",
    "fracture.genant_grade": "height_loss_percent",
    "fracture.shape": "fracture",
    "acuity.call": "acuity",
    "etiology.call": "etiology",
    "features.probability": "signs",
    "geometry.volume.body_ml": "volume_ml",
    "geometry.volume.fifteen_percent_ml": "volume_ml",
    "geometry.volume.twenty_four_percent_ml": "volume_ml",
    "geometry.heights.anterior_mm": "heights_mm",
    "geometry.heights.middle_mm": "heights_mm",
    "geometry.heights.posterior_mm": "heights_mm",
    "geometry.adjacent_fractures": "acuity",  # of the neighbours
    "safety": "mimics",
}
"""Field of the report's level to the field of the truth's level that it is held against, where
the two have different names."""

WITHOUT_TRUTH = {
    "how sure the report is of what it says": (
        "level_confidence", "alternatives.level", "alternatives.confidence",
        "edema.probability", "edema.extent_interval", "fracture.probability",
        "acuity.probability_unhealed", "acuity.prediction_set",
        "etiology.pathological_probability", "etiology.prediction_set",
        "geometry.posterior_wall.uncertainty_mm", "geometry.canal.uncertainty_mm",
        "geometry.canal.compromise_uncertainty_percent",
        "geometry.pedicle_left.height_uncertainty_mm", "geometry.pedicle_left.width_uncertainty_mm",
        "geometry.pedicle_right.height_uncertainty_mm",
        "geometry.pedicle_right.width_uncertainty_mm",
        "geometry.volume.uncertainty_ml", "geometry.heights.uncertainty_mm",
        "geometry.angles.uncertainty_deg",
        "body_sd.volume_ml", "body_sd.depth_mm", "body_sd.width_mm", "body_sd.height_anterior_mm",
        "body_sd.height_middle_mm", "body_sd.height_posterior_mm",
    ),
    "about the reading and not the patient": (
        "label_value", "in_distribution", "distribution_score", "disagreements",
        "edema.limited_by", "etiology.limited_by", "geometry.reasons",
        "geometry.posterior_wall.integrity",
        "geometry.pedicle_left.slices", "geometry.pedicle_right.slices",
    ),
    "of the signal, which the protocol decides": ("features.value", "features.unit"),
    "a rule of the product: any point that keeps it is right": (
        "geometry.target.point_lps_mm", "geometry.target.depth_fraction",
        "geometry.target.to_anterior_cortex_mm", "geometry.target.to_posterior_wall_mm",
        "geometry.target.to_superior_endplate_mm", "geometry.target.to_inferior_endplate_mm",
        "geometry.target.to_basivertebral_vein_mm", "geometry.target.uncertainty_lps_mm",
        "geometry.target.left.through_lps_mm", "geometry.target.left.direction_lps",
        "geometry.target.left.medial_deg", "geometry.target.left.caudal_deg",
        "geometry.target.left.length_mm", "geometry.target.right.through_lps_mm",
        "geometry.target.right.direction_lps", "geometry.target.right.medial_deg",
        "geometry.target.right.caudal_deg", "geometry.target.right.length_mm",
        "geometry.target.limited_by", "geometry.target.diagrammatic",
    ),
}  # fmt: skip
"""Why a field of the report's level has no counterpart, to the fields."""


def report_fields(part: type[BaseModel], path: str = "") -> Iterator[str]:
    """Paths of the fields of a part of the report, those of its own parts instead of the parts."""
    for name, field in part.model_fields.items():
        inner = list(_parts(field.annotation))
        for nested in inner:
            yield from report_fields(nested, f"{path}{name}.")
        if not inner:
            yield path + name


def _parts(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from _parts(argument)


def stated(level: dict[str, Any], path: str) -> bool:
    """Whether a level of `truth.json` holds a value at a path."""
    value: Any = level
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value is not None


def test_every_field_of_the_report_has_a_truth_or_a_reason_for_none(tmp_path: Path) -> None:
    disease = sample_fracture(np.random.default_rng(2), stage="acute", shape="wedge")
    request = SceneRequest(region="lumbar", numbering="usual", diseases={"L2": disease})
    case = sample_case(3, request, field_mm=(240.0, 200.0), slices=40, in_plane_mm=1.4)
    study = write_study(case, tmp_path, tiny(roles=(Role.STIR,)), np.random.default_rng(8))
    truth = json.loads(study.truth.read_text())
    (broken,) = [level for level in truth["levels"] if level["level"] == "L2"]
    assert broken["acuity"] == "unhealed"
    without = [path for paths in WITHOUT_TRUTH.values() for path in paths]
    fields = list(report_fields(LevelReport))
    for path in fields:
        held = stated(broken, COUNTERPARTS.get(path, path))
        assert held != (path in without), path
    assert {*COUNTERPARTS, *without} <= set(fields)
    assert truth["spine"]["conus_level"] in LABEL_VALUES
    assert {disc["pfirrmann_grade"] for disc in truth["spine"]["discs"]} <= {1, 2, 3, 4, 5}


def test_acuity_follows_the_stage(tmp_path: Path) -> None:
    _, truth = written(tmp_path)
    acuity = {level["level"]: level["acuity"] for level in truth["levels"]}
    assert acuity["L2"] == "unhealed"
    assert acuity["L1"] == "no_fracture"
    assert truth["spine"] is None  # boxes were not drawn from a scene


def test_edema_is_held_against_the_marrow_around_it() -> None:
    body = np.zeros((1, 4, 30), np.uint8)
    for index in (1, 2, 3):
        body[:, :, 10 * index - 10 : 10 * index - 2] = index
    signal = np.full(body.shape, 2.0, np.float32)
    signal[body == 0] = 50.0  # discs say nothing
    wet = np.zeros(body.shape, bool)
    wet[:, :, 10:14] = True
    signal[:, :, 10:14] = 5.0
    assert edema_contrasts(signal, body, wet) == {2: pytest.approx(2.5)}
    everywhere = body > 0
    assert edema_contrasts(signal, body, everywhere) == dict.fromkeys((1, 2, 3), np.inf)


def test_a_drawn_edema_has_a_contrast_and_other_bodies_none(tmp_path: Path) -> None:
    _, truth = written(tmp_path)
    told = {level["level"]: level["edema_contrast"] for level in truth["levels"]}
    assert told["L2"] > 1.0
    assert told["L1"] is None


def test_truth_names_the_version_of_the_phantom(tmp_path: Path) -> None:
    _, truth = written(tmp_path)
    assert truth["phantom_version"] == PHANTOM_VERSION


def test_conditions_of_scans_are_stated(tmp_path: Path) -> None:
    _, truth = written(tmp_path, extras=ExtraSeries(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    by_role = {stated["role"]: stated["conditions"] for stated in truth["series"]}
    assert by_role["localizer"] is None
    assert len(by_role["stir"]["shift_mm"]) == 3


def test_visibility_follows_the_reference_field_of_view(tmp_path: Path) -> None:
    """A field of view of a third of the grid shows the middle bodies only."""
    study, truth = written(tmp_path, fov_mm=(80.0, 240.0))
    seen = {level["level"]: level["visible"] for level in truth["levels"]}
    assert 0 < len(seen) < 5
    image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "truth.nii.gz")))
    present = {name for name, value in LABEL_VALUES.items() if (image == value).any()}
    assert present <= set(seen)
    assert "complete" in seen.values()
    assert study.series[0].volume.shape[1] == 16


def test_visibility_of_a_body_at_the_edge() -> None:
    case = drawn_case()
    level = case.levels[2]
    affine = case.grid.affine
    whole = Volume(np.zeros(case.grid.tissue.shape, np.float32), affine, Role.T2)
    above = Volume(np.zeros((26, 44, 100), np.float32), affine, Role.T2)
    apart = Volume(np.zeros((26, 20, 100), np.float32), affine, Role.T2)
    assert [visibility(level, v) for v in (whole, above, apart)] == [
        "complete",
        "partial",
        "outside",
    ]


def test_label_maps_lie_on_each_grid(tmp_path: Path) -> None:
    _, truth = written(tmp_path, fov_mm=(180.0, 180.0), slices=9)
    files = {stated["truth_nifti"] for stated in truth["series"]}
    assert "truth.nii.gz" in files
    assert len(files) == 3
    for stated in truth["series"]:
        image = SimpleITK.ReadImage(str(tmp_path / stated["truth_nifti"]))
        assert SimpleITK.GetArrayFromImage(image).shape == tuple(stated["shape"])
        corner = image.TransformIndexToPhysicalPoint((3, 4, 2))
        wanted = np.array(stated["affine_lps"]) @ [2, 4, 3, 1]
        assert corner == pytest.approx(wanted[:3], abs=1e-3)
        ras = nibabel.load(tmp_path / stated["truth_nifti"]).get_qform() @ [3, 4, 2, 1]
        assert ras[:3] == pytest.approx(wanted[:3] * [-1, -1, 1], abs=2e-3)


def test_label_map_agrees_with_the_bodies(tmp_path: Path) -> None:
    study, _ = written(tmp_path)
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "truth.nii.gz")))
    volume = study.series[0].volume
    for level in drawn_case().levels:
        index = np.argwhere(labels == LABEL_VALUES[level.level])
        middle = to_lps(volume.affine, index).mean(axis=0)
        assert middle == pytest.approx(level.centroid_lps_mm, abs=3.0)
        filled = len(index) * np.prod(volume.spacing.mm) / np.prod((38.0, 35.0, 30.0))
        assert filled == pytest.approx(1.0, abs=0.15)


def test_labels_need_half_of_a_voxel() -> None:
    grid = drawn_grid()
    where = grid.affine.copy()
    where[:3, 1:3] *= 2.0  # voxels of 2 x 2 fine ones
    where[:3, 3] = to_lps(grid.affine, np.array([0.0, 0.5, 0.5]))
    volume = Volume(np.zeros((26, 50, 50), np.float32), where, Role.STIR)
    fine = np.zeros(grid.tissue.shape, np.uint8)
    fine[5, 10:12, 10:12] = 3  # all of voxel (5, 5, 5)
    fine[5, 20:22, 20] = 4  # half of (5, 10, 10)
    fine[5, 30, 30] = 5  # a quarter of (5, 15, 15)
    labels = labels_on(fine, grid, volume)
    assert labels[5, 5, 5] == 3
    assert labels[5, 10, 10] == 4
    assert labels[5, 15, 15] == 0


def test_lesion_map_lies_on_the_fluid_sensitive_series(tmp_path: Path) -> None:
    study, truth = written(tmp_path, roles=(Role.T1, Role.STIR))
    stir = study.series[1].volume
    assert truth["lesion_nifti"]["series_instance_uid"] == stir.series_instance_uid
    image = SimpleITK.ReadImage(str(tmp_path / "lesions.nii.gz"))
    labels = SimpleITK.GetArrayFromImage(image)
    assert labels.shape == stir.shape
    by_name = {name: int((labels == value).sum()) for name, value in LESION_CLASSES.items()}
    assert by_name["edema"] > by_name["metastasis_lytic"] > 0
    assert by_name["cement"] > 0
    assert by_name["haemangioma"] == 0
    spot = to_lps(stir.affine, np.argwhere(labels == LESION_CLASSES["edema"])).mean(axis=0)
    assert spot == pytest.approx(drawn_case().levels[1].centroid_lps_mm, abs=3.0)


def test_series_of_other_planes_have_their_own_maps(tmp_path: Path) -> None:
    source = AnyPlane(drawn_grid())
    recipe = tiny(angulation_deg=4.0, site=Site("ge", 1.5))
    study = write_study(drawn_case(), tmp_path, recipe, np.random.default_rng(2), tissue=source)
    truth = json.loads(study.truth.read_text())
    assert len({stated["truth_nifti"] for stated in truth["series"]}) == 3
    for stated, series in zip(truth["series"], study.series, strict=True):
        labels = SimpleITK.GetArrayFromImage(
            SimpleITK.ReadImage(str(tmp_path / stated["truth_nifti"]))
        )
        index = np.argwhere(labels == LABEL_VALUES["L3"])
        middle = to_lps(series.volume.affine, index).mean(axis=0)
        assert middle == pytest.approx(drawn_case().levels[2].centroid_lps_mm, abs=4.0)
