"""What a candidate learned from: the same studies cannot calibrate or judge it."""

from __future__ import annotations

from models.manifest import SECTION
from models.registry import Bundle
from training.datasets.manifest import Manifest
from training.datasets.rows import Split
from training.judging.errors import JudgingError


def learned_parts(bundle: Bundle) -> set[Split]:
    """Parts of its run's manifest that a bundle learned from; empty where no run is known."""
    trained = bundle.metadata[SECTION].get("trained", {})
    return {Split(part) for part in trained.get("learned_parts", ())}


def require_unseen(bundle: Bundle, manifest: Manifest) -> None:
    """Refuse a manifest with rows in a part of the name that a bundle learned from.

    Raises:
        JudgingError: There are such rows. Other studies belong into another part, as `test`.
    """
    seen = {row.split for row in manifest.rows} & learned_parts(bundle)
    if seen:
        raise JudgingError(
            f"the candidate learned from the part {' and '.join(sorted(seen))}: choose others with "
            "--split (new studies belong into the part test), or, to calibrate, name the crossed "
            "run that it is of with --run"
        )
