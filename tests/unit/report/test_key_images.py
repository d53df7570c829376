from io import BytesIO

import numpy as np
from PIL import Image

from service.report.headline import TONE_COLOURS, Tone
from service.report.key_images import KeyImage, heat_rgba, key_images
from tests.unit.report import made


def picture(image: KeyImage) -> Image.Image:
    return Image.open(BytesIO(image.png))


def pixels_of(image: KeyImage, tone: Tone) -> int:
    distance = np.asarray(picture(image)).astype(int) - np.array(TONE_COLOURS[tone])
    return int(np.sum(np.abs(distance).max(axis=-1) < 12))


def test_overview_then_one_picture_per_finding() -> None:
    images = list(key_images(made.result()))
    assert [image.number for image in images] == [1, 2, 3]
    assert [image.caption for image in images] == [
        "Mid-sagittal overview",
        "L1: unhealed fracture",
        "L2: pathological features",
    ]


def test_outlines_are_burned_in() -> None:
    overview, fractured, pathological = key_images(made.result())
    assert pixels_of(overview, Tone.UNHEALED) > 100
    assert pixels_of(overview, Tone.PATHOLOGICAL) > 100
    assert pixels_of(fractured, Tone.UNHEALED) > 100
    assert pixels_of(fractured, Tone.PATHOLOGICAL) == 0
    assert pixels_of(pathological, Tone.PATHOLOGICAL) > 100


def test_pictures_carry_no_metadata() -> None:
    for image in key_images(made.result()):
        assert picture(image).info == {}


def test_same_study_same_pictures() -> None:
    first, second = list(key_images(made.result())), list(key_images(made.result()))
    assert first == second


def test_no_bodies_no_pictures() -> None:
    assert list(key_images(made.unusable_result())) == []


def test_heat_is_clear_where_there_is_none() -> None:
    pixels = heat_rgba(np.array([[0.0, 0.5, 1.5, -0.2]], dtype=np.float32))
    assert pixels[0, :, 3].tolist() == [0, 70, 140, 0]
