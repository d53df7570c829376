"""What a picture of a study shows: native sagittal slices, outlines and edema in picture pixels.

Every picture is one slice as it was acquired, resampled in its own plane only. The patient's front
is on the left and the head is up, whatever way the stack was stored. Nothing is painted here: the
HTML lays vector lines over these slices, the key images burn them in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from models.findings import Localisation, Scores, StudyVolumes
from models.geometry import Affine, spacing_of, to_index, to_lps
from models.scorer.calls import UNSUPPORTED
from models.scorer.resampling import sample_points
from models.volume import FLUID_SENSITIVE, Role, Volume, in_sagittal_order
from service.report.contours import Contour, trace
from service.report.resampling import resample, to_grey
from service.report.result import StudyResult

OVERVIEW_HEIGHT_PX: Final = 900
OVERVIEW_MARGINS_MM: Final = (52.0, 62.0, 24.0, 24.0)
"""Room around the bodies' centres: in front (names stand there), behind, above, below."""

CROP_MM: Final = 72.0
WINDOW_PERCENTILES: Final = (1.0, 99.0)
WINDOW_REACH_MM: Final = 32.0
"""Signal this far around the bodies' centres sets the window: bodies, discs and canal count,
bright fat under the skin does not."""
HALF_BODY_MM: Final = 17.0
"""Half the depth of a body; places the name of a body whose mask misses the slice."""

UNSUPPORTED_HEAT: Final = 0.25
"""Part of the edema map that is shown where the measured signal does not bear it out."""


