from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.findings import Call, Edema, Scores, StudyVolumes
from models.geometry import to_lps
from models.volume import Role
from service.report.drawing import StudyViews, View
from tests.unit.report import made
from tests.unit.report.test_nifti import FLIPS, turned


def views() -> StudyViews:
    found = made.localisation()
    return StudyViews(made.volumes(), found, made.scores(found))


def inside(points: NDArray[np.float64], view: View) -> bool:
    low, high = points.min(axis=0), points.max(axis=0)
    return bool(np.all(low >= 0) and np.all(high <= view.size))


def test_roles_side_by_side() -> None:
    assert views().roles == (Role.STIR, Role.T1)


@pytest.mark.parametrize("role", [Role.STIR, Role.T1])
def test_outline_lies_on_the_bright_or_dark_body(role: Role) -> None:
    drawn = views()
    view = drawn.overview(role)
    for outline in drawn.outlines(view, (1, 2, 3)):
        (line,) = outline.lines
        assert inside(line, view)
        (left, top), (right, bottom) = line.min(axis=0), line.max(axis=0)
        x, y, quarter = (left + right) / 2, (top + bottom) / 2, (right - left) / 4
        centre = view.grey[int(y) - 4 : int(y) + 4, int(x - quarter) : int(x + quarter)].mean()
        front = view.grey[int(y) - 4 : int(y) + 4, int(left - 14) : int(left - 6)].mean()
        assert (centre > front + 60) if role is Role.STIR else (centre < front - 60)


def test_front_is_on_the_left_and_head_is_up() -> None:
    view = views().overview(Role.STIR)
    here = made.localisation().vertebrae[1].centroid_lps_mm
    x, y = view.project(here)
    behind_x, _ = view.project(here + np.array([0.0, 10.0, 0.0]))
    _, above_y = view.project(here + np.array([0.0, 0.0, 10.0]))
    assert behind_x > x
    assert above_y < y


@pytest.mark.parametrize("flips", FLIPS)
def test_picture_does_not_depend_on_how_the_stack_is_stored(flips: tuple[bool, ...]) -> None:
    study, found = made.volumes(), made.localisation()
    scores = made.scores(found)
    order = (0, 1, 2)
    array, affine = turned(study.reference.array, study.reference.affine, order, flips)
    labels, _ = turned(found.labels, found.affine, order, flips)
    edema, _ = turned(scores.edema_map, found.affine, order, flips)
    reference = replace(study.reference, array=np.ascontiguousarray(array), affine=affine)
    stored = StudyViews(
        StudyVolumes(reference, {Role.STIR: reference}),
        replace(found, labels=labels, affine=affine),
        Scores(scores.levels, edema),
    )
    plain, other = views().overview(Role.STIR), stored.overview(Role.STIR)
    assert other.slice_index == plain.slice_index
    assert np.abs(other.grey.astype(int) - plain.grey.astype(int)).max() <= 1
    expected = views().outlines(plain, (1, 2, 3))
    for drawn, wanted in zip(stored.outlines(other, (1, 2, 3)), expected, strict=True):
        assert drawn.name_at == pytest.approx(wanted.name_at, abs=0.01)


def test_crop_shows_the_slice_with_most_edema() -> None:
    drawn = views()
    crop = drawn.crop(Role.STIR, 2, 3.0)
    # Slices run to the patient's left in pictures, and in this stack to the right.
    assert drawn.overview(Role.STIR).slice_index != crop.slice_index
    heat = drawn.heat(crop)
    assert heat is not None
    assert heat.max() > 0.8 * 255


def test_edema_is_drawn_where_it_is() -> None:
    drawn = views()
    crop = drawn.crop(Role.STIR, 2, 3.0)
    heat = drawn.heat(crop)
    assert heat is not None
    x, y = crop.project(to_lps(made.oblique_affine(), (3, 60, 34.5)))
    rows, columns = np.nonzero(heat > 0.45 * 255)
    near = np.abs(rows - y) < 40
    assert np.mean(columns[near]) == pytest.approx(x - 0.5, abs=1.5)


def test_edema_is_not_drawn_on_another_series() -> None:
    drawn = views()
    assert drawn.heat(drawn.overview(Role.T1)) is None


