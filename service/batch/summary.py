"""summary.html: a batch at a glance, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from models.anatomy import LEVELS
from models.durable import write_durably
from service.batch.figures import NOT_SAID, QUESTIONS, UNNAMED, Figures
from service.batch.journal import StudyRow, StudyState
from service.batch.tables import REFUSED_CSV, RESULTS_CSV, RESULTS_PARQUET, STUDIES_CSV, Name
from service.batch.workplace import Workplace
from service.report.markup import Markup, element, join

SUMMARY: Final = "summary.html"

_TABLES: Final = (RESULTS_CSV, RESULTS_PARQUET, STUDIES_CSV, REFUSED_CSV)
_STATES: Final = {
    StudyState.REPORTED: "reported",
    StudyState.REFUSED: "refused",
    StudyState.FAILED: "failed",
    StudyState.FOUND: "waiting",
}


def write_summary(
    place: Workplace, figures: Figures, made: datetime, name: Name, *, pages: bool
) -> None:
    """Write the summary of a batch.

    Args:
        place: Where the batch lives.
        figures: Of the batch.
        made: Now.
        name: For UIDs of studies that have no folder.
        pages: Whether studies have a page to link to, beside their report in JSON.

    Raises:
        OSError: The folder cannot be written.
    """
    page = "report.html" if pages else "report.json"
    body = element(
        "main",
        element("h1", "Batch summary"),
        _about(figures, made),
        _tiles(figures),
        element("h2", "What was called"),
        _calls(figures),
        element("h2", "By level"),
        _levels(figures),
        element(
            "div",
            element("section", element("h2", "Refused, failed, withheld"), _codes(figures)),
            element("section", element("h2", "Where the time goes"), _stages(figures, page)),
            class_="columns",
        ),
        element("h2", "Studies"),
        _studies(place, page, name),
    )
    document = join(
        Markup("<!doctype html>\n"), element("html", _head(), element("body", body), lang="en")
    )
    write_durably(Path(place.out) / SUMMARY, str(document).encode())


def _head() -> Markup:
    # Widths of bars are styles of their elements.
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "Batch summary"),
        element("style", Markup(_style())),
    )


@cache
def _style() -> str:
    return (files("service.batch") / "summary.css").read_text(encoding="utf-8")


def _about(figures: Figures, made: datetime) -> Markup:
    links = [element("a", name, href=name) for name in _TABLES]
    software = "; ".join(sorted(figures.software)) or "nothing was read yet"
    return join(
        element("p", f"{software} · {made:%Y-%m-%d %H:%M}", class_="soft"),
        element("p", "Preliminary machine readings, for a radiologist to check.", class_="soft"),
        element("p", *_between(links, " · ")),
    )


def _between(parts: Iterable[Markup], text: str) -> Iterator[Markup | str]:
    for number, part in enumerate(parts):
        if number:
            yield text
        yield part


def _tiles(figures: Figures) -> Markup:
    states = figures.states
    tiles = [
        (sum(states.values()), "studies found"),
        (states.get(StudyState.REPORTED, 0), "reported"),
        (states.get(StudyState.REFUSED, 0), "refused"),
        (states.get(StudyState.FAILED, 0), "failed"),
        (figures.levels, "levels"),
        (sum(figures.refused_files.values()), "files of no study"),
    ]
    waiting = states.get(StudyState.FOUND, 0)
    if waiting:
        tiles.insert(4, (waiting, "still waiting"))
    return element(
        "div",
        *(
            element("div", element("b", f"{count:,}"), element("span", name), class_="tile")
            for count, name in tiles
        ),
        class_="tiles",
    )


def _calls(figures: Figures) -> Markup:
    return element(
        "div",
        *(_question(name, answers, figures) for name, answers in QUESTIONS.items()),
        class_="panel",
    )


def _question(name: str, answers: tuple[str, ...], figures: Figures) -> Markup:
    counted = figures.calls[name]
    total = sum(counted.values()) or 1
    there = [answer for answer in answers if counted[answer]]
    return element(
        "div",
        element("b", name.capitalize()),
        element("div", *(_part(answer, counted[answer] / total) for answer in there), class_="bar"),
        element("div", *(_key(answer, counted[answer]) for answer in there), class_="legend"),
        class_="question",
    )


def _part(answer: str, share: float) -> Markup:
    style = f"width:{share * 100:.2f}%;background:var(--{answer})"
    return element("i", style=style, title=_words(answer))


def _key(answer: str, count: int) -> Markup:
    mark = element("i", style=f"background:var(--{answer})")
    return element("span", mark, f"{_words(answer)} {count:,}")


def _words(code: str) -> str:
    return "not said" if code == NOT_SAID else code.replace("_", " ")


def _levels(figures: Figures) -> Markup:
    order = [*LEVELS, UNNAMED]
    named = sorted(figures.by_level, key=lambda name: order.index(name) if name in order else 0)
    asked = ("edema present", "fracture present", "acuity unhealed", "etiology pathological")
    rows = [
        element(
            "tr",
            element("td", name),
            _number(figures.by_level[name]["levels"]),
            *(_number(figures.by_level[name][each]) for each in asked),
        )
        for name in named
    ]
    return _table(
        ("Level", "Seen", "Edema", "Fracture", "Unhealed", "Pathological"), rows, first_numeric=1
    )


def _codes(figures: Figures) -> Markup:
    rows = [
        *(_code("study", state, code, n) for (state, code), n in _most(figures.study_codes)),
        *(_code("file", "of no study", code, n) for code, n in _most(figures.refused_files)),
        *(_code("file", "of a study", code, n) for code, n in _most(figures.file_codes)),
        *(_code("study", "withheld", code, n) for code, n in _most(figures.abstentions)),
    ]
    return _table(("What", "", "Code", "Count"), rows, first_numeric=3)


def _most(counted: Mapping[Any, int]) -> list[tuple[Any, int]]:
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _code(what: str, how: str, code: str, count: int) -> Markup:
    cells = (element("td", what), element("td", how), element("td", element("code", code)))
    return element("tr", *cells, _number(count))


def _stages(figures: Figures, page: str) -> Markup:
    rows = [
        element(
            "tr",
            element("td", times.stage),
            _number(f"{times.median_ms:,.0f}"),
            _number(f"{times.late_ms:,.0f}"),
            _number(f"{times.longest_ms:,.0f}"),
            element("td", _meter(times.share), class_="meter"),
        )
        for times in figures.stage_times()
    ]
    slow = [
        element(
            "tr",
            element("td", element("a", folder, href=f"{folder}/{page}"), class_="uid"),
            _number(f"{milliseconds / 1000:,.2f}"),
        )
        for milliseconds, folder in figures.slowest
    ]
    return join(
        _table(("Stage", "Median ms", "95 % ms", "Longest ms", "Share"), rows, first_numeric=1),
        element("h2", "Slowest studies"),
        _table(("Study", "Seconds"), slow, first_numeric=1),
    )


def _meter(share: float) -> Markup:
    return element("div", element("i", style=f"width:{share * 100:.1f}%"))


def _studies(place: Workplace, page: str, name: Name) -> Markup:
    rows = [_study(study, page, name) for study in place.journal.studies()]
    header = ("Study", "", "Levels", "Edema", "Unhealed", "Pathological", "Why not", "Seconds")
    return _table(header, rows, first_numeric=7)


def _study(study: StudyRow, page: str, name: Name) -> Markup:
    summary: Mapping[str, Any] = study.outcome.get("summary") or {}
    reason: Mapping[str, str] = study.outcome.get("reason") or {}
    stages: Mapping[str, float] = study.outcome.get("stages_ms") or {}
    state = _STATES[study.state]
    named: Markup | str
    if study.folder is None:
        named = name(study.study)
    else:
        named = element("a", study.folder, href=f"{study.folder}/{page}")
    return element(
        "tr",
        element("td", named, class_="uid"),
        element("td", element("span", state, class_=f"state {state}")),
        element("td", summary.get("levels") or None),
        *(
            element("td", " ".join(summary.get(field, ())))
            for field in ("edema", "unhealed", "pathological")
        ),
        element("td", element("code", reason["code"]) if reason else None),
        _number(f"{sum(stages.values()) / 1000:,.2f}" if stages else ""),
    )


def _number(value: int | str) -> Markup:
    shown = f"{value:,}" if isinstance(value, int) else value
    return element("td", shown, class_="number" if value else "number none")


def _table(header: Iterable[str], rows: Iterable[Markup], first_numeric: int) -> Markup:
    body = list(rows)
    if not body:
        return element("div", element("p", "None.", class_="soft"), class_="panel")
    cells = (
        element(
            "th", name, class_="number" if number >= first_numeric and name != "Share" else None
        )
        for number, name in enumerate(header)
    )
    table = element("table", element("thead", element("tr", *cells)), element("tbody", *body))
    return element("div", table, class_="panel")
