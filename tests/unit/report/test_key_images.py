from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from PIL import Image

from service.report.headline import TONE_COLOURS, Tone
from service.report.key_images import KeyImage, key_images
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


def test_several_threads_paint_the_same_pictures() -> None:
    study = made.result()
    alone = list(key_images(study))
    with ThreadPoolExecutor(max_workers=3) as pool:
        together = list(pool.map(lambda _: list(key_images(study)), range(6)))
    assert together == [alone] * 6


def test_no_bodies_no_pictures() -> None:
    assert list(key_images(made.unusable_result())) == []
