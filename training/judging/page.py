"""The evaluation as one HTML file: tables and plots, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from training.judging.cases import FACTS, TASKS, Judged
from training.judging.plots import calibration_plot, precision_plot, roc_plot, selective_plot

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2730; margin: 2rem auto; max-width: 68rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.note { background: #fff6dd; border-left: 4px solid #d99a00; padding: .5rem .8rem; }
p.small, small { color: #5b6873; font-size: .85rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #e3e8ec;
         vertical-align: top; white-space: nowrap; }
th { color: #5b6873; font-weight: 600; font-size: .85rem; }
div.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem; }
div.plots svg { width: 100%; height: auto; } div.wide { overflow-x: auto; }
"""

_FACT_TITLES: Final = {
    "grade": "Height-loss grade",
    "sequences": "Sequences",
    "field": "Field strength",
    "thickness": "Slice thickness",
    "vendor": "Vendor",
    "sex": "Sex",
    "age": "Age",
}


def evaluation_page(judged: Judged, found: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Render an evaluation.

    Args:
        judged: The levels, for the curves.
        found: Of `training.judging.figures.figures`, with "readers" added.
        about: Bundles, data and date.
    """
    tasks = found["tasks"]
    plots = [
        roc_plot(judged),
        precision_plot(judged),
        calibration_plot(tasks),
        selective_plot(tasks),
    ]
    parts = [
        f"<h1>Evaluation of {escape(_bundles(about))}</h1>",
        _head(found, about),
        "<h2>By question</h2>",
        _table(_TASK_HEAD, (_task_row(task, tasks[task]) for task in TASKS)),
        "<p class=small>AUROC, AUPRC and calibration over levels that were answered; sensitivity "
        "and specificity of the served calls over all levels asked, so that a body that was not "
        "found, or left undecided, counts as not called. Intervals are 95 %: D after DeLong, B by "
        "bootstrap over patients, others after Wilson.</p>",
        f"<div class=plots>{''.join(plots)}</div>",
        "<h2>Etiology sets (conformal)</h2>",
        _table(
            ("group", "asked", "covered", "mean size"),
            ([name, one["of"], _share(one), f"{one['mean_size']:.2f}"]
             for name, one in found["conformal"].items()),
        ),
        *(_subgroups(name, found["subgroups"][name]) for name in FACTS),
        _readers(found.get("readers", [])),
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation</title><style>{_STYLE}</style>{''.join(parts)}</html>"
    )


def _bundles(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {one['version']}" for name, one in about["bundles"].items())


def _head(found: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    synthetic = (
        "<p class=note>Synthetic spines: these figures say that training worked, not how it does "
        "on patients.</p>"
        if about["synthetic"]
        else ""
    )
    digests = ", ".join(f"{name} {one['sha256'][:12]}" for name, one in about["bundles"].items())
    unread = ", ".join(f"{count} {code}" for code, count in about["unread"].items()) or "none"
    return (
        f"{synthetic}<p>{found['levels']} labelled levels of {found['patients']} patients; bodies "
        f"found: {_inline(found['found'])}, right name: {_inline(found['named'])}. "
        f"Studies not read: {escape(unread)}.</p><p class=small>Data {about['data_sha256'][:12]} "
        f"({escape(about['data'])}), bundles {escape(digests)}, {escape(about['software'])}</p>"
    )


_TASK_HEAD: Final = (
    "question", "positive / asked", "AUROC", "AUPRC", "sensitivity", "specificity", "undecided",
    "ECE",
)  # fmt: skip


def _task_row(task: str, one: Mapping[str, Any]) -> list[object]:
    area = _value(one.get("auroc"))
    delong, drawn = (_between(one.get(f"auroc_{how}_95")) for how in ("delong", "bootstrap"))
    return [
        task,
        f"{one['positive']} / {one['asked']}",
        _lines(area, delong and f"D {delong}", drawn and f"B {drawn}"),
        _lines(_value(one.get("auprc")), _between(one.get("auprc_bootstrap_95"))),
        _share(one["sensitivity"]),
        _share(one["specificity"]),
        _share(one["undecided"]),
        _lines(_value(one.get("ece")), _between(one.get("ece_bootstrap_95"))),
    ]


def _subgroups(fact: str, strata: Mapping[str, Mapping[str, Any]]) -> str:
    if not strata:
        return ""
    rows = [
        [stratum, task, f"{one['positive']} / {one['asked']}",
         _lines(_value(one.get("auroc")), _between(one.get("auroc_delong_95"))),
         _share(one["sensitivity"]), _share(one["specificity"])]
        for stratum, by_task in strata.items()
        for task, one in by_task.items()
        if one["asked"]
    ]  # fmt: skip
    head = (fact, "question", "positive / asked", "AUROC", "sensitivity", "specificity")
    return f"<h2>{_FACT_TITLES[fact]}</h2>{_table(head, rows)}"


def _readers(readers: Sequence[Mapping[str, Any]]) -> str:
    if not readers:
        return ""
    rows = [
        [" and ".join(one["readers"]), one["column"], one["levels"], _value(one["kappa"]),
         _between(one["kappa_95"])]
        for one in readers
    ]  # fmt: skip
    head = ("readers", "label", "levels", "kappa", "95 %")
    return f"<h2>Agreement of readers</h2>{_table(head, rows)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    return f"<div class=wide><table><tr>{top}</tr>{body}</table></div>"


class _Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _cell(value: object) -> str:
    return value if isinstance(value, _Markup) else escape(str(value))


def _lines(first: str, *smaller: str) -> _Markup:
    told = "".join(f"<br><small>{escape(text)}</small>" for text in smaller if text)
    return _Markup(escape(first) + told)


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _between(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _share(one: Mapping[str, Any]) -> _Markup:
    if one["share"] is None:
        return _Markup("-")
    return _lines(f"{one['share']:.3f} ({one['hits']}/{one['of']})", _between(one["wilson_95"]))


def _inline(one: Mapping[str, Any]) -> str:
    return f"{one['hits']} of {one['of']} ({_between(one['wilson_95'])})"
