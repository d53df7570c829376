"""How key images are painted: slices with edema, outlines and names burned in, laid on a sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.volume import Role
from service.report.document import LevelReport
from service.report.drawing import Outline, StudyViews, View
from service.report.headline import (
    FINDING_TONES,
    TONE_COLOURS,
    TONE_NAMES,
    Tone,
    level_title,
    picture_score,
    tone_of,
)

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND: Final[Colour] = (14, 17, 20)
TEXT: Final[Colour] = (235, 239, 243)
FAINT: Final[Colour] = (160, 170, 178)
BLACK: Final[Colour] = (0, 0, 0)
HEAT: Final[Colour] = (255, 120, 20)
HEAT_OPACITY: Final = 0.38
FOR: Final[Colour] = TONE_COLOURS[Tone.PATHOLOGICAL]
AGAINST: Final[Colour] = TONE_COLOURS[Tone.HEALED]
EVIDENCE_OPACITY: Final = 0.6
EVIDENCE_CAPTION: Final = "pink speaks for, blue against a pathological cause"
FAINTEST: Final = 0.15
"""Evidence below this part of a body's strongest is not painted."""
GAP_PX: Final = 12
LINE_PX: Final = 30
CAPTION_PX: Final = 26
NAME_GAP_PX: Final = 7
"""Between a name and the body behind it."""
SUPERSAMPLING: Final = 4
"""Lines are painted this much larger and reduced, because Pillow's own are not anti-aliased."""
STROKE_PX: Final = 2.0
QUIET_STROKE_PX: Final = 1.2
QUIET_OPACITY: Final = 0.7

FOOTER: Final = "Preliminary machine reading, research use only"


def panel(
    views: StudyViews, view: View, levels: Mapping[int, LevelReport], *, named: bool
) -> Image.Image:
    """Paint a view with its edema and the outlines of `levels`, by vertebra index; RGB."""
    picture = Image.fromarray(view.grey).convert("RGB")
    heat = views.heat(view)
    if heat is not None:
        opacity = heat_palette()[:, 3]
        picture.paste(HEAT, (0, 0), Image.fromarray(opacity[heat]))
    outlines = views.outlines(view, levels)
    # Findings last, so that no quiet neighbour's line runs over theirs.
    for outline in sorted(outlines, key=lambda item: tone_of(levels[item.index]) in FINDING_TONES):
        _stroke(picture, outline, tone_of(levels[outline.index]))
    if named:
        draw = ImageDraw.Draw(picture)
        for outline in outlines:
            _name(draw, outline, levels[outline.index], view.role)
    return picture


def explained_panel(
    views: StudyViews, view: View, levels: Mapping[int, LevelReport]
) -> Image.Image:
    """Paint a view with what speaks for and against a pathological cause; RGB."""
    picture = Image.fromarray(view.grey).convert("RGB")
    evidence = views.evidence(view)
    if evidence is not None:
        painted = evidence_palette()[evidence]
        picture.paste(
            Image.fromarray(np.ascontiguousarray(painted[..., :3])),
            (0, 0),
            Image.fromarray(np.ascontiguousarray(painted[..., 3])),
        )
    for outline in views.outlines(view, levels):
        _stroke(picture, outline, tone_of(levels[outline.index]))
    return picture


