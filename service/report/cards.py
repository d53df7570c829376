"""Per-level parts of the page: the summary table and one card per vertebral body."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from models.findings import Call, Coverage, Etiology, Shape
from service.report.document import (
    BodyReport,
    EdemaReport,
    EtiologyReport,
    FeatureReport,
    FractureReport,
    LevelReport,
    StudyReport,
)
from service.report.headline import (
    FINDING_TONES,
    TONE_NAMES,
    flags,
    level_title,
    percent,
    tone_of,
    words,
)
from service.report.markup import Markup, element, join

UNSAID: Final = "not said"
SMALL_PROBABILITY: Final = 0.05
"""Mimics below this are counted and not listed."""

SAFETY_WORDS: Final = {
    "possible_spondylodiscitis": (
        "Features of spondylodiscitis. Infection must be excluded first: it is an absolute "
        "contraindication to cement."
    ),
}
"""What a safety code says to the reader."""

COLUMNS: Final = ("Level", "Edema", "Fracture", "Acuity", "Etiology")


def summary_table(report: StudyReport) -> Markup:
    """Write one row per level."""
    head = element("tr", *(element("th", name, scope="col") for name in COLUMNS))
    rows = (_row(level) for level in report.levels)
    table = element("table", element("thead", head), element("tbody", *rows))
    return element("section", table, class_="panel scroll levels")


def card(level: LevelReport, crops: Markup) -> Markup:
    """Write all that is said of a level; levels without a finding keep theirs folded."""
    tone = tone_of(level)
    remarks = ", ".join(flags(level))
    confidence = level.level_confidence
    name = "no name" if confidence is None else f"name {percent(confidence)}"
    header = element(
        "header",
        element("h3", level_title(level)),
        element("span", TONE_NAMES[tone], class_="lead"),
        element("span", f"{name}, {remarks}" if remarks else name, class_="name"),
    )
    content = join(crops, element("dl", *_facts(level)))
    if tone not in FINDING_TONES:
        content = element("details", element("summary", "Pictures and measurements"), content)
    return element(
        "article", header, content, class_=f"card panel {tone}", id=f"level-{level.label_value}"
    )


def _row(level: LevelReport) -> Markup:
    tone = tone_of(level)
    acuity = words(level.acuity.call) if level.acuity else "-"
    cells = (
        _edema_cell(level.edema) if level.edema else "-",
        _fracture_cell(level.fracture) if level.fracture else "-",
        acuity,
        _etiology_cell(level.etiology) if level.etiology else "-",
    )
    quiet = None if tone in FINDING_TONES else "quiet"
    return element("tr", _level_cell(level), *(element("td", cell) for cell in cells), class_=quiet)


def _level_cell(level: LevelReport) -> Markup:
    confidence = level.level_confidence
    remarks = [*([] if confidence is None else [percent(confidence)]), *flags(level)]
    return element(
        "td",
        element("span", class_=f"swatch {tone_of(level)}"),
        element("a", level_title(level), href=f"#level-{level.label_value}"),
        _small(*remarks),
        class_="level",
    )


def _edema_cell(edema: EdemaReport) -> Markup:
    extent = None if edema.call is Call.ABSENT else f"{percent(edema.extent_fraction)} of body"
    return join(f"{words(edema.call)} {percent(edema.probability)}", _small(extent))


def _fracture_cell(fracture: FractureReport) -> Markup:
    shape = words(fracture.shape) if fracture.shape is not Shape.NONE else None
    loss = fracture.height_loss_percent
    height = f"height loss {loss:.0f}%" if loss is not None else None
    return join(f"{words(fracture.call)} {percent(fracture.probability)}", _small(shape, height))


def _etiology_cell(etiology: EtiologyReport) -> Markup:
    probability = etiology.pathological_probability
    if etiology.call is Etiology.NOT_APPLICABLE or probability is None:
        return join(words(etiology.call))
    return join(words(etiology.call), _small(f"pathological {percent(probability)}"))


def _small(*parts: str | None) -> Markup | None:
    text = ", ".join(part for part in parts if part)
    return element("small", text) if text else None


def _facts(level: LevelReport) -> Iterator[Markup]:
    yield _fact("Edema", _edema(level.edema) if level.edema else UNSAID)
    yield _fact("Fracture", _fracture(level.fracture) if level.fracture else UNSAID)
    if level.acuity is None:
        yield _fact("Acuity", UNSAID)
    else:
        acuity = level.acuity
        bar = _score(acuity.probability_unhealed, "probability unhealed")
        yield _fact("Acuity", _chips(words(acuity.call), bar, _cannot_tell(acuity.prediction_set)))
    yield _fact("Etiology", _etiology(level.etiology) if level.etiology else UNSAID)
    if level.body is not None:
        yield _fact("Body", _body(level.body))
    if level.mimics:
        yield _fact("Mimics", _mimics(level))
    yield from _signs(level)
    if level.coverage is Coverage.PARTIAL:
        yield _fact("Coverage", "The body is cut by the edge of the image.")
    yield from _cautions(level)


def _signs(level: LevelReport) -> Iterator[Markup]:
    """Learned signs beside measured ones, so that a reader can hold one against the other."""
    learned = {n: sign for n, sign in level.features.items() if sign.probability is not None}
    measured = {n: sign for n, sign in level.features.items() if sign.value is not None}
    if learned:
        chips = (_score(sign.probability or 0.0, words(n)) for n, sign in learned.items())
        yield _fact("Signs seen", _chips(*chips))
    if measured:
        yield _fact("Signs measured", _chips(*(_feature(n, sign) for n, sign in measured.items())))
    if level.disagreements:
        said = (f"{words(code)}: network and measurement differ" for code in level.disagreements)
        yield _fact("Disagreement", _chips(*said))


def _cautions(level: LevelReport) -> Iterator[Markup]:
    for code in level.safety:
        yield _fact("Safety", SAFETY_WORDS.get(code, words(code)))
    if not level.in_distribution:
        score = level.distribution_score
        far = "" if score is None else f" (distance {score:g}, 1 is the edge)"
        yield _fact("Caution", f"The image here is unlike those the networks were trained on{far}.")


def _fact(term: str, content: str) -> Markup:
    return join(element("dt", term), element("dd", content))


def _chips(*parts: str | None) -> Markup:
    chips = (element("span", part) for part in parts if part is not None)
    return element("span", *chips, class_="chips")


def _score(probability: float, label: str | None = None) -> Markup:
    """Draw a probability as a bar with its number."""
    rect = element("rect", width=f"{probability * 100:.1f}", height=6)
    bar = element(
        "svg",
        rect,
        class_="bar",
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return element("span", label, bar, percent(probability), class_="score")


def _limits(codes: tuple[str, ...]) -> Markup | None:
    if not codes:
        return None
    return element("span", f"limited by {', '.join(map(words, codes))}", class_="limit")


def _edema(edema: EdemaReport) -> Markup:
    extent = None
    if edema.call is not Call.ABSENT:
        between = edema.extent_interval
        within = f", {percent(between[0])} to {percent(between[1])}" if between else ""
        extent = f"{percent(edema.extent_fraction)} of the body{within} ({words(edema.extent_bin)})"
    return _chips(words(edema.call), _score(edema.probability), extent, _limits(edema.limited_by))


def _fracture(fracture: FractureReport) -> Markup:
    loss, grade = fracture.height_loss_percent, fracture.genant_grade
    return _chips(
        words(fracture.call),
        _score(fracture.probability),
        words(fracture.shape) if fracture.shape is not Shape.NONE else None,
        f"height loss {loss:.0f}%" if loss is not None else None,
        f"Genant {grade}" if grade else None,
    )


def _etiology(etiology: EtiologyReport) -> Markup:
    probability = etiology.pathological_probability
    return _chips(
        words(etiology.call),
        _score(probability, "pathological") if probability is not None else None,
        _cannot_tell(etiology.prediction_set),
        _limits(etiology.limited_by),
    )


def _cannot_tell(members: Sequence[str]) -> str | None:
    """What a conformal set with several members says; None for one or none."""
    return f"cannot tell {' from '.join(map(words, members))}" if len(members) > 1 else None


def _body(body: BodyReport) -> Markup:
    heights = (body.height_anterior_mm, body.height_middle_mm, body.height_posterior_mm)
    front, middle, back = (f"{height:.1f}" for height in heights)
    return _chips(
        f"height {front} / {middle} / {back} mm (front / middle / back)",
        f"depth {body.depth_mm:.1f} mm",
        f"width {body.width_mm:.1f} mm",
        f"volume {body.volume_ml:.1f} mL",
    )


def _mimics(level: LevelReport) -> Markup:
    ranked = sorted(level.mimics.items(), key=lambda item: (-item[1], item[0]))
    listed = [_score(value, words(name)) for name, value in ranked if value >= SMALL_PROBABILITY]
    small = [words(name) for name, value in ranked if value < SMALL_PROBABILITY]
    rest = f"under {percent(SMALL_PROBABILITY)}: {', '.join(small)}" if small else None
    return _chips(*listed, rest)


def _feature(name: str, sign: FeatureReport) -> Markup:
    if sign.probability is not None:
        return _score(sign.probability, words(name))
    value = "not measured" if sign.value is None else f"{sign.value:g} {sign.unit}".strip()
    return Markup(join(words(name), " ", value))
