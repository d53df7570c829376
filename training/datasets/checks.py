"""What can be wrong with labels, found before anything is trained on them.

    report = check_manifest(read_manifest(path))
    report.require_sound()

Errors make a manifest unusable; warnings are for a person to look at. Messages name rows, columns
and counts, never a value of a header.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from models.anatomy import LEVELS
from models.findings import Acuity, Call, Etiology, Shape
from models.scorer.measurements import genant_grade
from training.datasets.agreement import Agreement, reader_agreement
from training.datasets.digests import file_digest, study_digest
from training.datasets.errors import ManifestChecksError
from training.datasets.manifest import Manifest
from training.datasets.rows import LabelRow

TRACE: Final = 0.02
"""Edematous part of a body up to which a reader may call edema absent."""

_TOLD: Final = 5
"""How many rows a finding names."""

_SKIPPED_LEVELS: Final = frozenset({"T12", "T13", "L5", "L6"})
"""Levels that a spine may lack (T12, L5) or mostly does (T13, L6)."""


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """Something that is wrong, or worth a look.

    Attributes:
        code: Stable name of the check.
        error: Whether the manifest must not be used.
        message: For a person.
        rows: Numbers of the rows, from 1 as in a spreadsheet without its header.
    """

    code: str
    error: bool
    message: str
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings, and how far readers agree."""

    findings: tuple[CheckFinding, ...]
    agreement: tuple[Agreement, ...] = ()

    @property
    def errors(self) -> tuple[CheckFinding, ...]:
        """Findings that forbid use."""
        return tuple(finding for finding in self.findings if finding.error)

    def require_sound(self) -> None:
        """Go on only without errors.

        Raises:
            ManifestChecksError: There are errors; all are named.
        """
        if self.errors:
            raise ManifestChecksError(
                "; ".join(f"{one.code}: {one.message}{_where(one.rows)}" for one in self.errors)
            )


def _where(rows: Sequence[int]) -> str:
    if not rows:
        return ""
    more = f" and {len(rows) - _TOLD} more" if len(rows) > _TOLD else ""
    return f" (rows {', '.join(str(row) for row in rows[:_TOLD])}{more})"


def check_manifest(manifest: Manifest, *, files: bool = True) -> CheckReport:
    """Look for everything that makes labels unusable or doubtful.

    Args:
        manifest: As read.
        files: Also that studies and masks are there and have not changed; reads every file.
    """
    rows = manifest.rows
    findings = [
        *_leaks(rows),
        *_repeated(rows),
        *_chains(rows),
        *_contradictions(rows),
        *_conflicts(rows),
    ]
    if files:
        findings += _files(manifest)
    return CheckReport(tuple(findings), reader_agreement(rows))


def _error(code: str, message: str, rows: Sequence[int] = ()) -> CheckFinding:
    return CheckFinding(code, error=True, message=message, rows=tuple(rows))


def _warning(code: str, message: str, rows: Sequence[int] = ()) -> CheckFinding:
    return CheckFinding(code, error=False, message=message, rows=tuple(rows))


def _numbered(rows: Sequence[LabelRow]) -> Iterable[tuple[int, LabelRow]]:
    return enumerate(rows, start=1)


def _leaks(rows: Sequence[LabelRow]) -> Iterator[CheckFinding]:
    """The same patient, study or pictures on both sides of a split, and copies inside one."""
    keys: dict[str, tuple[str, Callable[[LabelRow], str]]] = {
        "leaking_patient": ("patient(s) in several splits", lambda row: row.patient_key),
        "leaking_study": ("study(ies) in several splits", lambda row: row.study_instance_uid),
        "leaking_pixels": ("image(s) that are the same in several splits", _pixels),
    }
    for code, (what, key) in keys.items():
        splits, numbers = defaultdict(set), defaultdict(list)
        for number, row in _numbered(rows):
            splits[key(row)].add(row.split)
            numbers[key(row)].append(number)
        leaking = [name for name, found in splits.items() if len(found) > 1]
        if leaking:
            told = sorted(number for name in leaking for number in numbers[name])
            yield _error(code, f"{len(leaking)} {what}", told)
    patients, numbers = defaultdict(set), defaultdict(list)
    for number, row in _numbered(rows):
        patients[_pixels(row)].add(row.patient_key)
        numbers[_pixels(row)].append(number)
    copied = [name for name, found in patients.items() if len(found) > 1]
    if copied:
        told = sorted(number for name in copied for number in numbers[name])
        message = f"{len(copied)} image(s) that stand under several patients"
        yield _warning("copied_study", message, told)


def _pixels(row: LabelRow) -> str:
    return row.pixel_sha256


def _repeated(rows: Sequence[LabelRow]) -> Iterator[CheckFinding]:
    seen = defaultdict(list)
    for number, row in _numbered(rows):
        where = row.level or f"{row.position} {row.centre_lps_mm}"
        seen[row.study_instance_uid, row.series_instance_uid, row.reader, where].append(number)
    twice = sorted(number for numbers in seen.values() if len(numbers) > 1 for number in numbers)
    if twice:
        yield _error("repeated_row", "a reader says two things of one level", twice)


