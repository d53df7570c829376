"""What is said first: the finding that leads a level, and the study in a few sentences.

Every writer takes its words and its colours from here, so that table, page and pictures agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

from models.findings import Acuity, Call, Coverage, Etiology
from models.volume import FLUID_SENSITIVE, Role
from service.report.document import LevelReport, StudyReport

RESEARCH_STATEMENT: Final = (
    "Research software, not a medical device. Preliminary machine reading, to be checked by a "
    "radiologist; it does not state the age of a fracture, exclude infection or establish a "
    "diagnosis of malignancy."
)

ROLE_NAMES: Final[dict[Role, str]] = {
    Role.STIR: "STIR",
    Role.T2_FS: "T2 fat-suppressed",
    Role.DIXON_WATER: "Dixon water",
    Role.DIXON_FAT: "Dixon fat",
    Role.T1: "T1",
    Role.T2: "T2",
    Role.T1_POST: "T1 post-contrast",
    Role.T1_FS: "T1 fat-suppressed",
    Role.FLAIR: "FLAIR",
    Role.PD: "PD",
    Role.LOCALIZER: "Localizer",
    Role.OTHER: "Other",
}


WEIGHTINGS: Final = frozenset({"t1", "t2", "pd", "csf", "stir"})
"""Words of a code that are written in capitals."""


class Tone(StrEnum):
    """The finding that leads a level, gravest first. Colours and line styles hang on it."""

    PATHOLOGICAL = "pathological"
    UNHEALED = "unhealed"
    EDEMA = "edema"
    FRACTURE = "fracture"
    HEALED = "healed"
    INDETERMINATE = "indeterminate"
    NORMAL = "normal"
    UNSAID = "unsaid"


TONE_NAMES: Final[dict[Tone, str]] = {
    Tone.PATHOLOGICAL: "Pathological features",
    Tone.UNHEALED: "Unhealed fracture",
    Tone.EDEMA: "Marrow edema, no fracture",
    Tone.FRACTURE: "Fracture, acuity not known",
    Tone.HEALED: "Healed fracture",
    Tone.INDETERMINATE: "Indeterminate",
    Tone.NORMAL: "No finding",
    Tone.UNSAID: "Not scored",
}

TONE_COLOURS: Final[dict[Tone, tuple[int, int, int]]] = {
    Tone.PATHOLOGICAL: (240, 128, 200),
    Tone.UNHEALED: (255, 140, 40),
    Tone.EDEMA: (245, 200, 66),
    Tone.FRACTURE: (70, 204, 164),
    Tone.HEALED: (96, 180, 240),
    Tone.INDETERMINATE: (205, 190, 165),
    Tone.NORMAL: (214, 222, 230),
    Tone.UNSAID: (150, 158, 166),
}
"""On a grey picture, after Okabe and Ito: told apart with any common colour vision. No state is
told by its colour alone; words and line styles say it too."""

FINDING_TONES: Final = (
    Tone.PATHOLOGICAL,
    Tone.UNHEALED,
    Tone.EDEMA,
    Tone.FRACTURE,
    Tone.HEALED,
    Tone.INDETERMINATE,
)
"""Tones that make a level worth a picture of its own."""


def tone_of(level: LevelReport) -> Tone:
    """Name the gravest thing said of a level."""
    edema, fracture = level.edema, level.fracture
    calls = [part.call for part in (edema, fracture) if part is not None]
    if level.etiology is not None and level.etiology.call is Etiology.PATHOLOGICAL:
        return Tone.PATHOLOGICAL
    if level.acuity is not None and level.acuity.call is Acuity.UNHEALED:
        return Tone.UNHEALED
    if edema is not None and edema.call is Call.PRESENT:
        return Tone.EDEMA
    if fracture is not None and fracture.call is Call.PRESENT:
        # Without a fluid-sensitive series a deformity cannot be called healed.
        known = level.acuity is not None and level.acuity.call is Acuity.HEALED
        return Tone.HEALED if known else Tone.FRACTURE
    if Call.INDETERMINATE in calls:
        return Tone.INDETERMINATE
    return Tone.NORMAL if calls else Tone.UNSAID


def level_title(level: LevelReport) -> str:
    """Name a level, or number a body that has no name, as in `vertebrae.nii.gz`."""
    return level.level or f"Body {level.label_value}"


def percent(probability: float) -> str:
    """Write a probability as a whole percentage; a small one is never rounded to none."""
    if 0 < probability < 0.005:
        return "<1%"
    if 0.995 <= probability < 1:
        return ">99%"
    return f"{probability * 100:.0f}%"


def words(code: str) -> str:
    """Turn a code of the schema into words."""
    parts = code.split("_")
    return " ".join(part.upper() if part in WEIGHTINGS else part for part in parts)


def flags(level: LevelReport) -> Iterator[str]:
    """Give what a reader should know beside the calls: cut bodies, other names, limits."""
    if level.coverage is Coverage.PARTIAL:
        yield "cut by the image"
    yield from (f"or {name.level} {percent(name.confidence)}" for name in level.alternatives)
    yield from map(words, level.safety)
    if not level.in_distribution:
        yield "unlike training"
    if level.disagreements:
        yield "network and measurement differ"
    parts = (part for part in (level.edema, level.etiology) if part is not None)
    yield from map(words, dict.fromkeys(code for part in parts for code in part.limited_by))


def picture_score(level: LevelReport, role: Role) -> str | None:
    """Give what is written beside a level's name: a word and the number the series shows best."""
    if role in FLUID_SENSITIVE:
        return f"edema {percent(level.edema.probability)}" if level.edema else None
    if role is Role.T1:
        probability = level.etiology.pathological_probability if level.etiology else None
        return None if probability is None else f"pathol. {percent(probability)}"
    loss = level.fracture.height_loss_percent if level.fracture else None
    if loss is None:
        return None
    return f"height {-round(loss):+d}%" if round(loss) else "height 0%"


def score_meaning(levels: Iterable[LevelReport], role: Role) -> str:
    """Say what `picture_score` is; "" when no level has one."""
    if all(picture_score(level, role) is None for level in levels):
        return ""
    if role in FLUID_SENSITIVE:
        return "Number: probability of marrow edema."
    if role is Role.T1:
        return "Number: probability of pathological etiology."
    return "Number: height loss."


def headline(report: StudyReport) -> tuple[tuple[Tone | None, str], ...]:
    """Tell the study in a few sentences, gravest finding first, each with its tone."""
    if not report.levels:
        reasons = dict.fromkeys(abstention.reason for abstention in report.abstentions)
        return ((None, "No vertebral body is reported."), *((None, reason) for reason in reasons))
    by_tone: dict[Tone, list[str]] = {tone: [] for tone in Tone}
    for level in report.levels:
        by_tone[tone_of(level)].append(level_title(level))
    return tuple(
        (tone, f"{TONE_NAMES[tone]}: {', '.join(titles)}")
        for tone, titles in by_tone.items()
        if titles
    )


def statement(report: StudyReport) -> str:
    """What stands on every report, and by whose word it stands."""
    review = report.review
    if review is None:
        return RESEARCH_STATEMENT
    read = "rejected" if review.decision == "reject" else "checked"
    return RESEARCH_STATEMENT.replace(
        "Preliminary machine reading, to be checked by a radiologist",
        f"Machine reading, {read} by {review.reader.replace('^', ', ')} ({review.organization})",
    )