@dataclass(frozen=True, slots=True)
class View:
    """A slice in its own plane, resampled to square pixels.

    Attributes:
        role: What the series is.
        slice_index: Index of the slice in sagittal order; slices run to the patient's left.
        slice_count: Slices of the volume.
        affine: Index (sagittal order) to LPS mm.
        corner: (row, column) index at the picture's top left corner.
        px_per_index: Pixels per (row, column) step.
        grey: (height, width) uint8.
    """

    role: Role
    slice_index: int
    slice_count: int
    affine: Affine
    corner: tuple[float, float]
    px_per_index: tuple[float, float]
    grey: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.grey.shape[1], self.grey.shape[0]

    def project(self, points_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Map (…, 3) LPS mm, along the slice axis, to (…, 2) picture pixels (x, y)."""
        return self.to_pixels(to_index(self.affine, points_lps_mm)[..., 1:])

    def to_pixels(self, row_column: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (…, 2) indices (row, column) of the slice to (…, 2) picture pixels (x, y)."""
        row_column_px = (row_column + 0.5 - np.array(self.corner)) * np.array(self.px_per_index)
        return np.asarray(row_column_px[..., ::-1])


@dataclass(frozen=True, slots=True)
class Outline:
    """A body in a picture.

    Attributes:
        index: The vertebra's index.
        lines: (n, 2) closed lines in pixels (x, y); empty when the slice misses the body.
        name_at: (x, y) where its name ends, just in front of it.
    """

    index: int
    lines: tuple[NDArray[np.float64], ...]
    name_at: tuple[float, float]


def _called_edema(localisation: Localisation, scores: Scores | None) -> NDArray[np.float32] | None:
    """The edema map as it is shown: faint where the measured signal does not bear the call out.

    A picture that glows would say more than the report beside it. The NIfTI map keeps the
    network's own answer.
    """
    if scores is None or scores.edema_map is None:
        return None
    unsupported = [
        level.vertebra.index
        for level in scores.levels
        if level.edema is not None and UNSUPPORTED.intersection(level.edema.limited_by)
    ]
    if not unsupported:
        return scores.edema_map
    faded = np.isin(localisation.labels, unsupported)
    return np.where(faded, scores.edema_map * np.float32(UNSUPPORTED_HEAT), scores.edema_map)


class StudyViews:
    """Pictures of one study; several threads may ask for them at a time.

    Windows, slices and outlines are kept: each is needed for many pictures.
    """

    def __init__(
        self, volumes: StudyVolumes, localisation: Localisation, scores: Scores | None
    ) -> None:
        by_role = {volumes.reference.role: volumes.reference, **volumes.by_role}
        self._volumes = {Role(role): in_sagittal_order(by_role[role]) for role in by_role}
        self._reference = self._volumes[volumes.reference.role]
        self._labels = _on_grid(localisation.labels, localisation.affine)
        edema = _called_edema(localisation, scores)
        self._edema = None if edema is None else _on_grid(edema, localisation.affine)
        evidence = None if scores is None else scores.evidence_map
        self._evidence = None if evidence is None else _on_grid(evidence, localisation.affine)
        self._vertebrae = {vertebra.index: vertebra for vertebra in localisation.vertebrae}
        self._best_slices = self._most_edema()
        # What is made under the lock holds the interpreter anyway, so that waiting costs nothing.
        self._lock = Lock()
        self._windows: dict[Role, tuple[float, float]] = {}
        self._planes: dict[tuple[Role, int], Image.Image] = {}
        self._traced: dict[tuple[int, int], tuple[Contour, ...]] = {}

    @cached_property
    def roles(self) -> tuple[Role, ...]:
        """What is shown, side by side: fluid-sensitive, T1, T2; at least the reference."""
        fluid = next((role for role in FLUID_SENSITIVE if role in self._volumes), None)
        wanted = [fluid, Role.T1, Role.T2]
        shown = tuple(role for role in wanted if role is not None and role in self._volumes)
        return shown or (self._reference.role,)

    @property
    def has_heat(self) -> bool:
        """Whether there is an edema map to lay over a series."""
        return self._edema is not None

    @property
    def heat_role(self) -> Role:
        """The series that edema is laid over: the fluid-sensitive one, in which it was seen."""
        return self.roles[0]

    def overview(self, role: Role) -> View:
        """The slice of `role` nearest to the median of the bodies' centres."""
        volume = self._volumes[role]
        centres = self._centres(volume)
        spacing = volume.spacing
        pitch = np.array([spacing.row_mm, spacing.column_mm])
        front, behind, above, below = OVERVIEW_MARGINS_MM
        low = centres[:, 1:].min(axis=0) - np.array([above, front]) / pitch
        high = centres[:, 1:].max(axis=0) + np.array([below, behind]) / pitch
        low = np.maximum(low, 0.0)
        high = np.minimum(high, np.array(volume.shape[1:], dtype=np.float64))
        height_mm = float((high - low)[0] * pitch[0])
        scale = min(5.0, OVERVIEW_HEIGHT_PX / height_mm)
        return self._view(volume, self._middle(volume), (low, high), scale)

    def crop(self, role: Role, index: int, px_per_mm: float) -> View:
        """A body in the slice of `role` that shows it best: most edema, else its centre."""
        volume = self._volumes[role]
        row_column = to_index(volume.affine, self._best_point(index))
        pitch = np.array([volume.spacing.row_mm, volume.spacing.column_mm])
        half = CROP_MM / 2 / pitch
        centre = row_column[1:] + 0.5
        cut = (centre - half, centre + half)
        slice_index = _clipped(float(row_column[0]), volume)
        return self._view(volume, slice_index, cut, px_per_mm)

    def outlines(self, view: View, indices: Iterable[int]) -> tuple[Outline, ...]:
        """Outline the vertebrae of these indices in a view."""
        # Label index to the view's index, once for all its bodies.
        between = np.linalg.inv(view.affine) @ self._labels.affine
        return tuple(self._outline(view, index, between) for index in indices)

    def heat(self, view: View) -> NDArray[np.uint8] | None:
        """Give the edema probability, in 255ths, in the pixels of a view.

        Returns:
            (height, width); None where there is none to show or another series is viewed.
        """
        if self._edema is None or view.role is not self.heat_role:
            return None
        heat = self._laid_over(view, self._edema, (0.0, 1.0))
        return heat if heat is not None and heat.any() else None

    def explains(self, index: int) -> bool:
        """Whether there is evidence on the etiology of a body to be shown."""
        if self._evidence is None:
            return False
        return bool(np.any(self._evidence.array[self._labels.array == index]))

    @property
    def evidence_role(self) -> Role:
        """The series that evidence is laid over: the one that tells fat from tumour best."""
        return Role.T1 if Role.T1 in self.roles else self.roles[0]

    def evidence(self, view: View) -> NDArray[np.uint8] | None:
        """Give the evidence on etiology in the pixels of a view.

        Returns:
            (height, width): from 0, against a pathological cause, over 128, nothing, to 255, for
            one. None where there is none to show.
        """
        return (
            None if self._evidence is None else self._laid_over(view, self._evidence, (-1.0, 1.0))
        )

    def _laid_over(
        self, view: View, field: Volume, between: tuple[float, float]
    ) -> NDArray[np.uint8] | None:
        """A map on the labels' grid in the pixels of a view of any series, `between` as 0 to 255.

        Returns:
            (height, width); None where it is 0 all over.
        """
        volume = self._volumes[view.role]
        if volume is self._reference:
            plane = field.array[view.slice_index]
        else:
            plane = self._plane_through(view, field, volume)
        if not plane.any():
            return None
        return resample(to_grey(plane, between), view.corner, view.px_per_index, view.size)

    def _plane_through(self, view: View, field: Volume, volume: Volume) -> NDArray[np.float32]:
        """A slice of another series' grid through a map; only what the view shows is looked up."""
        low = np.maximum(np.floor(np.array(view.corner)).astype(int), 0)
        span = np.array(view.size[::-1]) / np.array(view.px_per_index)
        high = np.minimum(np.ceil(np.array(view.corner) + span).astype(int) + 1, volume.shape[1:])
        rows, columns = np.meshgrid(
            np.arange(low[0], high[0]), np.arange(low[1], high[1]), indexing="ij"
        )
        places = np.stack([np.full(rows.shape, view.slice_index), rows, columns], axis=-1)
        there = to_index(field.affine, to_lps(volume.affine, places.reshape(-1, 3)))
        values, inside = sample_points(field.array, there)
        plane = np.zeros(volume.shape[1:], dtype=np.float32)
        plane[low[0] : high[0], low[1] : high[1]] = np.where(inside, values, 0.0).reshape(
            rows.shape
        )
        return plane

    def _view(
        self,
        volume: Volume,
        slice_index: int,
        cut: tuple[NDArray[np.float64], NDArray[np.float64]],
        px_per_mm: float,
    ) -> View:
        """Cut (row, column) indices, low and high corner, out of a slice."""
        low, high = cut
        spacing = volume.spacing
        px_per_index = (spacing.row_mm * px_per_mm, spacing.column_mm * px_per_mm)
        height, width = (
            max(1, round(float(span) * scale))
            for span, scale in zip(high - low, px_per_index, strict=True)
        )
        corner = (float(low[0]), float(low[1]))
        plane = self._plane(volume, slice_index)
        return View(
            role=volume.role,
            slice_index=slice_index,
            slice_count=volume.shape[0],
            affine=volume.affine,
            corner=corner,
            px_per_index=px_per_index,
            grey=resample(plane, corner, px_per_index, (width, height)),
        )

    def _plane(self, volume: Volume, slice_index: int) -> Image.Image:
        with self._lock:
            key = (volume.role, slice_index)
            if key not in self._planes:
                self._planes[key] = to_grey(volume.array[slice_index], self._window(volume.role))
            return self._planes[key]

    def _middle(self, volume: Volume) -> int:
        return _clipped(float(np.median(self._centres(volume)[:, 0])), volume)

    def _window(self, role: Role) -> tuple[float, float]:
        """One window per series, so that crops of different levels can be compared."""
        if role not in self._windows:
            volume = self._volumes[role]
            plane = volume.array[self._middle(volume)]
            reach = WINDOW_REACH_MM / np.array([volume.spacing.row_mm, volume.spacing.column_mm])
            near = np.zeros(plane.shape, dtype=bool)
            for centre in self._centres(volume)[:, 1:]:
                low = np.maximum(np.round(centre - reach), 0).astype(int)
                high = np.maximum(np.round(centre + reach), 0).astype(int)
                near[low[0] : high[0] + 1, low[1] : high[1] + 1] = True
            pixels = plane[near] if near.any() else plane
            low_signal, high_signal = np.percentile(pixels, WINDOW_PERCENTILES)
            self._windows[role] = (float(low_signal), float(high_signal))
        return self._windows[role]

    def _centres(self, volume: Volume) -> NDArray[np.float64]:
        if not self._vertebrae:
            return (np.array(volume.shape, dtype=np.float64)[None] - 1) / 2
        centroids = np.stack([v.centroid_lps_mm for v in self._vertebrae.values()])
        return to_index(volume.affine, centroids)

    def _most_edema(self) -> dict[int, int]:
        """Map a body's index to the label slice with most of its edema; none without any."""
        if self._edema is None:
            return {}
        labels, edema = self._labels.array, self._edema.array
        where = np.flatnonzero(edema > 0)
        count = len(labels)
        # One number per body and slice: a single pass over the few voxels with edema.
        found = labels.ravel()[where].astype(np.intp)
        highest = max(int(found.max(initial=0)), *self._vertebrae)
        cells = found * count + where // labels[0].size
        sums = np.bincount(cells, edema.ravel()[where], (highest + 1) * count)
        per_slice = sums.reshape(highest + 1, count)
        return {
            index: int(np.argmax(per_slice[index]))
            for index in self._vertebrae
            if per_slice[index].any()
        }

    def _best_point(self, index: int) -> NDArray[np.float64]:
        centroid = self._vertebrae[index].centroid_lps_mm
        if index not in self._best_slices:
            return centroid
        place = to_index(self._labels.affine, centroid)
        place[0] = float(self._best_slices[index])
        return to_lps(self._labels.affine, place)

    def _outline(self, view: View, index: int, between: Affine) -> Outline:
        """Outline a body; `between` maps a label index to the view's index."""
        centroid = self._vertebrae[index].centroid_lps_mm
        # The label slice that lies under this body in the view: the two grids may be oblique to
        # each other, so it is looked up at the body and not once for the picture.
        place = to_index(view.affine, centroid)
        place[0] = view.slice_index
        label_slice = round(float(to_index(between, place)[0]))
        lines = tuple(
            view.to_pixels(to_lps(between, np.insert(line, 0, float(label_slice), axis=1))[:, 1:])
            for line in self._trace(label_slice, index)
        )
        x, y = view.project(centroid).tolist()
        if lines:
            front = min(float(line[:, 0].min()) for line in lines)
        else:
            front = x - HALF_BODY_MM * view.px_per_index[1] / spacing_of(view.affine).column_mm
        return Outline(index, lines, (front, y))

    def _trace(self, label_slice: int, index: int) -> tuple[Contour, ...]:
        if not 0 <= label_slice < self._labels.shape[0]:
            return ()
        with self._lock:
            key = (label_slice, index)
            if key not in self._traced:
                self._traced[key] = tuple(trace(self._labels.array[label_slice] == index))
            return self._traced[key]


def views_of(result: StudyResult) -> StudyViews | None:
    """Give a study's pictures; None where no series was usable."""
    volumes, localisation = result.ingested.volumes, result.localisation
    if volumes is None or localisation is None:
        return None
    return StudyViews(volumes, localisation, result.scores)


def _on_grid(array: NDArray[Any], affine: Affine) -> Volume:
    # A view, because a volume turns its array read-only. Labels stay whole numbers.
    return in_sagittal_order(Volume(array.view(), affine, Role.OTHER))


def _clipped(slice_position: float, volume: Volume) -> int:
    return int(np.clip(round(slice_position), 0, volume.shape[0] - 1))
