"""Key images: what a reader without our page should see, as PNG with the marks burned in.

The first is the mid-sagittal overview, then one per level with a finding. They carry level names
and calls and no identity of the patient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.findings import Shape
from models.volume import Role
from service.report.document import LevelReport
from service.report.drawing import Outline, StudyViews, View, png
from service.report.headline import (
    FINDING_TONES,
    ROLE_NAMES,
    TONE_COLOURS,
    TONE_NAMES,
    Tone,
    level_title,
    percent,
    picture_score,
    score_meaning,
    tone_of,
    words,
)
from service.report.result import StudyResult

Colour = tuple[int, int, int]

BACKGROUND: Final[Colour] = (14, 17, 20)
TEXT: Final[Colour] = (235, 239, 243)
FAINT: Final[Colour] = (160, 170, 178)
HEAT: Final[Colour] = (255, 120, 20)
HEAT_OPACITY: Final = 0.55
GAP_PX: Final = 12
LINE_PX: Final = 30
CAPTION_PX: Final = 26
CROP_PX_PER_MM: Final = 4.0
SUPERSAMPLING: Final = 3
"""Lines are painted this much larger and reduced, because Pillow's own are not anti-aliased."""

FOOTER: Final = "Preliminary machine reading, research use only"


@dataclass(frozen=True, slots=True)
class KeyImage:
    """A picture for the archive.

    Attributes:
        number: From 1; 1 is the overview.
        caption: What it shows.
        png: The file's bytes.
    """

    number: int
    caption: str
    png: bytes


def key_images(result: StudyResult) -> Iterator[KeyImage]:
    """Paint the overview and one picture per level with a finding; none without bodies."""
    volumes, localisation = result.ingested.volumes, result.localisation
    if volumes is None or localisation is None or not result.report.levels:
        return
    views = StudyViews(volumes, localisation, result.scores)
    levels = levels_by_index(result)
    overviews = [views.overview(role) for role in views.roles]
    panels = [_panel(views, view, levels, named=True) for view in overviews]
    captions = [
        f"{slice_caption(view)}. {score_meaning(levels.values(), view.role)}" for view in overviews
    ]
    title = "Mid-sagittal overview"
    yield KeyImage(1, title, png(_sheet(panels, captions, (title,), _tones(levels))))
    found = [(index, level) for index, level in levels.items() if tone_of(level) in FINDING_TONES]
    for number, (index, level) in enumerate(found, start=2):
        crops = [views.crop(role, index, CROP_PX_PER_MM) for role in views.roles]
        panels = [_panel(views, view, {index: level}, named=False) for view in crops]
        lines = tuple(_caption(level))
        captions = [slice_caption(view) for view in crops]
        yield KeyImage(number, lines[0], png(_sheet(panels, captions, lines, ())))


def levels_by_index(result: StudyResult) -> dict[int, LevelReport]:
    """Map a vertebra's index to its entry in the report; both run cranial to caudal."""
    if result.localisation is None:
        return {}
    vertebrae = result.localisation.vertebrae
    return {
        vertebra.index: level
        for vertebra, level in zip(vertebrae, result.report.levels, strict=True)
    }


def heat_rgba(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour an edema probability map: one hue, more opaque where more probable.

    Args:
        probability: (height, width) in [0, 1].

    Returns:
        (height, width, 4) uint8.
    """
    pixels = np.empty((*probability.shape, 4), dtype=np.uint8)
    pixels[..., :3] = HEAT
    pixels[..., 3] = np.clip(probability, 0, 1) * HEAT_OPACITY * 255
    return pixels


def slice_caption(view: View) -> str:
    """Name a view's series and slice."""
    return f"{ROLE_NAMES[view.role]}, slice {view.slice_index + 1} of {view.slice_count}"


def _panel(
    views: StudyViews, view: View, levels: Mapping[int, LevelReport], *, named: bool
) -> Image.Image:
    picture = Image.fromarray(view.grey).convert("RGBA")
    heat = views.heat(view)
    if heat is not None:
        picture.alpha_composite(Image.fromarray(heat_rgba(heat)))
    outlines = views.outlines(view, levels)
    tones = {index: tone_of(level) for index, level in levels.items()}
    picture.alpha_composite(_lines(view, outlines, tones))
    if named:
        draw = ImageDraw.Draw(picture)
        for outline in outlines:
            level = levels[outline.index]
            _name(draw, outline, level, view.role)
    return picture.convert("RGB")


def _lines(view: View, outlines: Iterable[Outline], tones: Mapping[int, Tone]) -> Image.Image:
    width, height = view.size
    # Reduced with its alpha, a transparent layer must have the lines' colours underneath, or
    # their edges turn dark: each tone is painted as a mask of its own.
    layer = Image.new("RGBA", view.size, (0, 0, 0, 0))
    for tone in sorted(set(tones.values())):
        mask = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING), 0)
        draw = ImageDraw.Draw(mask)
        stroke = 2 * SUPERSAMPLING if tone in FINDING_TONES else round(1.2 * SUPERSAMPLING)
        for outline in outlines:
            if tones[outline.index] is not tone:
                continue
            for line in outline.lines:
                closed = np.vstack([line, line[:2]]) * SUPERSAMPLING
                draw.line(list(map(tuple, closed.tolist())), fill=255, width=stroke, joint="curve")
        opacity = 1.0 if tone in FINDING_TONES else 0.7
        reduced = mask.resize(view.size, Image.Resampling.BOX).point(
            lambda value, opacity=opacity: round(value * opacity)
        )
        colour = Image.new("RGBA", view.size, (*TONE_COLOURS[tone], 255))
        colour.putalpha(reduced)
        layer.alpha_composite(colour)
    return layer


