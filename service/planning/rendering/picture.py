"""The target drawn on a level's key image, or on a diagram where there is no image.

Everything drawn is diagrammatic: where the middle of the anterior third lies and from where it is
usually reached, never a safe trajectory.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from models.volume import FLUID_SENSITIVE
from service.report.document import GeometryReport, TargetReport
from service.report.key_image_places import FILE_NAME, KeyImagePlaces, PanelPlace
from service.report.markup import Markup, element

ARM_PX: Final = 11.0
"""Half the length of the cross hairs."""

DIAGRAM_PX_PER_MM: Final = 4.0
DIAGRAM_MARGIN_MM: Final = 14.0

NOTE: Final = "diagrammatic, not a trajectory"

Project = Callable[[ArrayLike], NDArray[np.float64]]
"""LPS mm to pixels."""


@dataclass(frozen=True, slots=True)
class KeyImageFile:
    """The slice that shows a body best, on its key image.

    Attributes:
        png: The whole picture.
        size: (width, height) of it in pixels.
        panel: The slice on it.
        caption: Of the picture.
    """

    png: bytes
    size: tuple[int, int]
    panel: PanelPlace
    caption: str


def key_images_in(folder: Path) -> dict[int, KeyImageFile]:
    """Find the key image of each body in a folder of reports.

    Args:
        folder: Where `report.json` lies; without `key-images.json` there are none.

    Returns:
        `label_value` of a body to its picture. A picture that cannot be read is left out: the
        document then shows a diagram.
    """
    try:
        places = KeyImagePlaces.model_validate_json((folder / FILE_NAME).read_bytes())
    except (OSError, ValidationError):
        return {}
    found = {}
    for image in places.images:
        panel = _best(image.panels)
        if image.label_value is None or panel is None:
            continue
        try:
            data = (folder / f"key-{image.number}.png").read_bytes()
        except OSError:
            continue
        found[image.label_value] = KeyImageFile(data, _png_size(data), panel, image.caption)
    return found


def target_picture(target: TargetReport, image: KeyImageFile) -> Markup:
    """Lay the target and the usual ways to it over a key image.

    Args:
        target: In LPS mm.
        image: Of the same body.
    """
    left, top, width, height = image.panel.box_px
    source = f"data:image/png;base64,{base64.b64encode(image.png).decode()}"
    picture_width, picture_height = image.size
    return element(
        "svg",
        element("title", f"Target, {NOTE}"),
        element("image", href=source, x=0, y=0, width=picture_width, height=picture_height),
        *_ways(target, image.panel.project),
        *_cross(image.panel.project(target.point_lps_mm)),
        viewBox=f"{left} {top} {width} {height}",
        width=width,
        height=height,
        class_="target",
    )


def target_diagram(target: TargetReport, geometry: GeometryReport | None) -> Markup:
    """Draw the body from its measures, with the target in it, seen from the left.

    The front is on the left. Heights and depth are to scale; the outline is straightened.

    Args:
        target: Its distances to the walls and endplates place it.
        geometry: Heights of the body, where they were measured.
    """
    depth = target.to_anterior_cortex_mm + target.to_posterior_wall_mm
    above, below = target.to_superior_endplate_mm, target.to_inferior_endplate_mm
    heights = None if geometry is None else geometry.heights
    here = above + below
    ratios = (
        (1.0, 1.0, 1.0)
        if heights is None
        else tuple(
            value / max(heights.middle_mm, 1.0)
            for value in (heights.anterior_mm, heights.middle_mm, heights.posterior_mm)
        )
    )
    upper = [(x * depth, -above * r) for x, r in zip((0.0, 0.5, 1.0), ratios, strict=True)]
    lower = [(x * depth, below * r) for x, r in zip((0.0, 0.5, 1.0), ratios, strict=True)]
    outline = np.array([*upper, *lower[::-1]])
    tallest = here * max(ratios)
    size = np.array([depth, tallest]) + 2 * DIAGRAM_MARGIN_MM
    corner = np.array([DIAGRAM_MARGIN_MM, DIAGRAM_MARGIN_MM + above * max(ratios)])

    def placed(points_mm: ArrayLike) -> NDArray[np.float64]:
        return np.asarray((np.asarray(points_mm) + corner) * DIAGRAM_PX_PER_MM)

    point = placed([target.to_anterior_cortex_mm, 0.0])
    width, height = (round(float(value) * DIAGRAM_PX_PER_MM) for value in size)
    third = placed([[depth / 3, -above * max(ratios)], [depth / 3, below * max(ratios)]])
    return element(
        "svg",
        element("title", f"Target, {NOTE}"),
        element("polygon", points=_points(placed(outline)), class_="body"),
        element("polyline", points=_points(third), class_="third"),
        *_cross(point),
        element("text", "front", x=6, y=height - 8, class_="side"),
        element("text", "back", x=width - 40, y=height - 8, class_="side"),
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        class_="target diagram",
    )


def _best(panels: Sequence[PanelPlace]) -> PanelPlace | None:
    """The fluid-sensitive slice, which shows the edema; else the first."""
    fluid = (panel for panel in panels if panel.role in FLUID_SENSITIVE)
    return next(fluid, panels[0] if panels else None)


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header (PNG specification, 11.2.2)."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _ways(target: TargetReport, project: Project) -> list[Markup]:
    lines = []
    for way in (target.left, target.right):
        if way is None:
            continue
        end = np.array(target.point_lps_mm)
        start = end - way.length_mm * np.array(way.direction_lps)
        points = _points(project(np.stack([start, end])))
        lines.append(element("polyline", points=points, class_="way"))
    return lines


def _cross(point: NDArray[np.float64]) -> list[Markup]:
    x, y = (float(value) for value in point)
    arms = ([(x - ARM_PX, y), (x + ARM_PX, y)], [(x, y - ARM_PX), (x, y + ARM_PX)])
    return [
        *(element("polyline", points=_points(np.array(arm)), class_="cross") for arm in arms),
        element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="4.5", class_="cross"),
    ]


def _points(points: NDArray[np.float64]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
