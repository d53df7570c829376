"""How far readers agree, and one label where several have read the same level."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from training.datasets.rows import LABEL_COLUMNS, LabelRow, Labels
from training.statistics.counts import Kappa, cohen_kappa

COMPARED: Final = tuple(
    name for name in LABEL_COLUMNS if name not in ("extent", "height_loss_percent")
)
"""Columns whose values are categories."""

_ORDERED: Final = {"genant": ("0", "1", "2", "3")}
"""Columns whose categories have an order; their kappa is linearly weighted."""

LevelKey = tuple[str, str]
"""Study Instance UID, and the level's name or, without one, its place."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two readers in one column, over the levels that both labelled.

    Attributes:
        column: Of the manifest.
        readers: Who.
        kappa: Cohen's; linearly weighted where the categories have an order.
        conflicts: Levels on which they differ.
    """

    column: str
    readers: tuple[str, str]
    kappa: Kappa
    conflicts: int


def level_key(row: LabelRow) -> LevelKey:
    """What a row speaks of, whoever says it."""
    return row.study_instance_uid, row.level or f"at {row.position} {row.centre_lps_mm}"


def reader_agreement(rows: Sequence[LabelRow]) -> tuple[Agreement, ...]:
    """Agreement of every pair of readers in every column that both filled in."""
    said: dict[str, dict[LevelKey, LabelRow]] = defaultdict(dict)
    for row in rows:
        said[row.reader][level_key(row)] = row
    found = []
    for pair in combinations(sorted(said), 2):
        both = sorted(said[pair[0]].keys() & said[pair[1]].keys())
        for column in COMPARED:
            values = [
                (str(one), str(other))
                for key in both
                if (one := getattr(said[pair[0]][key], column)) is not None
                and (other := getattr(said[pair[1]][key], column)) is not None
            ]
            if values:
                found.append(_agreement(column, pair, values))
    return tuple(found)


def _agreement(
    column: str, readers: tuple[str, str], values: Sequence[tuple[str, str]]
) -> Agreement:
    order = _ORDERED.get(column, ())
    kappa = cohen_kappa(
        [one for one, _ in values],
        [other for _, other in values],
        order,
        "linear" if order else "",
    )
    return Agreement(column, readers, kappa, sum(one != other for one, other in values))


def consensus(rows: Iterable[LabelRow]) -> Mapping[LevelKey, tuple[LabelRow, Labels]]:
    """One set of labels for each level.

    Returns:
        Level to its first row and to the labels that most readers give. Where no answer has a
        majority of those who gave one, the question is left open (None): a network is not taught
        what readers cannot agree on.
    """
    grouped: dict[LevelKey, list[LabelRow]] = defaultdict(list)
    for row in rows:
        grouped[level_key(row)].append(row)
    return {
        key: (several[0], Labels(**{name: _majority(several, name) for name in LABEL_COLUMNS}))
        for key, several in grouped.items()
    }


def _majority(rows: Sequence[LabelRow], name: str) -> Any:  # noqa: ANN401  one of many label types
    values = [getattr(row, name) for row in rows if getattr(row, name) is not None]
    if not values:
        return None
    if name not in COMPARED:
        return sum(values) / len(values)
    value, votes = Counter(values).most_common(1)[0]
    return value if votes > len(values) / 2 else None
