"""The scorer's model card, filled from the figures of `training.scorer.figures`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from models.scorer.heads import MIMICS
from training.export import Figure, ModelCard
from training.scorer.calibrate import CALLED
from training.scorer.strata import ACQUIRED

COMMAND: Final = "python -m training.scorer.export"
MEASURED_ON: Final = "held-out synthetic cases, test half"
STRESSED_ON: Final = (
    "synthetic cases of the shifted recipe `stress`, never trained or calibrated on"
)


def _figures(figures: Mapping[str, Any], measured_on: str) -> list[Figure]:
    shown = []
    for view in ("as_acquired", "fluid_only"):
        for name in CALLED:
            part = figures[view][name]
            if part.get("auroc") is None:
                continue
            interval = part["auroc_95"]
            between = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
            text = (
                f"AUROC {part['auroc']:.3f}{between}, called present of positives "
                f"{part['sensitivity']:.2f}, called absent of negatives {part['specificity']:.2f}, "
                f"indeterminate {part['indeterminate']:.2f}, ECE {part['ece']:.3f}, "
                f"{part['positive']} of {part['asked']} positive"
            )
            series = view.replace("_", " ")
            shown.append(Figure(f"{name}, {series}", text, measured_on, COMMAND))
    return shown + [
        Figure(name, text, measured_on, COMMAND) for name, text in _other_figures(figures)
    ]


def _other_figures(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Extent, heights, prediction sets, mimics, hard strata and simpler models, as text."""
    yield from _amounts(figures)
    yield from _sets(figures)
    mimics = [
        f"{_words(name)} {part['kept']:.2f} of {part['levels']}"
        for name, part in figures["kept_from_unhealed"].items()
        if part["levels"]
    ]
    if mimics:
        yield "mimics kept from unhealed", ", ".join(mimics)
    hard = [
        f"{_words(name)} {part['unhealed']['auroc']:.3f}"
        for name, part in figures["strata"].items()
        if "auroc" in part["unhealed"]
    ]
    if hard:
        yield "unhealed AUROC by stratum", ", ".join(hard)
    acquired = [
        f"{_words(name)} {part['pathological']['auroc']:.3f} "
        f"({part['pathological']['positive']} of {part['pathological']['asked']} positive)"
        for name, part in figures["strata"].items()
        if name in ACQUIRED and "auroc" in part["pathological"]
    ]
    if acquired:
        yield "pathological AUROC by what was acquired", ", ".join(acquired)
    told = [
        f"{_words(name)} AUROC {part['auroc']:.3f}, likely in {part['likely_if_so']:.0%} of "
        f"{part['positive']}, in {part['likely_else']:.1%} of the others"
        for name, part in _mimics_told(figures["as_acquired"])
    ]
    if told:
        yield "mimics told (likely: 0.5 or more)", "; ".join(told)
    for task, rows in figures.get("baselines", {}).items():
        if len(rows) > 1:
            yield f"{task} AUROC beside simpler models", ", ".join(map(_model, rows))


