from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.volume import Role
from service.report.drawing import StudyViews, View, views_of
from service.report.headline import FINDING_TONES, TONE_COLOURS, tone_of
from service.report.key_images import levels_by_index
from service.report.painting import BACKGROUND, FOOTER, HEAT, heat_palette, panel, sheet
from tests.unit.report import made


def views() -> StudyViews:
    drawn = views_of(made.result())
    assert drawn is not None
    return drawn


def painted(index: int, role: Role = Role.T1) -> tuple[View, NDArray[np.int_]]:
    """A body's crop of a series without an edema map, turned black, and its panel."""
    drawn, levels = views(), levels_by_index(made.result())
    view = drawn.crop(role, index, 4.0)
    view = replace(view, grey=np.zeros_like(view.grey))
    return view, np.asarray(panel(drawn, view, {index: levels[index]}, named=False)).astype(int)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_only_the_line_is_painted_and_it_is_as_wide_as_it_should_be(index: int) -> None:
    view, picture = painted(index)
    tone = tone_of(levels_by_index(made.result())[index])
    colour = np.array(TONE_COLOURS[tone], dtype=float)
    cover = picture @ colour / (colour @ colour)
    (line,) = views().outlines(view, (index,))[0].lines
    length = np.linalg.norm(np.diff(np.vstack([line, line[:1]]), axis=0), axis=1).sum()
    width = 2.0 if tone in FINDING_TONES else 1.2 * 0.7
    assert cover.sum() / length == pytest.approx(width, rel=0.15)
    rows, columns = np.nonzero(cover > 0.1)
    centres = np.stack([columns + 0.5, rows + 0.5], axis=1)
    nearest = np.linalg.norm(centres[:, None] - line, axis=2).min(axis=1)
    assert nearest.max() < 5.0  # points of the line lie at most 4.8 px apart


def test_line_has_no_gap() -> None:
    view, picture = painted(2)
    red, green, blue = TONE_COLOURS[tone_of(levels_by_index(made.result())[2])]
    (line,) = views().outlines(view, (2,))[0].lines
    for x, y in line:
        near = picture[int(y - 1) : int(y + 2), int(x - 1) : int(x + 2)].reshape(-1, 3)
        assert np.abs(near - (red, green, blue)).max(axis=1).min() < 40


def test_body_off_the_slice_is_not_outlined() -> None:
    found = made.localisation()
    labels = np.zeros_like(found.labels)
    drawn = StudyViews(made.volumes(), replace(found, labels=labels), None)
    view = drawn.crop(Role.T1, 2, 4.0)
    levels = levels_by_index(made.result())
    picture = np.asarray(panel(drawn, view, {2: levels[2]}, named=False))
    assert np.array_equal(picture, np.repeat(view.grey[..., None], 3, axis=2))


def test_heat_is_clear_where_there_is_none_and_never_hides_the_image() -> None:
    palette = heat_palette()
    assert palette.shape == (256, 4)
    assert palette[[0, 128, 255], 3].tolist() == [0, 48, 96]
    assert np.all(palette[:, :3] == HEAT)


def test_names_stay_in_the_picture_however_near_its_edge_the_body_lies() -> None:
    drawn, levels = views(), levels_by_index(made.result())
    view = drawn.crop(Role.STIR, 3, 4.0)
    centre = view.project(made.localisation().vertebrae[2].centroid_lps_mm)
    # The body now lies in the upper left corner: its name has no room in front of it.
    moved = (view.corner[0] + centre[1] / view.px_per_index[0], view.corner[1] + 20.0)
    near = replace(view, corner=moved, grey=np.zeros_like(view.grey))
    picture = np.asarray(panel(drawn, near, {3: levels[3]}, named=True)).astype(int)
    bare = np.asarray(panel(drawn, near, {3: levels[3]}, named=False)).astype(int)
    rows, columns = np.nonzero(np.abs(picture - bare).sum(axis=2) > 200)
    assert columns.min() > 0
    assert rows.min() > 0
    assert len(rows) > 100


def test_heat_is_laid_over_the_reference_series() -> None:
    drawn, levels = views(), levels_by_index(made.result())
    view = drawn.crop(Role.STIR, 3, 4.0)
    heat = drawn.heat(view)
    assert heat is not None
    picture = np.asarray(panel(drawn, view, {3: levels[3]}, named=False)).astype(int)
    middle = tuple(size // 2 for size in view.size[::-1])
    assert heat[middle] > 180
    grey, opacity = int(view.grey[middle]), heat_palette()[heat[middle], 3] / 255
    assert picture[middle] == pytest.approx(grey + (np.array(HEAT) - grey) * opacity, abs=1.5)


def test_sheet_holds_its_panels_side_by_side() -> None:
    first, second = Image.new("RGB", (300, 40), (9, 8, 7)), Image.new("RGB", (350, 60), (1, 2, 3))
    laid, corners = sheet([first, second], ["one", "two"], ("title", "line below"), ())
    assert laid.dtype == np.uint8
    assert tuple(laid[0, 0]) == BACKGROUND
    for (left, top), colour in zip(corners, [(9, 8, 7), (1, 2, 3)], strict=True):
        assert tuple(laid[top, left]) == colour
        assert tuple(laid[top, left - 1]) != colour
    assert int(np.all(laid == (9, 8, 7), axis=2).sum()) == 300 * 40
    assert int(np.all(laid == (1, 2, 3), axis=2).sum()) == 350 * 60


def test_sheet_is_wide_enough_for_its_words() -> None:
    small = Image.new("RGB", (20, 20))
    words = "a caption that is much wider than its panel " * 3
    assert sheet([small], [words], (FOOTER,), ())[0].shape[1] > 400
