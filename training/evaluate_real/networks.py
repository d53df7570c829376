"""The networks under evaluation: as served, or a checkpoint on trial."""

from __future__ import annotations

from pathlib import Path

from models.localiser.localiser import Localiser
from models.scorer.scorer import Scorer


def open_localiser(bundle_dir: Path | None, checkpoint: Path | None) -> Localiser:
    """The served localiser, or a checkpoint on trial."""
    if checkpoint is not None:
        from training.localiser.session import CheckpointSession  # noqa: PLC0415

        return Localiser(CheckpointSession.load(checkpoint), {})
    from models.registry import resolve  # noqa: PLC0415
    from models.runtime import open_session  # noqa: PLC0415

    bundle = resolve("localiser", bundle_dir=bundle_dir)
    return Localiser(open_session(bundle, "cpu"), bundle.metadata)


def open_scorer(bundle_dir: Path | None) -> Scorer:
    """The served scorer."""
    from models.registry import resolve  # noqa: PLC0415
    from models.runtime import open_session  # noqa: PLC0415

    bundle = resolve("scorer", bundle_dir=bundle_dir)
    return Scorer(open_session(bundle, "cpu"), bundle.metadata)
