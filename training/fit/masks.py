"""Scans of a manifest with their masks, on the localiser's working grid."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.geometry import Affine, to_index, to_lps
from models.localiser.classes import Structure
from models.localiser.network import LocaliserNetwork, most_probable
from models.localiser.preprocess import network_image, prepare
from models.volume import Role, Volume
from service.pipeline import Read, reader
from service.settings import Settings
from training.datasets.manifest import Manifest
from training.datasets.mask_images import image_stem, read_image, read_values
from training.datasets.rows import LabelRow
from training.localiser.crops import Scan

SACRUM: Final = "S1"
"""Left to the teacher: some masks draw S1, some the whole sacrum."""

_S1_INDEX: Final = 255
_ABOVE: Final = 6
"""Rows kept above the highest masked body; bodies further up were not outlined by anybody."""

_SMALLEST: Final = 20
"""Voxels of the working grid that make a structure."""


def masked_scans(manifest: Manifest, teacher: LocaliserNetwork) -> list[Scan]:
    """Prepare every masked series of a manifest.

    Args:
        manifest: Rows with masks; others are not looked at.
        teacher: Says what lies outside the masked bodies.

    Raises:
        MaskError: A mask or an image cannot be read.
    """
    by_mask: dict[str, list[LabelRow]] = defaultdict(list)
    for row in manifest.rows:
        if row.mask_path is not None and row.mask_value is not None:
            by_mask[row.mask_path].append(row)
    read = reader(Settings())
    scans = []
    for rows in by_mask.values():
        volume = _volume_of(manifest, rows[0], read)
        if volume is not None:
            scan = _scan(volume, _body_labels(manifest, rows), teacher)
            scans.extend([scan] if scan is not None else [])
    return scans


def _volume_of(manifest: Manifest, row: LabelRow, read: Read) -> Volume | None:
    """The series that a mask was drawn on, None where it is not among those that serve."""
    path = manifest.study_path(row)
    if image_stem(path) is not None:
        array, affine = read_image(path)
        return Volume(array=np.asarray(array, np.float32), affine=affine, role=Role.OTHER)
    volumes = read(path).volumes
    if volumes is None:
        return None
    wanted = row.series_instance_uid
    given = [one for one in volumes.by_role.values() if one.series_instance_uid == wanted]
    return given[0] if given else None


def _body_labels(manifest: Manifest, rows: list[LabelRow]) -> tuple[NDArray[np.uint8], Affine]:
    """Bodies of a mask, counted 1, 2, … in the order of its rows; the sacrum left out."""
    path = manifest.mask_path(rows[0])
    if path is None:
        raise ValueError("rows without a mask")
    values, affine = read_values(path)
    labels = np.zeros(values.shape, np.uint8)
    for number, row in enumerate(rows, start=1):
        if row.level != SACRUM:
            labels[values == row.mask_value] = number
    return labels, affine


def _scan(
    volume: Volume, mask: tuple[NDArray[np.uint8], Affine], teacher: LocaliserNetwork
) -> Scan | None:
    grid, image = prepare(volume)
    rows, columns = image.shape[1:]
    padded = network_image(image)
    seen = padded[0, :, :, :rows, :columns]
    body = _nearest(mask, grid.affine, grid.shape)
    if not body.any():
        return None
    with torch.inference_mode():
        answer = most_probable(teacher.eval()(torch.from_numpy(padded))[0])[0]
    structure = answer.numpy().astype(np.uint8)[:, :rows, :columns].copy()
    structure[structure == Structure.BODY] = Structure.BACKGROUND
    structure[body > 0] = Structure.BODY
    sacrum = structure == Structure.SACRUM_S1
    if np.count_nonzero(sacrum) >= _SMALLEST:
        body[sacrum] = _S1_INDEX
    else:
        structure[sacrum] = Structure.BACKGROUND
    highest = int(np.flatnonzero((body > 0).any(axis=(0, 2)))[0])
    first = max(0, highest - _ABOVE)
    seen, structure, body = seen[:, :, first:], structure[:, first:], body[:, first:]
    centres = {
        int(index): np.argwhere(body == index).mean(axis=0)[1:]
        for index in np.unique(body[body > 0])
    }
    return Scan(np.ascontiguousarray(seen), np.ascontiguousarray(structure), body.copy(), centres)


def _nearest(
    mask: tuple[NDArray[np.uint8], Affine], grid: Affine, shape: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """A label map on another grid, nearest voxel; zero outside it."""
    labels, affine = mask
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    index = np.rint(to_index(affine, to_lps(grid, places.reshape(-1, 3)))).astype(np.int64)
    inside = np.all((index >= 0) & (index < np.array(labels.shape)), axis=1)
    found = np.zeros(len(index), np.uint8)
    found[inside] = labels[tuple(index[inside].T)]
    return found.reshape(shape)
