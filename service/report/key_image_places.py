"""Where in the patient the pixels of a key image lie, so that others can draw on it.

`key-images.json` stands beside `key-*.png`: planning marks its target on the picture of a level
without the study at hand.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat

from models.volume import Role
from service.report.drawing import View

FILE_NAME: Final = "key-images.json"

Row = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PanelPlace(_Part):
    """One slice on a key image.

    Attributes:
        role: Of the series.
        box_px: (left, top, width, height) in the picture.
        lps_to_px: LPS mm and 1 to the picture's (x, y); along the slice's normal, so that a point
            beside the slice falls on its shadow.
        slice_lps_mm: A point of the slice's plane.
        normal_lps: The plane's unit normal.
    """

    role: Role
    box_px: tuple[int, int, int, int]
    lps_to_px: tuple[Row, Row]
    slice_lps_mm: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    normal_lps: tuple[FiniteFloat, FiniteFloat, FiniteFloat]

    def project(self, points_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 3) LPS mm to (..., 2) pixels (x, y) of the whole picture."""
        matrix = np.array(self.lps_to_px)
        return np.asarray(np.asarray(points_lps_mm) @ matrix[:, :3].T + matrix[:, 3])

    def beside_mm(self, point_lps_mm: ArrayLike) -> float:
        """How far a point lies from the slice's plane."""
        away = np.asarray(point_lps_mm) - np.array(self.slice_lps_mm)
        return abs(float(away @ np.array(self.normal_lps)))


class KeyImagePlace(_Part):
    """One key image: its file is `key-<number>.png`."""

    number: int
    caption: str
    label_value: int | None
    panels: tuple[PanelPlace, ...]


class KeyImagePlaces(_Part):
    """Every key image of a study."""

    schema_version: Literal["key-images/1"] = "key-images/1"
    images: tuple[KeyImagePlace, ...]


def place_of(view: View, corner: tuple[int, int]) -> PanelPlace:
    """Say where a view lies on its sheet.

    Args:
        view: The slice that was painted.
        corner: (left, top) pixel of it on the sheet.
    """
    to_index = np.linalg.inv(view.affine)
    row, column = (
        to_index[axis] * scale for axis, scale in zip((1, 2), view.px_per_index, strict=True)
    )
    row[3] += (0.5 - view.corner[0]) * view.px_per_index[0] + corner[1]
    column[3] += (0.5 - view.corner[1]) * view.px_per_index[1] + corner[0]
    normal = np.cross(view.affine[:3, 1], view.affine[:3, 2])
    normal /= np.linalg.norm(normal)
    start = view.affine[:3, 3] + view.affine[:3, 0] * view.slice_index
    return PanelPlace(
        role=view.role,
        box_px=(*corner, *view.size),
        lps_to_px=(_row(column), _row(row)),
        slice_lps_mm=_point(start),
        normal_lps=_point(normal),
    )


def _row(values: NDArray[np.float64]) -> Row:
    a, b, c, d = (round(float(value), 5) for value in values)
    return a, b, c, d


def _point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = (round(float(value), 4) + 0.0 for value in values)
    return a, b, c
