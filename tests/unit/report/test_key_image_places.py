"""Where a key image's pixels lie: marks drawn by others fall on the anatomy."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.report.drawing import views_of
from service.report.key_image_places import place_of
from service.report.key_images import key_images, levels_by_index
from tests.unit.report import made


def test_a_point_is_found_where_the_view_projects_it() -> None:
    result = made.result()
    views = views_of(result)
    assert views is not None
    for index in levels_by_index(result):
        view = views.crop(views.roles[0], index, 4.0)
        place = place_of(view, (12, 68))
        points = np.random.default_rng(index).normal(0.0, 30.0, (20, 3))
        assert place.project(points) == pytest.approx(
            np.array([12, 68]) + view.project(points), abs=0.05
        )


def test_every_panel_lies_on_its_picture_and_shows_its_body() -> None:
    result = made.result()
    assert result.localisation is not None
    values = {level.label_value: index for index, level in levels_by_index(result).items()}
    vertebrae = {vertebra.index: vertebra for vertebra in result.localisation.vertebrae}
    shown = [image for image in key_images(result) if image.label_value is not None]
    assert shown
    for image in shown:
        assert image.label_value is not None
        width, height = Image.open(BytesIO(image.png)).size
        centre = vertebrae[values[image.label_value]].centroid_lps_mm
        for panel in image.panels:
            left, top, wide, high = panel.box_px
            assert left + wide <= width
            assert top + high <= height
            x, y = panel.project(centre)
            assert left < x < left + wide
            assert top < y < top + high


def test_distance_to_the_slice_is_along_its_normal() -> None:
    result = made.result()
    views = views_of(result)
    assert views is not None
    view = views.overview(views.roles[0])
    place = place_of(view, (0, 0))
    on_it = view.affine[:3] @ np.array([view.slice_index, 3.0, 5.0, 1.0])
    assert place.beside_mm(on_it) == pytest.approx(0.0, abs=1e-3)
    normal = np.array(place.normal_lps)
    assert place.beside_mm(on_it + 3.0 * normal) == pytest.approx(3.0, abs=1e-3)
