"""What was measured on the images, in words: each value with its uncertainty, or why it is none."""

from __future__ import annotations

from collections.abc import Mapping

from service.planning.sentences import written
from service.report.document import (
    AnglesReport,
    CanalReport,
    GeometryReport,
    PedicleReport,
    TargetReport,
)

Lines = list[tuple[str, str]]


def measurements(geometry: GeometryReport | None) -> Lines:
    """Give (name, value) of every measured part, in the order in which one plans."""
    if geometry is None:
        return [("Measured", "nothing: no geometry in the report")]
    reasons = geometry.reasons
    return [
        ("Posterior wall", _wall(geometry)),
        ("Canal, AP", _canal(geometry.canal, reasons)),
        ("Pedicles", _pedicles(geometry)),
        ("Body", _body(geometry)),
        ("Angles, lying", _angles(geometry.angles, reasons)),
    ]


def target_words(target: TargetReport | None, missing: str | None) -> str:
    """Say where the target lies, with its distances to the walls."""
    if target is None:
        return f"not given: {written(missing or 'not_measured')}"
    x, y, z = target.point_lps_mm
    dx, dy, dz = target.uncertainty_lps_mm
    limited = "".join(f" Limited: {written(code)}." for code in target.limited_by)
    return (
        f"LPS {x:.1f}, {y:.1f}, {z:.1f} mm (± {dx:.1f}, {dy:.1f}, {dz:.1f}), anterior third "
        f"({100 * target.depth_fraction:.0f} %). To the anterior cortex "
        f"{target.to_anterior_cortex_mm:.1f}, posterior wall {target.to_posterior_wall_mm:.1f}, "
        f"upper endplate {target.to_superior_endplate_mm:.1f}, lower "
        f"{target.to_inferior_endplate_mm:.1f}, basivertebral vein's usual course "
        f"{target.to_basivertebral_vein_mm:.1f} mm.{limited}"
    )


def entry_words(target: TargetReport | None, geometry: GeometryReport | None) -> str:
    """Say how the line through each pedicle runs; a drawing, never a safe trajectory."""
    if target is None:
        return ""
    sides = []
    for name, way in (("left", target.left), ("right", target.right)):
        if way is None:
            why = geometry.reasons.get(f"target.{name}") if geometry is not None else None
            sides.append(f"{name} {written(why.value if why else 'not_measured')}")
            continue
        turn = "caudal" if way.caudal_deg >= 0 else "cranial"
        sides.append(
            f"{name} {way.medial_deg:.0f}° medial, {abs(way.caudal_deg):.0f}° {turn}, "
            f"{way.length_mm:.0f} mm from mid-pedicle"
        )
    return f"Diagrammatic: {'; '.join(sides)}."


def _wall(geometry: GeometryReport) -> str:
    wall = geometry.posterior_wall
    whole = "cortex not assessable on MRI alone: CT"
    if wall is None:
        return f"{_why(geometry.reasons, 'posterior_wall')}; {whole}"
    bulge = "convex" if wall.convexity_mm >= 0 else "concave"
    against = written(wall.reference.value)
    behind = max(0.0, wall.retropulsion_mm)
    return (
        f"{bulge} by {abs(wall.convexity_mm):.1f}, retropulsion {behind:.1f} mm "
        f"(± {wall.uncertainty_mm:.1f}, against {against}); {whole}"
    )


def _canal(canal: CanalReport | None, reasons: Mapping[str, str]) -> str:
    if canal is None:
        return _why(reasons, "canal")
    error = canal.uncertainty_mm
    lost = _why(reasons, "canal.compromise_percent")
    if canal.compromise_percent is not None:
        lost = f"{canal.compromise_percent:.0f} ± {canal.compromise_uncertainty_percent or 0:.0f} %"
    return (
        f"{canal.ap_minimum_mm:.1f} mm at its narrowest, {canal.ap_body_mm:.1f} mm behind the body "
        f"(± {error:.1f}); compromise {lost}"
    )


def _pedicles(geometry: GeometryReport) -> str:
    sides = (
        f"{name} {_pedicle(part, geometry.reasons, f'pedicle_{name}')}"
        for name, part in (("left", geometry.pedicle_left), ("right", geometry.pedicle_right))
    )
    return "; ".join(sides)


def _pedicle(part: PedicleReport | None, reasons: Mapping[str, str], name: str) -> str:
    if part is None:
        return _why(reasons, name)
    width = f"width {_why(reasons, f'{name}.width_mm')}"
    if part.width_mm is not None:
        width = f"{part.width_mm:.1f} ± {part.width_uncertainty_mm or 0:.1f} mm wide"
    slices = "1 slice" if part.slices == 1 else f"{part.slices} slices"
    high = f"{part.height_mm:.0f} ± {part.height_uncertainty_mm:.0f} mm high"
    return f"seen in {slices}, {high}, {width}"


def _body(geometry: GeometryReport) -> str:
    volume, heights = geometry.volume, geometry.heights
    words = [_why(geometry.reasons, "volume")]
    if volume is not None:
        words = [
            f"{volume.body_ml:.1f} ± {volume.uncertainty_ml:.1f} mL, 15 % are "
            f"{volume.fifteen_percent_ml:.1f} and 24 % {volume.twenty_four_percent_ml:.1f} mL"
        ]
    if heights is not None:
        words.append(
            f"{heights.anterior_mm:.0f}, {heights.middle_mm:.0f}, {heights.posterior_mm:.0f} mm "
            f"high in front, middle, back (± {heights.uncertainty_mm:.1f})"
        )
    return "; ".join(words)


def _angles(angles: AnglesReport | None, reasons: Mapping[str, str]) -> str:
    if angles is None:
        return _why(reasons, "angles")
    kyphosis = _why(reasons, "angles.kyphosis_deg")
    if angles.kyphosis_deg is not None:
        kyphosis = f"{angles.kyphosis_deg:.0f}°"
    return (
        f"wedge of the body {angles.wedge_deg:.0f}°, kyphosis with its neighbours {kyphosis} "
        f"(± {angles.uncertainty_deg:.0f}°)"
    )


def _why(reasons: Mapping[str, str], name: str) -> str:
    """Why a value is missing; never left blank."""
    return written(str(reasons.get(name, "not_measured")))
