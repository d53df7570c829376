"""The report as a table for a terminal of 100 columns; plain text when it is not one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import IO, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.findings import Anchor, Call, Etiology, Shape
from service.report.document import LevelReport, StudyReport
from service.report.headline import (
    ROLE_NAMES,
    Tone,
    flags,
    headline,
    level_title,
    percent,
    statement,
    tone_of,
    words,
)

STYLES: Final[dict[Tone, str]] = {
    Tone.PATHOLOGICAL: "bold magenta",
    Tone.UNHEALED: "bold yellow",
    Tone.EDEMA: "yellow",
    Tone.FRACTURE: "bold",
    Tone.HEALED: "cyan",
    Tone.INDETERMINATE: "italic",
    Tone.NORMAL: "",
    Tone.UNSAID: "dim",
}

COLUMNS: Final = (
    "Level", "Conf.", "Edema", "Extent", "Fracture", "Loss", "Acuity", "Etiology", "P(path.)",
)  # fmt: skip
ANCHORS: Final[dict[Anchor, str]] = {
    Anchor.SACRUM: "from the sacrum upward",
    Anchor.C2: "from C2 downward",
    Anchor.LOCALIZER: "on the localizer",
    Anchor.NONE: "without an anchor",
}
UNSAID: Final = "-"
REMARKED: Final = "*"
SHOWN_FILES: Final = 5


WIDTH: Final = 100
"""Columns the table is made for."""


def report_console(file: IO[str]) -> Console:
    """A console as wide as the terminal; a pipe or a file has no width and gets `WIDTH`."""
    return Console(file=file, width=None if file.isatty() else WIDTH)


def print_report(report: StudyReport, console: Console) -> None:
    """Print headline, per-level table, and what was used, refused and abstained from."""
    console.print(render(report))


def render(report: StudyReport) -> RenderableType:
    """Lay the report out for a console."""
    parts: list[RenderableType] = [
        Text(sentence, style=STYLES[tone] if tone else "bold")
        for tone, sentence in headline(report)
    ]
    if report.levels:
        parts += [Text(), _table(report), *_remarks(report)]
    parts += [Text(), *_account(report)]
    parts.append(Text(f"Status: {report.status}. {statement(report)}", style="dim"))
    return Group(*parts)


def _table(report: StudyReport) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in COLUMNS:
        table.add_column(heading, no_wrap=True)
    for level in report.levels:
        confidence, remarked = level.level_confidence, any(flags(level))
        cells = (
            level_title(level) + (REMARKED if remarked else ""),
            UNSAID if confidence is None else percent(confidence),
            *_edema(level),
            *_fracture(level),
            UNSAID if level.acuity is None else words(level.acuity.call),
            *_etiology(level),
        )
        table.add_row(*map(Text, cells), style=STYLES[tone_of(level)])
    return table


def _remarks(report: StudyReport) -> Iterator[Text]:
    for level in report.levels:
        if remarks := ", ".join(flags(level)):
            yield Text(f"{REMARKED} {level_title(level)}: {remarks}")


def _edema(level: LevelReport) -> tuple[str, str]:
    edema = level.edema
    if edema is None:
        return UNSAID, UNSAID
    extent = UNSAID if edema.call is Call.ABSENT else percent(edema.extent_fraction)
    return f"{_sign(edema.call)} {percent(edema.probability)}", extent


def _fracture(level: LevelReport) -> tuple[str, str]:
    fracture = level.fracture
    if fracture is None:
        return UNSAID, UNSAID
    shape = f" {fracture.shape}" if fracture.shape is not Shape.NONE else ""
    loss = fracture.height_loss_percent
    return (
        f"{_sign(fracture.call)} {percent(fracture.probability)}{shape}",
        UNSAID if loss is None else f"{loss:.0f}%",
    )


def _etiology(level: LevelReport) -> tuple[str, str]:
    etiology = level.etiology
    if etiology is None or etiology.call is Etiology.NOT_APPLICABLE:
        return UNSAID, UNSAID
    probability = etiology.pathological_probability
    return words(etiology.call), UNSAID if probability is None else percent(probability)


def _sign(call: Call) -> str:
    return {Call.PRESENT: "yes", Call.ABSENT: "no", Call.INDETERMINATE: "?"}[call]


def _account(report: StudyReport) -> Iterator[Text]:
    for series in report.series:
        if series.used:
            facts = ", ".join(series.evidence[:3])
            yield Text(f"used      {ROLE_NAMES[series.role]}, {series.slices} slices ({facts})")
    for series in report.series:
        if series.refused is not None:
            yield Text(f"not used  {ROLE_NAMES[series.role]}: {series.refused.reason}")
    refused = report.files.refused
    counts = Counter(item.code for item in refused)
    if refused:
        summary = ", ".join(f"{count} {words(code)}" for code, count in sorted(counts.items()))
        yield Text(f"files     {report.files.used} used, {len(refused)} refused: {summary}")
        yield from (Text(f"          {item.file}: {item.reason}") for item in refused[:SHOWN_FILES])
    else:
        yield Text(f"files     {report.files.used} used, none refused")
    yield from (Text(f"withheld  {item.scope}: {item.reason}") for item in report.abstentions)
    if report.levels:
        yield Text(f"numbered  {ANCHORS[report.anchor]}")
