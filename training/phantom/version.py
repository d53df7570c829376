"""The version of the phantom: same seed, request and version, same bytes.

    python -m training.phantom.version

prints digests of a few drawn images. A test compares them with those stored for this version, so
that whatever changes what is drawn raises `PHANTOM_VERSION`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.volume import Role
from training.phantom.draw import Drawn, draw_image
from training.phantom.scene import SceneRequest, sample_scene
from training.phantom.stamp import PHANTOM_VERSION

BLOCK: Final = (2, 10, 10)
"""Slices, rows and columns whose mean enters a digest, rounded to whole grey values.

Sums of floats may differ in their last bits between types of processor; single voxels would then
now and then be rounded the other way, means of blocks hardly ever are."""

SAMPLES: Final = {
    "stir lumbar": (11, Role.STIR, SceneRequest(region="lumbar")),
    "t1 thoracolumbar": (12, Role.T1, SceneRequest(region="thoracolumbar")),
    "dixon cervical": (13, Role.DIXON_WATER, SceneRequest(region="cervical")),
    "t2 fs screwed": (
        14,
        Role.T2_FS,
        SceneRequest(region="lumbosacral", healthy=True, screwed=("L4", "L5")),
    ),
}


def digests() -> dict[str, str]:
    """Sample name to the digest of its image and labels."""
    found = {}
    for name, (seed, role, request) in SAMPLES.items():
        drawn = draw_image(
            sample_scene(seed, request),
            np.random.default_rng(seed),
            role=role,
            in_plane_mm=2.0,
            slice_mm=6.0,
        )
        found[name] = digest_of(drawn)
    return found


def digest_of(drawn: Drawn) -> str:
    """Hexadecimal digest of an image and its labels, from rounded means of blocks."""
    parts = (drawn.volume.array, 32.0 * drawn.structure, 8.0 * drawn.body)
    blocks = b"".join(_means(part).tobytes() for part in parts)
    return hashlib.sha256(blocks).hexdigest()[:16]


def _means(array: NDArray[Any]) -> NDArray[np.int16]:
    """Rounded means of whole blocks; what is left over at the far ends is left out."""
    counts = [size // block for size, block in zip(array.shape, BLOCK, strict=True)]
    cut = array[tuple(slice(0, n * block) for n, block in zip(counts, BLOCK, strict=True))]
    shape = [size for n, block in zip(counts, BLOCK, strict=True) for size in (n, block)]
    means = cut.astype(np.float64).reshape(shape).mean(axis=(1, 3, 5))
    return np.rint(means).astype(np.int16)


def main() -> None:
    """Print the version and the digests as JSON."""
    listing = {"version": PHANTOM_VERSION, "digests": digests()}
    sys.stdout.write(json.dumps(listing, indent=1) + "\n")


if __name__ == "__main__":
    main()