def _mimics_told(acquired: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Mimics of which there are any and others, with their figures."""
    for name in MIMICS:
        part = acquired.get(f"mimic_{name}", {})
        if part.get("auroc") is not None:
            yield name, part


def _amounts(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    acquired = figures["as_acquired"]
    extent = acquired["extent"]
    if extent["bodies"]:
        text = (
            f"mean error {extent['mean_error_points']:.1f} points, "
            f"half-body bin right in {extent['bins_right']:.0%} of {extent['bodies']}; "
            f"{extent.get('mean_error_points_said', 0.0):.1f} points in the {extent['said']} not "
            "called absent"
        )
        if "interval_coverage" in extent:
            text += (
                f", 90 % interval holds the truth in {extent['interval_coverage']:.0%}, "
                f"{extent['interval_width_points']:.0f} points wide"
            )
        yield "edema extent, as acquired", text
    heights = {
        "weighed": acquired.get("height_loss_weighed", {"levels": 0}),
        "learned": acquired["height_loss_learned"],
        "measured": figures["height_loss_measured"],
    }
    for name, part in heights.items():
        if part["levels"]:
            kappa = part["genant_kappa_quadratic"]
            agreed = "" if kappa is None else f", Genant quadratic kappa {kappa:.2f}"
            error = part["mean_error_points"]
            yield f"height loss, {name}", f"mean error {error:.1f} points{agreed}"


def _sets(figures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for view in ("as_acquired", "fluid_only"):
        for question in ("etiology", "acuity"):
            for group, part in figures[view][f"{question}_sets"].items():
                yield (
                    f"{question} sets, {_words(view)}, {_words(group)}",
                    f"hold the truth in {part['coverage']:.3f} of {part['asked']} (nominal "
                    f"{part['nominal']:.2f}), mean size {part['mean_size']:.2f}",
                )


def _model(row: Mapping[str, Any]) -> str:
    detail = f" ({row['detail']})" if row["detail"] else ""
    return f"{row['model']}{detail} {row['auroc']:.3f}"


def _words(code: str) -> str:
    return code.replace("_", " ")


def _training_data(figures: Mapping[str, Any]) -> str:
    learned = _network_data(figures)
    if "weighing_levels" in figures:
        learned += (
            "; its answers on edema, fracture, healing, etiology, mimics, extent and height loss "
            "are weighed with measured signs by boosted trees that learned from "
            f"{figures['weighing_levels']} levels ({_studies(figures['weighing_studies'])}) that "
            "it did not learn from"
        )
    also = ""
    if "calibration_studies" in figures:
        also = f", those of {_studies(figures['calibration_studies'])} among them"
    return (
        f"{learned}; calibrated on {figures['calibration_levels']} other levels{also}. "
        "No patient data."
    )


def _network_data(figures: Mapping[str, Any]) -> str:
    begun, steps = figures["begun_with"], figures["steps"]
    if begun and not steps:
        before = figures["begun_data"] or "synthetic spines only"
        return f"The network is that of {begun}, unchanged ({before})"
    since = ""
    if begun:
        since = f", begun with the weights of {begun} (synthetic spines as well)"
        if figures["kept"] < 1.0:
            since += f" and ended {figures['kept']:g} of the way from them"
    return (
        f"{figures['training_levels']} vertebral levels of synthetic spines only "
        f"({_studies(figures['training_studies'])}), {steps} steps{since}"
    )


def _studies(counts: Mapping[str, int]) -> str:
    told = " and ".join(f"{count} of the recipe `{name}`" for name, count in counts.items())
    return f"{told or 'other'} studies"


def model_card(figures: Mapping[str, Any]) -> ModelCard:
    """The card of a bundle with these figures; those under "stress" are told apart."""
    shown = _figures(figures, MEASURED_ON)
    if "stress" in figures:
        shown += _figures(figures["stress"], STRESSED_ON)
    return ModelCard(
        intended_use=(
            "Research. Second look at vertebral bodies on sagittal spine MRI before vertebroplasty "
            "planning; not a diagnosis and not a treatment recommendation."
        ),
        training_data=_training_data(figures),
        figures=tuple(shown),
        limitations=(
            "All figures are of synthetic spines; none says how it does on patients.",
            "On real scans benign and pathological are told apart poorly without T1 or a Dixon fat "
            "image; synthetic ones do not show it, so sets are widened there on purpose.",
            "Edema is not age: an old fracture may keep it and a new one may hide it.",
            "The sacrum is not scored; bodies cut by the image edge get no call.",
            "Edema that outshines the marrow around it by less than a fifth was not asked for in "
            "training or evaluation.",
            "An edema is called present only where measured contrast agrees with the network. The "
            "thresholds of that rule were chosen on held-out synthetic cases and while looking at "
            "one real study with STIR and 25 water images of volunteers, so its results on these "
            "are no test of it: `make evaluate-real` prints them.",
            "The same STIR study was looked at while the training's disturbances and the rule for "
            "operating points were chosen; that its upper threshold of edema counts calls as "
            "served, and lets 2 % of sound bodies pass, was decided with edema put into the water "
            "images of volunteers in view; that edema is weighed with measured signs was kept when "
            "these did not speak against it. In 0.7.0 weights half the way were taken when those "
            "at the end called one body fewer; in 0.8.0 those at the end were kept, though at 1.5 "
            "times they called one body fewer than 0.7.0. Fracture and etiology have not been "
            "tried on labelled real scans at all.",
            "How far to go from the weights of 0.7.0 to those of 0.8.0, with which later versions "
            "begin, was chosen among four steps by AUROC and extent on validation levels and on "
            "`stress` levels that figures are given of: those of `stress` are optimistic by that "
            "choice.",
        ),
    )
