"""A spine of bricks in an oblique grid with three different spacings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.findings import (
    Anchor,
    BodySize,
    Coverage,
    LevelName,
    Localisation,
    StudyVolumes,
    Vertebra,
)
from models.geometry import Spacing, affine_lps, to_index
from models.localiser.classes import Structure
from models.volume import Role, Volume

HEIGHT, DEPTH, WIDTH, GAP = 25.0, 34.0, 44.0, 9.0


def oblique_affine() -> NDArray[np.float64]:
    """A sagittal stack tilted by some degrees about two axes."""
    a, b = np.radians(6.0), np.radians(4.0)
    back = np.array([np.sin(b), np.cos(b), 0.0])
    down = np.array([0.0, 0.0, -1.0]) * np.cos(a) + np.array([np.cos(b), -np.sin(b), 0.0]) * np.sin(
        a
    )
    rows_mm, columns_mm = 0.9, 0.8
    return affine_lps(
        Spacing.from_pixel_spacing((rows_mm, columns_mm), 4.2), [back, down], [28.0, -50.0, 104.0]
    )


@dataclass
class Toy:
    """Levels cranial to caudal and what differs from normal marrow at each."""

    levels: tuple[str, ...] = ("T12", "L1", "L2", "L3", "L4", "L5")
    gain: dict[str, dict[str, float]] = field(default_factory=dict)
    heights: dict[str, float] = field(default_factory=dict)
    shading_per_cm: float = 0.12
    shape: tuple[int, int, int] = (14, 232, 120)

    def affine(self) -> NDArray[np.float64]:
        return oblique_affine()

    def axes(self) -> NDArray[np.float64]:
        """Rows: left, back, head of every brick: those of the grid."""
        unit = self.affine()[:3, :3] / np.linalg.norm(self.affine()[:3, :3], axis=0)
        _, down, back = unit.T
        return np.stack([np.cross(back, -down), back, -down])

    def centre(self, level: int) -> NDArray[np.float64]:
        middle = self.affine()[:3, :3] @ ((np.array(self.shape) - 1) / 2) + self.affine()[:3, 3]
        step = HEIGHT + GAP
        return middle - self.axes()[2] * step * (level - (len(self.levels) - 1) / 2)

    def _local(self, level: int, affine: NDArray[np.float64]) -> NDArray[np.float64]:
        grid = np.stack(np.meshgrid(*map(np.arange, self.shape), indexing="ij"), axis=-1)
        points = grid @ affine[:3, :3].T + affine[:3, 3]
        return (points - self.centre(level)) @ self.axes().T

    def labels(self) -> NDArray[np.uint8]:
        labels = np.zeros(self.shape, np.uint8)
        for number, name in enumerate(self.levels):
            local = np.abs(self._local(number, self.affine()))
            half = np.array([WIDTH, DEPTH, self.heights.get(name, HEIGHT)]) / 2
            labels[np.all(local <= half, axis=-1)] = number + 1
        return labels

    def volume(self, role: Role, seed: int = 0, limits: tuple[str, ...] = ()) -> Volume:
        """Marrow 100, other tissue 60, shaded to the back, a little noise."""
        rng = np.random.default_rng(seed)
        labels = self.labels()
        image = np.full(self.shape, 60.0)
        for number, name in enumerate(self.levels):
            gain = self.gain.get(role.value, {}).get(name, 1.0)
            image[labels == number + 1] = 100.0 * gain
        back_cm = self._local(len(self.levels) // 2, self.affine())[..., 1] / 10.0
        image *= np.exp(self.shading_per_cm * back_cm)
        image += rng.normal(0.0, 2.0, self.shape)
        return Volume(
            array=np.clip(image, 0, None).astype(np.float32),
            affine=self.affine(),
            role=role,
            limits=limits,
        )

    def study(self, *roles: Role) -> StudyVolumes:
        volumes = {role.value: self.volume(role, seed) for seed, role in enumerate(roles)}
        return StudyVolumes(volumes[roles[0].value], volumes)

    def localisation(self, partial: tuple[str, ...] = ()) -> Localisation:
        labels = self.labels()
        vertebrae = tuple(
            Vertebra(
                index=number + 1,
                name=LevelName(name, 0.9),
                alternatives=(),
                coverage=Coverage.PARTIAL if name in partial else Coverage.COMPLETE,
                centroid_lps_mm=self.centre(number),
                axes_lps=self.axes(),
                size=None if name in partial else self._size(name),
                confidence=0.9,
            )
            for number, name in enumerate(self.levels)
        )
        structures = np.where(labels > 0, Structure.BODY, Structure.BACKGROUND).astype(np.uint8)
        return Localisation(labels, self.affine(), vertebrae, Anchor.SACRUM, structures)

    def _size(self, name: str) -> BodySize:
        height = self.heights.get(name, HEIGHT)
        return BodySize(WIDTH * DEPTH * height / 1000, DEPTH, WIDTH, height, height, height)

    def index_of(self, level: int, offset: tuple[float, float, float]) -> NDArray[np.float64]:
        """Index of the point at (left, back, head) mm from a body's centre."""
        return to_index(self.affine(), self.centre(level) + np.array(offset) @ self.axes())