def test_edema_is_drawn_on_the_fluid_sensitive_series_whatever_the_reference_is() -> None:
    study, found = made.volumes(), made.localisation()
    stir = study.reference
    corner = np.eye(4)
    corner[:3, 3] = (0, 5, 7)
    cut = replace(
        stir, array=np.ascontiguousarray(stir.array[:, 5:, 7:]), affine=stir.affine @ corner
    )
    t2 = replace(stir, role=Role.T2)
    other = StudyViews(StudyVolumes(t2, {Role.T2: t2, Role.STIR: cut}), found, made.scores(found))
    assert other.heat(other.crop(Role.T2, 2, 3.0)) is None
    heat = other.heat(other.crop(Role.STIR, 2, 3.0))
    usual = views().heat(views().crop(Role.STIR, 2, 3.0))
    assert heat is not None
    assert usual is not None
    assert heat.shape == usual.shape
    assert np.abs(heat.astype(int) - usual.astype(int)).mean() < 1.0


def test_body_off_the_slice_has_a_name_and_no_line() -> None:
    found = made.localisation()
    labels = found.labels.copy()
    labels[3:, :, :][labels[3:, :, :] == 1] = 0
    drawn = StudyViews(made.volumes(), replace(found, labels=labels), None)
    outline = drawn.outlines(drawn.overview(Role.STIR), (1,))[0]
    assert outline.lines == ()
    assert all(np.isfinite(outline.name_at))


def test_study_without_bodies_has_a_picture() -> None:
    found = replace(made.localisation(), vertebrae=(), labels=np.zeros(made.SHAPE, np.uint8))
    view = StudyViews(made.volumes(), found, None).overview(Role.STIR)
    assert min(view.size) > 50


def test_constant_image_does_not_divide_by_zero() -> None:
    study = made.volumes()
    flat = replace(study.reference, array=np.zeros(made.SHAPE, np.float32))
    drawn = StudyViews(StudyVolumes(flat, {Role.STIR: flat}), made.localisation(), None)
    assert drawn.overview(Role.STIR).grey.max() == 0


def test_crop_away_from_edema_has_no_heat() -> None:
    drawn = views()
    assert drawn.heat(drawn.crop(Role.STIR, 1, 20.0)) is None


def test_label_of_no_vertebra_moves_no_crop() -> None:
    found = made.localisation()
    labels = found.labels.copy()
    labels[labels == 3] = 250
    scores = made.scores(made.localisation())
    drawn = StudyViews(made.volumes(), replace(found, labels=labels), scores)
    expected = views().crop(Role.STIR, 2, 3.0)
    assert drawn.crop(Role.STIR, 2, 3.0).slice_index == expected.slice_index


def test_arrays_of_the_study_stay_as_they_were() -> None:
    found = made.localisation()
    scores = made.scores(found)
    StudyViews(made.volumes(), found, scores)
    assert found.labels.flags.writeable
    assert scores.edema_map is not None
    assert scores.edema_map.flags.writeable


def test_threads_share_the_pictures_of_a_study() -> None:
    shared, indices = views(), (1, 2, 3) * 4

    def crop(index: int) -> tuple[bytes, list[list[list[float]]]]:
        view = shared.crop(Role.STIR, index, 3.0)
        (outline,) = shared.outlines(view, (index,))
        return view.grey.tobytes(), [line.tolist() for line in outline.lines]

    with ThreadPoolExecutor(max_workers=4) as pool:
        together = list(pool.map(crop, indices))
    assert together == [crop(index) for index in indices]
    assert together[:3] == together[3:6]


def test_heat_is_faint_where_the_measured_signal_does_not_bear_the_call_out() -> None:
    found = made.localisation()
    scores = made.scores(found)
    first, second, third = scores.levels
    unsupported = Edema(0.94, Call.INDETERMINATE, 0.8, ("no_measured_contrast",))
    levels = (first, second, replace(third, edema=unsupported))
    index = third.vertebra.index
    plain = StudyViews(made.volumes(), found, scores)
    faded = StudyViews(made.volumes(), found, replace(scores, levels=levels))
    before = plain.heat(plain.crop(Role.STIR, index, 3.0))
    after = faded.heat(faded.crop(Role.STIR, index, 3.0))
    assert before is not None
    assert after is not None
    assert after.max() < 0.4 * before.max()
