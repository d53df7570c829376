"""What an adapter gives: rows, and for everything it did not take, the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.datasets.rows import LabelRow


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that a source holds and no row stands for.

    Attributes:
        what: File, folder or line, relative to the source's root; never a value of a header.
        code: Why: "mask_missing", "study_missing", ...
    """

    what: str
    code: str


@dataclass(slots=True)
class Adapted:
    """Rows as they are made, and what was left out."""

    rows: list[LabelRow] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def skip(self, what: object, code: str) -> None:
        """Note that something was left out."""
        self.skipped.append(Skipped(str(what), code))

    @property
    def skipped_by_code(self) -> Mapping[str, int]:
        """Code to how often."""
        return dict(sorted(Counter(one.code for one in self.skipped).items()))
