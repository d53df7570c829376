"""A crossed run: two halves, each learns from one part of a manifest and is judged on the other.

Their mean is what is kept. Every labelled study then has answers of a network that did not learn
from it, for choosing thresholds, and none is lost to learning.

Source: Stone 1974, J R Stat Soc B 36:111 (cross-validatory choice); Wortsman 2022, ICML 162:23965
(the mean of networks that began with the same weights).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from training.datasets.rows import Split

PARTS: Final = (Split.TRAIN, Split.VALIDATION)
"""What the halves learn from, in order."""

_HALVES: Final = "halves"


def other_part(learned: Split) -> Split:
    """What a half that learned from one part is judged on."""
    first, second = PARTS
    return second if learned is first else first


def half_run(run: Path, learned: Split) -> Path:
    """The run folder of the half that learned from a part."""
    return run / _HALVES / learned


def half_bundle(run: Path, kind: str, learned: Split) -> Path:
    """Where `acuity train export` puts the bundle of a half; nobody is served by it."""
    return half_store(run) / kind / half_version(learned)


def half_store(run: Path) -> Path:
    """The store of both halves' bundles."""
    return run / _HALVES / "bundles"


def half_version(learned: Split) -> str:
    """Version of a half's bundle; it is never installed anywhere else."""
    return f"0.0.0-{learned}"
