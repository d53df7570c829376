"""Plots of an evaluation as SVG text, to be set into a page that needs nothing from outside."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from training.judging.cases import TASKS, Judged
from training.statistics.roc import both_classes, precision_recall, roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = {
    "edema": "#0b6e99",
    "fracture": "#b3541e",
    "unhealed": "#6a3d9a",
    "pathological": "#2f7d32",
}
_SIZE: Final = (4.2, 3.6)


def _canvas(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    figure = Canvas(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    import matplotlib as mpl  # noqa: PLC0415

    buffer = io.StringIO()
    # A fixed salt and no date: the same figures give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "acuity", "svg.fonttype": "none", "font.size": 9}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return re.sub(r"<\?xml.*?<svg", "<svg", buffer.getvalue(), count=1, flags=re.DOTALL)


def roc_plot(judged: Judged) -> str:
    """ROC curves of all tasks."""
    figure, axes = _canvas("ROC", "1 - specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    for task in TASKS:
        answered = judged.asked(task, answered=True)
        truth = judged.truth[task][answered] > 0.5
        if both_classes(truth):
            false, true = roc_curve(judged.probability[task][answered], truth)
            axes.plot(false, true, color=COLOURS[task], label=task)
    _legend(axes, "lower right")
    return _svg(figure)


def precision_plot(judged: Judged) -> str:
    """Precision over recall of all tasks."""
    figure, axes = _canvas("Precision over recall", "recall", "precision")
    for task in TASKS:
        answered = judged.asked(task, answered=True)
        truth = judged.truth[task][answered] > 0.5
        if both_classes(truth):
            recall, precision = precision_recall(judged.probability[task][answered], truth)
            axes.step(recall, precision, color=COLOURS[task], label=task, where="post")
    _legend(axes, "lower left")
    return _svg(figure)


def calibration_plot(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Observed over predicted share, one point a bin."""
    figure, axes = _canvas("Calibration", "predicted probability", "observed share")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    for task, found in tasks.items():
        if "calibration" in found:
            curve = found["calibration"]
            axes.plot(
                curve["predicted"], curve["observed"], "o-", color=COLOURS[task], ms=3.5, label=task
            )
    _legend(axes, "upper left")
    return _svg(figure)


def selective_plot(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Error over the part of the cases that is answered."""
    figure, axes = _canvas("Selective prediction", "part answered, surest first", "share wrong")
    highest = 0.02
    for task, found in tasks.items():
        if "selective" in found:
            curve = found["selective"]
            axes.plot(curve["coverage"], curve["error"], color=COLOURS[task], label=task)
            highest = max(highest, *curve["error"])
    axes.set_ylim(-0.01 * highest, 1.15 * highest)
    _legend(axes, "upper left")
    return _svg(figure)


def _legend(axes: Axes, place: str) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, frameon=False)
