"""Parts of the page that account for the input: used, refused, abstained from, made by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from models.findings import Anchor
from service.report.document import (
    AbstentionReport,
    RefusedFileReport,
    SeriesReport,
    StudyReport,
)
from service.report.headline import ROLE_NAMES, percent, words
from service.report.markup import Markup, element, join

ANCHORS: Final[dict[Anchor, str]] = {
    Anchor.SACRUM: "Levels are counted upward from the sacrum.",
    Anchor.C2: "Levels are counted downward from C2.",
    Anchor.LOCALIZER: "Levels are counted on the localizer.",
    Anchor.NONE: "No anchor for counting was seen.",
}


def account_section(report: StudyReport) -> Markup:
    """Write what was used, what was refused and what was abstained from, each with its reason."""
    used = [series for series in report.series if series.used]
    unused = [series for series in report.series if not series.used]
    files = report.files
    counted = element("p", f"{files.used} files used, {len(files.refused)} refused.", class_="hint")
    return join(
        element("h2", "What this rests on"),
        element(
            "section",
            _part("Used", map(_series, used), "No series was used.", counted),
            _part("Not said, and why", map(_abstention, report.abstentions), "Nothing withheld."),
            _part(
                "Not used",
                [*map(_series, unused), *_refused_files(files.refused)],
                "Every file given was used.",
            ),
            class_="account",
        ),
    )


def provenance_footer(report: StudyReport) -> Markup:
    """Write what made the report."""
    made = report.provenance
    bundles = (
        element("p", f"{bundle.name} {bundle.version}, ", element("code", bundle.sha256))
        for bundle in made.bundles
    )
    timings = ", ".join(f"{stage} {ms:.0f} ms" for stage, ms in made.timings_ms.items())
    return element(
        "footer",
        element("p", ANCHORS[report.anchor]) if report.levels else None,
        element("p", f"{made.software}, on {made.device}, report schema {report.schema_version}"),
        *bundles,
        element("p", timings) if timings else None,
    )


def _part(
    heading: str, items: Iterable[Markup], nothing: str, note: Markup | None = None
) -> Markup:
    rows = list(items) or [element("li", nothing)]
    return element("div", element("h2", heading), note, element("ul", *rows), class_="panel")


def _series(series: SeriesReport) -> Markup:
    spacing = " x ".join(f"{mm:.3g}" for mm in series.spacing_mm) if series.spacing_mm else None
    geometry = [
        series.plane,
        f"{series.slices} slices" if series.slices else None,
        f"{spacing} mm" if spacing else None,
    ]
    facts = [*filter(None, geometry), *series.evidence, *map(words, series.findings)]
    role = f"{ROLE_NAMES[series.role]} ({percent(series.confidence)})"
    reason = f": {series.refused.reason}" if series.refused else None
    return element(
        "li",
        element("b", role),
        reason,
        element("small", ", ".join(facts)),
        element("small", series.series_instance_uid, class_="uid"),
    )


def _refused_files(refused: Sequence[RefusedFileReport]) -> list[Markup]:
    return [element("li", element("code", item.file), ": ", item.reason) for item in refused]


def _abstention(abstention: AbstentionReport) -> Markup:
    return element(
        "li", element("b", words(abstention.scope)), ": ", abstention.reason,
        element("small", abstention.code),
    )  # fmt: skip