def _name(draw: ImageDraw.ImageDraw, outline: Outline, level: LevelReport, role: Role) -> None:
    x, y = outline.name_at
    tone = tone_of(level)
    score = picture_score(level, role) if tone in FINDING_TONES else None
    draw.text(
        (x - 7, y),
        f"{level_title(level)}  {score}" if score else level_title(level),
        fill=TONE_COLOURS[tone],
        font=_font(15),
        anchor="rm",
        stroke_width=2,
        stroke_fill=(0, 0, 0),
    )


def _tones(levels: Mapping[int, LevelReport]) -> tuple[Tone, ...]:
    present = {tone_of(level) for level in levels.values()}
    return tuple(tone for tone in Tone if tone in present)


def _caption(level: LevelReport) -> Iterator[str]:
    yield f"{level_title(level)}: {TONE_NAMES[tone_of(level)].lower()}"
    said = []
    if level.edema is not None:
        edema = level.edema
        said.append(
            f"edema {words(edema.call)} {percent(edema.probability)}, "
            f"{percent(edema.extent_fraction)} of the body"
        )
    if level.fracture is not None:
        fracture = level.fracture
        shape = f", {fracture.shape}" if fracture.shape is not Shape.NONE else ""
        loss = fracture.height_loss_percent
        height = "" if loss is None else f", height loss {loss:.0f}%"
        said.append(
            f"fracture {words(fracture.call)} {percent(fracture.probability)}{shape}{height}"
        )
    if level.etiology is not None and level.etiology.pathological_probability is not None:
        said.append(f"pathological {percent(level.etiology.pathological_probability)}")
    yield "   ".join(said) or "not scored"


def _sheet(
    panels: list[Image.Image],
    captions: list[str],
    title: tuple[str, ...],
    legend: tuple[Tone, ...],
) -> Image.Image:
    """Lay panels side by side under a title, each with its caption, statement and legend below."""
    fonts = [_font(22), *(_font(16) for _ in title[1:])]
    top = GAP_PX + sum(LINE_PX for _ in title) + CAPTION_PX
    widths = [
        max(panel.width, math.ceil(_font(14).getlength(caption)))
        for panel, caption in zip(panels, captions, strict=True)
    ]
    legend_px = sum(GAP_PX * 2 + _font(14).getlength(TONE_NAMES[tone]) for tone in legend)
    below_px = math.ceil(_font(14).getlength(FOOTER) + legend_px)
    title_px = max(math.ceil(font.getlength(line)) for font, line in zip(fonts, title, strict=True))
    panels_px = sum(widths) + GAP_PX * (len(panels) - 1)
    width = max(title_px, panels_px, below_px) + 2 * GAP_PX
    panels_bottom = top + max(panel.height for panel in panels)
    sheet = Image.new("RGB", (width, panels_bottom + CAPTION_PX + GAP_PX), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for row, (line, font) in enumerate(zip(title, fonts, strict=True)):
        draw.text((GAP_PX, GAP_PX + LINE_PX * row), line, fill=TEXT, font=font)
    left = GAP_PX
    for panel, caption, panel_width in zip(panels, captions, widths, strict=True):
        draw.text((left, top - 22), caption, fill=FAINT, font=_font(14))
        sheet.paste(panel, (left, top))
        left += panel_width + GAP_PX
    x = float(GAP_PX)
    below = [(FOOTER, FAINT), *((TONE_NAMES[tone], TONE_COLOURS[tone]) for tone in legend)]
    for text, colour in below:
        draw.text((x, panels_bottom + GAP_PX), text, fill=colour, font=_font(14))
        x += _font(14).getlength(text) + 2 * GAP_PX
    return sheet


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Pillow carries this font: pictures do not depend on what a machine has installed.
    return ImageFont.load_default(size=size)