def _chains(rows: Sequence[LabelRow]) -> Iterator[CheckFinding]:
    """Levels of one reading must be in order, without repeats and without holes."""
    chains = defaultdict(list)
    for number, row in _numbered(rows):
        if row.position is not None and row.level is not None:
            key = (row.study_instance_uid, row.series_instance_uid, row.reader)
            chains[key].append((row.position, row.level, number))
    wrong: list[int] = []
    for chain in chains.values():
        chain.sort()
        for (place, upper, _), (next_place, lower, number) in pairwise(chain):
            if not _follows(upper, lower, next_place - place):
                wrong.append(number)
    if wrong:
        message = "levels of a study that cannot follow each other"
        yield _error("impossible_chain", message, sorted(wrong))


def _follows(upper: str, lower: str, steps: int) -> bool:
    """Whether a body may lie `steps` places below another one, variants of number included."""
    between = LEVELS[LEVELS.index(upper) + 1 : LEVELS.index(lower)]
    if LEVELS.index(lower) <= LEVELS.index(upper) or steps < 1:
        return False
    usual = len([name for name in between if name not in _SKIPPED_LEVELS])
    return usual + 1 <= steps <= len(between) + 1


def _contradictions(rows: Sequence[LabelRow]) -> Iterator[CheckFinding]:
    found = defaultdict(list)
    for number, row in _numbered(rows):
        for rule, contradicts in RULES.items():
            if contradicts(row):
                found[rule].append(number)
    for rule, numbers in found.items():
        yield _error("impossible_labels", rule, numbers)
    graded = [
        number
        for number, row in _numbered(rows)
        if row.genant is not None
        and row.height_loss_percent is not None
        and abs(row.genant - genant_grade(row.height_loss_percent)) > 1
    ]
    if graded:
        message = "the grade is not that of the height loss"
        yield _warning("doubtful_grade", message, graded)
    # Not impossible: an old fracture beside a Modic change of type 1.
    healed = [
        number
        for number, row in _numbered(rows)
        if row.acuity is Acuity.HEALED and row.edema is Call.PRESENT
    ]
    if healed:
        yield _warning("doubtful_healing", "healed, with edema of another cause", healed)


RULES: Final[dict[str, Callable[[LabelRow], bool]]] = {
    "unhealed without a fracture": lambda row: (
        row.acuity is Acuity.UNHEALED and row.fracture is Call.ABSENT
    ),
    "unhealed without edema": lambda row: (
        row.acuity is Acuity.UNHEALED and row.edema is Call.ABSENT
    ),
    "healed without a fracture": lambda row: (
        row.acuity is Acuity.HEALED and row.fracture is Call.ABSENT
    ),
    "acuity says no fracture, fracture is present": lambda row: (
        row.acuity is Acuity.NO_FRACTURE and row.fracture is Call.PRESENT
    ),
    "a fracture's shape without a fracture": lambda row: (
        row.shape not in (None, Shape.NONE) and row.fracture is Call.ABSENT
    ),
    "a part of the body edematous, edema absent": lambda row: (
        row.extent is not None and row.extent > TRACE and row.edema is Call.ABSENT
    ),
    "edema present in no part of the body": lambda row: (
        row.extent == 0.0 and row.edema is Call.PRESENT
    ),
    "no etiology for a fracture or an edema": lambda row: (
        row.etiology is Etiology.NOT_APPLICABLE and Call.PRESENT in (row.fracture, row.edema)
    ),
    "benign, with neither fracture nor edema": lambda row: (
        row.etiology is Etiology.BENIGN and row.fracture is row.edema is Call.ABSENT
    ),
}
"""What no body can be, to a test of it."""


def _conflicts(rows: Sequence[LabelRow]) -> Iterator[CheckFinding]:
    for one in reader_agreement(rows):
        if one.conflicts:
            kappa = "not defined" if one.kappa.value is None else f"{one.kappa.value:.2f}"
            yield _warning(
                "reader_conflict",
                f"two readers differ in {one.column} on {one.conflicts} of {one.kappa.of} levels, "
                f"kappa {kappa}",
            )


def _files(manifest: Manifest) -> Iterator[CheckFinding]:
    missing, changed = [], []
    digests: dict[tuple[str, bool], str | None] = {}
    for number, row in _numbered(manifest.rows):
        parts = [(row.study_path, row.study_sha256, False)]
        if row.mask_path is not None and row.mask_sha256 is not None:
            parts.append((row.mask_path, row.mask_sha256, True))
        for text, expected, mask in parts:
            if (text, mask) not in digests:
                digests[text, mask] = _digest(manifest, text, mask=mask)
            found = digests[text, mask]
            if found is None:
                missing.append(number)
            elif found != expected:
                changed.append(number)
    if missing:
        yield _error("file_missing", "studies or masks are not there", missing)
    if changed:
        message = "studies or masks are not those that were labelled (SHA-256)"
        yield _error("file_changed", message, changed)


def _digest(manifest: Manifest, text: str, *, mask: bool) -> str | None:
    path = manifest.folder / text
    try:
        return file_digest(path) if mask else study_digest(path)
    except FileNotFoundError:
        return None
