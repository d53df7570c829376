from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from models.geometry import Affine, to_lps
from models.volume import restore
from service.report.nifti import edema_nifti, nifti_gz, vertebrae_nifti
from tests.unit.report import made

FLIPS = [(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)]
ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)]


def turned(
    array: NDArray[np.float32], affine: Affine, order: tuple[int, ...], flips: tuple[bool, ...]
) -> tuple[NDArray[np.float32], Affine]:
    """The same volume stored in another axis order, some axes the other way round."""
    steps = np.zeros((4, 4))
    steps[3, 3] = 1.0
    for new, old in enumerate(order):
        steps[old, new] = -1.0 if flips[new] else 1.0
        steps[old, 3] = array.shape[old] - 1 if flips[new] else 0.0
    moved = np.flip(np.transpose(array, order), [i for i, flip in enumerate(flips) if flip])
    return moved, affine @ steps


def patient_place(path: Path, data: bytes) -> NDArray[np.float64]:
    """LPS mm of the one marked voxel, as an independent reader sees it."""
    path.write_bytes(data)
    image = nib.load(path)
    ijk = np.argwhere(np.asarray(image.dataobj) > 0)
    assert len(ijk) == 1
    ras = image.affine @ np.append(ijk[0], 1.0)
    return np.asarray(ras[:3] * [-1.0, -1.0, 1.0])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("flips", FLIPS)
def test_voxel_lies_where_it_was_for_every_order_and_flip(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    array = np.zeros((5, 7, 11), dtype=np.float32)
    array[1, 5, 3] = 1.0
    affine = made.oblique_affine()
    stored, stored_affine = turned(array, affine, order, flips)
    place = patient_place(tmp_path / "marker.nii.gz", nifti_gz(stored, stored_affine))
    assert np.allclose(place, to_lps(affine, (1, 5, 3)), atol=1e-3)


def test_sheared_stack_keeps_its_shear(tmp_path: Path) -> None:
    affine = made.oblique_affine()
    affine[:3, 0] += (0.3, -0.8, 0.5)
    array = np.zeros((20, 7, 11), dtype=np.float32)
    array[19, 2, 3] = 1.0
    place = patient_place(tmp_path / "tilted.nii.gz", nifti_gz(array, affine))
    assert np.allclose(place, to_lps(affine, (19, 2, 3)), atol=1e-3)


def test_simpleitk_reads_the_same_geometry(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(vertebrae_nifti(made.localisation()))
    image = SimpleITK.ReadImage(str(path))
    affine = made.oblique_affine()
    assert np.allclose(image.GetSpacing(), (0.9, 1.1, 4.4), atol=1e-4)
    place = image.TransformContinuousIndexToPhysicalPoint((3.0, 50.0, 6.0))
    assert np.allclose(place, to_lps(affine, (6, 50, 3)), atol=1e-3)


def test_label_map_holds_the_contract_values(tmp_path: Path) -> None:
    path = tmp_path / "vertebrae.nii.gz"
    path.write_bytes(vertebrae_nifti(made.localisation(("T12", None, None))))
    image = nib.load(path)
    values = np.asarray(image.dataobj)
    assert np.unique(values).tolist() == [0, 19, 101, 102]
    assert values.shape == made.SHAPE[::-1]
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header["intent_code"] == 1002


def test_edema_map_is_written_as_it_is(tmp_path: Path) -> None:
    found = made.localisation()
    scores = made.scores(found)
    data = edema_nifti(scores, found)
    assert data is not None
    path = tmp_path / "edema.nii.gz"
    path.write_bytes(data)
    assert np.array_equal(np.asarray(nib.load(path).dataobj).T, scores.edema_map)


def test_no_edema_map_no_file() -> None:
    study = made.without_edema(made.result())
    assert study.scores is not None
    assert study.localisation is not None
    assert edema_nifti(study.scores, study.localisation) is None


def test_same_map_same_bytes() -> None:
    assert vertebrae_nifti(made.localisation()) == vertebrae_nifti(made.localisation())


def test_turning_is_undone_by_the_stored_order() -> None:
    # The helper above must itself be right: back in sagittal order the array is the first one.
    array = np.arange(5 * 7 * 11, dtype=np.float32).reshape(5, 7, 11)
    stored, _ = turned(array, np.eye(4), (0, 1, 2), (True, False, True))
    assert np.array_equal(restore(stored, (0, 1, 2), (True, False, True)), array)
