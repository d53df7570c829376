"""Key images: what a reader without our page should see, as PNG with the marks burned in.

The first is the mid-sagittal overview, then one per level with a finding. They carry level names
and calls and no identity of the patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from models.findings import Shape
from service.report.document import LevelReport
from service.report.drawing import StudyViews, View, views_of
from service.report.headline import (
    FINDING_TONES,
    ROLE_NAMES,
    TONE_NAMES,
    Tone,
    level_title,
    percent,
    score_meaning,
    tone_of,
    words,
)
from service.report.key_image_places import PanelPlace, place_of
from service.report.painting import EVIDENCE_CAPTION, explained_panel, panel, sheet
from service.report.png import png
from service.report.result import StudyResult

CROP_PX_PER_MM: Final = 4.0


@dataclass(frozen=True, slots=True)
class KeyImage:
    """A picture for the archive.

    Attributes:
        number: From 1; 1 is the overview.
        caption: What it shows.
        png: The file's bytes.
        label_value: Of the one body it shows; None for the overview.
        panels: The slices on it, and where they lie; not the one that shows evidence again.
    """

    number: int
    caption: str
    png: bytes
    label_value: int | None
    panels: tuple[PanelPlace, ...]


def key_images(result: StudyResult, views: StudyViews | None = None) -> Iterator[KeyImage]:
    """Paint the overview and one picture per level with a finding; none without bodies.

    Args:
        result: What to show.
        views: Its pictures, where another writer shares them.
    """
    views = views or views_of(result)
    if views is None or not result.report.levels:
        return
    levels = levels_by_index(result)
    overviews = [views.overview(role) for role in views.roles]
    panels = [panel(views, view, levels, named=True) for view in overviews]
    captions = [
        f"{slice_caption(view)}. {score_meaning(levels.values(), view.role)}" for view in overviews
    ]
    title = "Mid-sagittal overview"
    picture, corners = sheet(panels, captions, (title,), _tones(levels))
    yield KeyImage(1, title, png(picture), None, _places(overviews, corners))
    found = [(index, level) for index, level in levels.items() if tone_of(level) in FINDING_TONES]
    for number, (index, level) in enumerate(found, start=2):
        crops = [views.crop(role, index, CROP_PX_PER_MM) for role in views.roles]
        panels = [panel(views, view, {index: level}, named=False) for view in crops]
        lines = tuple(_caption(level))
        captions = [slice_caption(view) for view in crops]
        if views.explains(index):
            shown = views.crop(views.evidence_role, index, CROP_PX_PER_MM)
            panels.append(explained_panel(views, shown, {index: level}))
            captions.append(f"Evidence: {EVIDENCE_CAPTION}")
        picture, corners = sheet(panels, captions, lines, ())
        places = _places(crops, corners[: len(crops)])
        yield KeyImage(number, lines[0], png(picture), level.label_value, places)


def levels_by_index(result: StudyResult) -> dict[int, LevelReport]:
    """Map a vertebra's index to its entry in the report; both run cranial to caudal."""
    if result.localisation is None:
        return {}
    vertebrae = result.localisation.vertebrae
    return {
        vertebra.index: level
        for vertebra, level in zip(vertebrae, result.report.levels, strict=True)
    }


def _places(views: Sequence[View], corners: Sequence[tuple[int, int]]) -> tuple[PanelPlace, ...]:
    return tuple(place_of(view, corner) for view, corner in zip(views, corners, strict=True))


def slice_caption(view: View) -> str:
    """Name a view's series and slice."""
    return f"{ROLE_NAMES[view.role]}, slice {view.slice_index + 1} of {view.slice_count}"


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
