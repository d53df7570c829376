"""The scorer's evaluation as one HTML file with its plots inside; nothing is fetched."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.scorer.calibration import ScorerCalibration
from models.scorer.heads import HEADS
from models.scorer.network import ScorerNetwork
from training.scorer.baselines import TASKS, Baseline
from training.scorer.combine import answered
from training.scorer.figures import said_extents
from training.scorer.pool import LevelPool
from training.scorer.predict import Predictions
from training.statistics.probabilities import calibration_curve
from training.statistics.roc import both_classes, roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2730; margin: 2rem auto; max-width: 68rem;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
p.note { background: #fff6dd; border-left: 4px solid #d99a00; padding: .5rem .8rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #e3e8ec; }
th { color: #5b6873; font-weight: 600; font-size: .85rem; }
div.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; }
div.plots svg { width: 100%; height: auto; }
"""
_COLOURS: Final = {
    "served": "#0b6e99",
    "network alone": "#7a4fa3",
    "boosted trees": "#b3541e",
    "best sign": "#6b7a86",
}

Model = tuple[ScorerNetwork, ScorerCalibration]
Beside = Mapping[str, Mapping[str, Sequence[Baseline]]]


def page(
    figures: Mapping[str, Any], pools: Mapping[str, LevelPool], beside: Beside, model: Model
) -> str:
    """Render an evaluation.

    Args:
        figures: Of `training.scorer.evaluate.judge`, by set.
        pools: The sets.
        beside: The baselines' scores, by set and task.
        model: Network and calibration.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Scorer</title>",
        f"<style>{_STYLE}</style><h1>Scorer on synthetic spines</h1>",
        "<p class=note>Every figure is of synthetic spines: it says that training worked, not how "
        "the product does on patients.</p>",
    ]
    for name, found in figures.items():
        seen = answered(model[0], pools[name], model[1])
        parts.append(f"<h2>{escape(name)}: {found['levels']} levels</h2>")
        parts.append(f"<div class=plots>{''.join(_plots(seen, beside[name], model[1]))}</div>")
        parts += _tables(found)
    return "".join(parts)


def _tables(found: Mapping[str, Any]) -> Iterable[str]:
    yield "<h3>Questions</h3>" + _table(
        ("series shown", "question", "AUROC", "95 %", "ECE", "called", "not called", "unsure", "n"),
        [
            (view, task, one["auroc"], one["auroc_95"], one["ece"], one["sensitivity"],
             one["specificity"], one["indeterminate"], f"{one['positive']}/{one['asked']}")
            for view in ("as_acquired", "fluid_and_t1", "fluid_only")
            for task in TASKS
            if (one := found[view][task]).get("auroc") is not None
        ],
    )  # fmt: skip
    yield "<h3>Beside simpler models</h3>" + _table(
        ("question", "model", "of", "AUROC", "95 %", "served is better by", "95 %", "p"),
        [
            (task, row["model"], row["detail"], row["auroc"], row["auroc_95"],
             row.get("served_minus_this"), row.get("difference_95"), row.get("p_value"))
            for task, rows in found["baselines"].items()
            for row in rows
        ],
    )  # fmt: skip
    yield "<h3>Strata</h3>" + _table(
        ("stratum", "levels", "edema AUROC", "unhealed AUROC", "95 %", "pathological AUROC"),
        [
            (name, one["levels"], one["edema"].get("auroc"), one["unhealed"].get("auroc"),
             one["unhealed"].get("auroc_95"), one["pathological"].get("auroc"))
            for name, one in found["strata"].items()
        ],
    )  # fmt: skip
    yield "<h3>Prediction sets</h3>" + _table(
        ("series shown", "question", "group", "nominal", "holds", "95 %", "mean size", "n"),
        [
            (view, part, group, one["nominal"], one["coverage"], one["coverage_95"],
             one["mean_size"], one["asked"])
            for view in ("as_acquired", "fluid_and_t1", "fluid_only")
            for part in ("etiology_sets", "acuity_sets")
            for group, one in found[view][part].items()
        ],
    )  # fmt: skip
    yield "<h3>Mimics kept from unhealed</h3>" + _table(
        ("mimic", "levels", "kept", "95 %"),
        [
            (name, one["levels"], one["kept"], one["kept_95"])
            for name, one in found["kept_from_unhealed"].items()
        ],
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_cell(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return " to ".join(f"{one:.3f}" for one in value)
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value).replace("_", " ")


def _plots(
    seen: Predictions, beside: Mapping[str, Sequence[Baseline]], calibration: ScorerCalibration
) -> Iterable[str]:
    for task in TASKS:
        truth = seen.targets[:, HEADS.index(task)]
        asked = np.isfinite(truth)
        positive = truth[asked] > 0.5
        if not both_classes(positive):
            continue
        own = seen.heads[asked, HEADS.index(task)].astype(np.float64)
        figure, axes = _canvas(f"ROC, {task}", "1 - specificity", "sensitivity")
        curves = [("served", own), *((one.name, one.scores[asked]) for one in beside[task])]
        for name, scores in curves:
            false, true = roc_curve(scores, positive)
            axes.plot(false, true, color=_COLOURS[name], label=name, linewidth=1.4)
        axes.legend(loc="lower right", frameon=False, fontsize=8)
        yield _svg(figure)
        figure, axes = _canvas(f"Calibration, {task}", "probability", "share of positives")
        chance = calibration.platt[task].probability(own.astype(np.float32))
        curve = calibration_curve(chance, positive)
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
        axes.plot(curve.predicted, curve.observed, "o-", color=_COLOURS["served"], markersize=4)
        yield _svg(figure)
    wet = np.flatnonzero(seen.targets[:, HEADS.index("edema")] > 0.5)
    if wet.size:
        said, intervals = said_extents(seen, calibration, wet)
        figure, axes = _canvas("Extent of edema", "true part of the body", "said, with interval")
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
        if intervals is not None:
            axes.vlines(seen.extent_truth[wet], *intervals.T, color="#b9cdd8", linewidth=0.6)
        axes.plot(seen.extent_truth[wet], said, ".", color=_COLOURS["served"], markersize=4)
        yield _svg(figure)


def _canvas(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    figure = Canvas(figsize=(3.6, 3.1), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(color="#e4e4e4", linewidth=0.6)
    return figure, axes


def _svg(figure: Figure) -> str:
    import matplotlib as mpl  # noqa: PLC0415

    buffer = io.StringIO()
    # A fixed salt and no date: the same figures give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "scorer", "svg.fonttype": "none", "font.size": 9}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return re.sub(r"<\?xml.*?<svg", "<svg", buffer.getvalue(), count=1, flags=re.DOTALL)