def sheet(
    panels: Sequence[Image.Image],
    captions: Sequence[str],
    title: Sequence[str],
    legend: Sequence[Tone],
) -> tuple[NDArray[np.uint8], tuple[tuple[int, int], ...]]:
    """Lay panels side by side under a title, each with its caption, statement and legend below.

    Returns:
        (height, width, 3) RGB, and where each panel's (left, top) corner lies in it.
    """
    fonts = [_font(22), *(_font(16) for _ in title[1:])]
    small = _font(14)
    top = GAP_PX + LINE_PX * len(title) + CAPTION_PX
    widths = [
        max(picture.width, math.ceil(small.getlength(caption)))
        for picture, caption in zip(panels, captions, strict=True)
    ]
    below = [(FOOTER, FAINT), *((TONE_NAMES[tone], TONE_COLOURS[tone]) for tone in legend)]
    lengths = [small.getlength(text) for text, _ in below]
    below_px = math.ceil(sum(lengths) + GAP_PX * 2 * len(legend))
    title_px = max(math.ceil(font.getlength(line)) for font, line in zip(fonts, title, strict=True))
    panels_px = sum(widths) + GAP_PX * (len(panels) - 1)
    width = max(title_px, panels_px, below_px) + 2 * GAP_PX
    panels_bottom = top + max(picture.height for picture in panels)
    picture = Image.new("RGB", (width, panels_bottom + CAPTION_PX + GAP_PX), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for row, (line, font) in enumerate(zip(title, fonts, strict=True)):
        draw.text((GAP_PX, GAP_PX + LINE_PX * row), line, fill=TEXT, font=font)
    left = GAP_PX
    corners = []
    for shown, caption, panel_width in zip(panels, captions, widths, strict=True):
        draw.text((left, top - 22), caption, fill=FAINT, font=small)
        picture.paste(shown, (left, top))
        corners.append((left, top))
        left += panel_width + GAP_PX
    x = float(GAP_PX)
    for (text, colour), length in zip(below, lengths, strict=True):
        draw.text((x, panels_bottom + GAP_PX), text, fill=colour, font=small)
        x += length + 2 * GAP_PX
    return np.asarray(picture), tuple(corners)


@cache
def heat_palette() -> NDArray[np.uint8]:
    """Colour an edema probability, in 255ths: one hue, more opaque where more probable.

    Returns:
        (256, 4) RGBA, read-only.
    """
    palette = np.empty((256, 4), dtype=np.uint8)
    palette[:, :3] = HEAT
    palette[:, 3] = np.arange(256) * HEAT_OPACITY
    palette.setflags(write=False)
    return palette


@cache
def evidence_palette() -> NDArray[np.uint8]:
    """Colour signed evidence, 128 being none: more opaque where stronger.

    Returns:
        (256, 4) RGBA, read-only.
    """
    strength = np.abs(np.arange(256) - 128) / 128.0
    palette = np.empty((256, 4), dtype=np.uint8)
    palette[:128, :3], palette[128:, :3] = AGAINST, FOR
    # Faint evidence is everywhere and says nothing.
    palette[:, 3] = 255 * EVIDENCE_OPACITY * np.clip((strength - FAINTEST) / (1 - FAINTEST), 0, 1)
    palette.setflags(write=False)
    return palette


def _stroke(picture: Image.Image, outline: Outline, tone: Tone) -> None:
    """Paint a body's outline; only the rectangle around it is enlarged and reduced."""
    if not outline.lines:
        return
    finding = tone in FINDING_TONES
    half_px = (STROKE_PX if finding else QUIET_STROKE_PX) / 2
    points = np.concatenate(outline.lines)
    margin = math.ceil(half_px)
    left, top = (int(edge) - margin for edge in np.floor(points.min(axis=0)))
    right, bottom = (int(edge) + margin for edge in np.ceil(points.max(axis=0)))
    size = ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING)
    enlarged = Image.new("L", size, 0)
    draw = ImageDraw.Draw(enlarged)
    opaque = 255 if finding else round(255 * QUIET_OPACITY)
    for line in outline.lines:
        band = _band((line - (left, top)) * SUPERSAMPLING, half_px * SUPERSAMPLING)
        draw.polygon(band.ravel().tolist(), fill=opaque)
    picture.paste(TONE_COLOURS[tone], (left, top), enlarged.reduce(SUPERSAMPLING))


def _band(line: NDArray[np.float64], half_width: float) -> NDArray[np.float64]:
    """Widen a closed line to a band: out along one side, back along the other.

    Pillow's own wide lines are drawn segment by segment, each joint by itself, in ten times the
    time.

    Args:
        line: (n, 2) points, the first not repeated.
        half_width: Distance from the line to either side of the band.

    Returns:
        (2n + 2, 2) points of a closed polygon.
    """
    # From neighbour to neighbour, so that two points that nearly coincide give no odd direction.
    along = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    # A polygon also fills the pixels that its edge runs through, half a pixel to either side.
    offsets = along[:, ::-1] * (1, -1) * (half_width - 0.5)
    closed = [*range(len(line)), 0]
    return np.concatenate([(line + offsets)[closed], (line - offsets)[closed[::-1]]])


def _name(draw: ImageDraw.ImageDraw, outline: Outline, level: LevelReport, role: Role) -> None:
    x, y = outline.name_at
    tone = tone_of(level)
    score = picture_score(level, role) if tone in FINDING_TONES else None
    text = f"{level_title(level)}\n{score}" if score else level_title(level)
    font = _font(15)
    left, above, right, below = draw.textbbox((0, 0), text, font=font, stroke_width=2)
    # Beside a body near the picture's edge the name runs over the body rather than out of sight.
    draw.text(
        (max(x - NAME_GAP_PX, right - left), max(y, (below - above) / 2)),
        text,
        fill=TONE_COLOURS[tone],
        font=font,
        anchor="rm",
        align="right",
        stroke_width=2,
        stroke_fill=BLACK,
    )


@cache
def _font(size: int) -> Font:
    # Pillow carries this font: pictures do not depend on what a machine has installed.
    return ImageFont.load_default(size=size)
