"""A diagram of the ways through the pedicles, seen from the feet as on CT; to scale, straightened.

Sagittal slices do not show this plane: what is drawn are the measured depth, width and canal, the
middles of the pedicles that were found, and the lines from there to the target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from service.report.document import ApproachReport, BodyReport, CanalReport, TargetReport
from service.report.markup import Markup, element

PX_PER_MM: Final = 3.0
MARGIN_MM: Final = 4.0
CANAL_WIDTH_MM: Final = 22.0
"""Widths of the canal are not measured; drawn as usual."""

BEHIND_MM: Final = 18.0
"""A line is drawn on this far behind the middle of the pedicle, towards the skin."""

Spot = tuple[float, float]
Place = Callable[[float, float], Spot]
"""mm to the left and to the back of the middle of the anterior wall, to pixels."""


def axial_diagram(target: TargetReport, body: BodyReport, canal: CanalReport | None) -> Markup:
    """Draw the body from below; the patient's right is on the left, the front above.

    Args:
        target: With the lines through the pedicles that were found.
        body: Its width.
        canal: Its depth, where it was measured.
    """
    depth = target.to_anterior_cortex_mm + target.to_posterior_wall_mm
    half = body.width_mm / 2
    ap = 15.0 if canal is None else canal.ap_body_mm
    tall = depth + max(ap, BEHIND_MM) + 2 * MARGIN_MM
    wide = max(body.width_mm, 60.0) + 2 * MARGIN_MM
    corner = np.array([wide / 2, MARGIN_MM])

    def at(left_mm: float, back_mm: float) -> Spot:
        x, y = (np.array([left_mm, back_mm]) + corner) * PX_PER_MM
        return float(x), float(y)

    x, y = at(0.0, depth / 2)
    canal_x, canal_y = at(0.0, depth + ap / 2 + 1.0)
    aim = at(0.0, target.to_anterior_cortex_mm)
    third = (at(-half, depth / 3), at(half, depth / 3))
    width, height = round(wide * PX_PER_MM), round(tall * PX_PER_MM)
    return element(
        "svg",
        element("title", "Ways through the pedicles, diagrammatic, not a trajectory"),
        _ellipse((x, y), half, depth / 2, "body"),
        _ellipse((canal_x, canal_y), CANAL_WIDTH_MM / 2, ap / 2, "canal"),
        element("polyline", points=_points(third), class_="third"),
        *_way(target, target.left, 1, at),
        *_way(target, target.right, -1, at),
        element("circle", cx=f"{aim[0]:.1f}", cy=f"{aim[1]:.1f}", r="4", class_="aim"),
        element("text", "R", x=5, y=height - 6, class_="side"),
        element("text", "L", x=width - 16, y=height - 6, class_="side"),
        element("text", "front", x=5, y=15, class_="side"),
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        class_="target diagram axial",
    )


def _way(target: TargetReport, way: ApproachReport | None, side: int, at: Place) -> list[Markup]:
    if way is None:
        return []
    flat = way.length_mm * np.cos(np.radians(way.caudal_deg))
    step = np.array([side * np.sin(np.radians(way.medial_deg)), np.cos(np.radians(way.medial_deg))])
    aim = np.array([0.0, target.to_anterior_cortex_mm])
    pedicle, start = aim + flat * step, aim + (flat + BEHIND_MM / 2) * step
    spot, end, tip = (at(*(float(v) for v in place)) for place in (pedicle, start, aim))
    return [
        element("polyline", points=_points((end, tip)), class_="way"),
        element("circle", cx=f"{spot[0]:.1f}", cy=f"{spot[1]:.1f}", r="5", class_="pedicle"),
        element(
            "text",
            f"{way.medial_deg:.0f}°",
            x=f"{end[0] + (8 if side > 0 else -8):.1f}",
            y=f"{end[1]:.1f}",
            text_anchor="start" if side > 0 else "end",
            class_="side",
        ),
    ]


def _ellipse(centre: Spot, across: float, along: float, class_: str) -> Markup:
    return element(
        "ellipse",
        cx=f"{centre[0]:.1f}",
        cy=f"{centre[1]:.1f}",
        rx=f"{across * PX_PER_MM:.1f}",
        ry=f"{along * PX_PER_MM:.1f}",
        class_=class_,
    )


def _points(places: tuple[Spot, ...]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
