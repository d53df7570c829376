"""The served localiser on one scan stored, cut and turned in other ways: the same bodies and names.

The first sample study is used, turned all three; nothing here depends on how right their names are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from scipy import ndimage

from models.findings import Coverage, Localisation, StudyVolumes
from models.geometry import to_lps
from models.localiser.localiser import Localiser
from models.registry import resolve
from models.runtime import open_session
from models.volume import Volume
from service.ingest.grid import StackPolicy
from service.ingest.safety import Limits
from service.ingest.study import read_study

SAMPLES = Path(__file__).parents[2] / "data_samples"
SAMPLE = SAMPLES / "benign_unhealed" / "dicom"
NEAR_MM = 1.0


@pytest.fixture(scope="module")
def localise() -> Callable[[Volume], Localisation]:
    bundle = resolve("localiser")
    localiser = Localiser(open_session(bundle, "cpu"), bundle.metadata)
    return lambda volume: localiser(StudyVolumes(volume, {volume.role.value: volume}))


def read(folder: Path, workspace: Path) -> Volume:
    ingested = read_study(folder, limits=Limits(), policy=StackPolicy(), workspace=workspace)
    assert ingested.volumes is not None
    return ingested.volumes.reference


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return read(SAMPLE, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def expected(localise: Callable[[Volume], Localisation], volume: Volume) -> Localisation:
    found = localise(volume)
    assert len(found.vertebrae) >= 5
    return found


def assert_same(found: Localisation, expected: Localisation, *, cut: bool = False) -> None:
    """Same names, and centres within a millimetre.

    `cut`: another part of the patient is in view, so bodies at its edges are left out.
    """
    ours = {v.level: v for v in found.vertebrae if v.level}
    theirs = {v.level: v for v in expected.vertebrae if v.level}
    shared = [level for level in theirs if level in ours]
    if cut:
        whole = Coverage.COMPLETE
        assert len(shared) >= len(theirs) - 2
        shared = [s for s in shared if ours[s].coverage is theirs[s].coverage is whole]
    else:
        assert list(ours) == list(theirs)
    assert len(shared) >= 5
    apart = {
        s: float(np.linalg.norm(ours[s].centroid_lps_mm - theirs[s].centroid_lps_mm))
        for s in shared
    }
    assert max(apart.values()) < NEAR_MM, apart


@pytest.mark.parametrize("axes", list(permutations(range(3)))[1::2])
@pytest.mark.parametrize("flips", list(product([False, True], repeat=3))[1::3])
def test_order_of_storage(
    localise: Callable[[Volume], Localisation],
    volume: Volume,
    expected: Localisation,
    axes: tuple[int, int, int],
    flips: tuple[bool, bool, bool],
) -> None:
    array = np.transpose(volume.array, axes)
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, list(axes)]
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)

    found = localise(replace(volume, array=np.ascontiguousarray(array), affine=affine))

    assert_same(found, expected)


def resampled(volume: Volume, to_old: NDArray[np.float64], shape: tuple[int, ...]) -> Volume:
    """The same picture on another grid: `to_old` (4, 4) leads from its index to the old one."""
    array = ndimage.affine_transform(
        volume.array, to_old[:3, :3], to_old[:3, 3], output_shape=shape, order=3, mode="nearest"
    )
    return replace(
        volume, array=np.maximum(array, 0).astype(np.float32), affine=volume.affine @ to_old
    )


@pytest.mark.parametrize("pitch", [0.7, 1.2, 1.4])
def test_pixel_pitch(
    localise: Callable[[Volume], Localisation], volume: Volume, expected: Localisation, pitch: float
) -> None:
    spacing = volume.spacing
    steps = np.array([1.0, pitch / spacing.row_mm, pitch / spacing.column_mm])
    shape = tuple(int(n / step) for n, step in zip(volume.shape, steps, strict=True))

    found = localise(resampled(volume, np.diag([*steps, 1.0]), shape))

    assert_same(found, expected, cut=True)


TURNED = [
    ("benign_unhealed", -12.0),
    ("benign_unhealed", 12.0),
    ("healed", -12.0),
    ("healed", 12.0),
    ("pathological_dixon", -12.0),
    ("pathological_dixon", 12.0),
]


@pytest.mark.parametrize(("sample", "degrees"), TURNED)
def test_turned_field_of_view(
    localise: Callable[[Volume], Localisation], tmp_path: Path, sample: str, degrees: float
) -> None:
    """The stack is planned at another angle: bodies keep their places in the patient."""
    volume = read(SAMPLES / sample / "dicom", tmp_path)
    expected = localise(volume)
    angle = np.radians(degrees)
    spacing = volume.spacing
    turn = np.eye(4)
    ratio = spacing.column_mm / spacing.row_mm
    turn[1:3, 1:3] = [
        [np.cos(angle), -np.sin(angle) * ratio],
        [np.sin(angle) / ratio, np.cos(angle)],
    ]
    middle = (np.array(volume.shape) - 1) / 2
    turn[:3, 3] = middle - turn[:3, :3] @ middle

    found = localise(resampled(volume, turn, volume.shape))

    assert_same(found, expected, cut=True)


def test_order_and_names_of_files(
    localise: Callable[[Volume], Localisation], expected: Localisation, tmp_path: Path
) -> None:
    """InstanceNumber backwards, names shuffled, rows stored from foot to head."""
    order = np.random.default_rng(3)
    for number, file in enumerate(sorted(SAMPLE.rglob("*.dcm"))):
        dataset = dcmread(file)
        dataset.decompress()
        rows = np.array(dataset.pixel_array)
        down = np.array(dataset.ImageOrientationPatient[3:], float)
        first = np.array(dataset.ImagePositionPatient, float)
        last = first + down * float(dataset.PixelSpacing[0]) * (len(rows) - 1)
        dataset.ImagePositionPatient = [f"{value:.6f}"[:16] for value in last]
        dataset.ImageOrientationPatient = [
            *dataset.ImageOrientationPatient[:3],
            *(f"{-value:.9f}"[:16] for value in down),
        ]
        dataset.PixelData = np.ascontiguousarray(rows[::-1]).tobytes()
        dataset.InstanceNumber = 900 - number
        (tmp_path / "in").mkdir(exist_ok=True)
        dataset.save_as(tmp_path / "in" / f"{order.integers(10**12)}")
    (tmp_path / "work").mkdir()

    found = localise(read(tmp_path / "in", tmp_path / "work"))

    assert_same(found, expected)


def test_places_in_the_label_map_are_places_in_the_patient(
    volume: Volume, expected: Localisation
) -> None:
    for vertebra in expected.vertebrae:
        places = np.argwhere(expected.labels == vertebra.index)
        centre = to_lps(volume.affine, places.mean(axis=0))
        assert np.linalg.norm(centre - vertebra.centroid_lps_mm) < 1.5
