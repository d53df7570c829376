"""Make a manifest of labelled studies, or check one.

    acuity train manifest phantom  ROOT --out labels.parquet
    acuity train manifest labelled ROOT --table labels.csv --out labels.parquet
    acuity train manifest reviews  WORK/reviews --out labels.parquet
    acuity train manifest masks    ROOT --scheme verse --out labels.parquet
    acuity train manifest spider   ROOT --out labels.parquet
    acuity train manifest rsna2024 ROOT --out labels.parquet
    acuity train manifest check labels.parquet

A new manifest is checked before it is written; with errors nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from service.logs import Pseudonyms
from service.settings import Settings
from training.datasets.adapted import Adapted
from training.datasets.adapters.labelled import LabelledSource, labelled_rows
from training.datasets.adapters.masks import MaskSource, mask_rows
from training.datasets.adapters.phantom import phantom_rows
from training.datasets.adapters.reviews import ReviewSource, review_rows
from training.datasets.adapters.rsna2024 import RsnaSource, rsna_rows
from training.datasets.adapters.spider import SpiderSource, spider_rows
from training.datasets.checks import CheckReport, check_manifest
from training.datasets.errors import KeyMissingError
from training.datasets.manifest import Manifest, read_manifest, write_manifest
from training.datasets.mask_values import SCHEMES
from training.datasets.split import SplitRule


def _keys() -> Pseudonyms:
    """The site's key: with a fresh one patients would be split differently every time."""
    settings = Settings()
    if settings.pseudonym_key is None:
        raise KeyMissingError("set ACUITY_PSEUDONYM_KEY, and keep it, so that splits stay the same")
    return Pseudonyms.from_settings(settings)


def _phantom(given: argparse.Namespace, rule: SplitRule) -> Adapted:
    return phantom_rows(given.root, rule)


def _labelled(given: argparse.Namespace, rule: SplitRule) -> Adapted:
    return labelled_rows(LabelledSource(given.root, given.table, rule, _keys(), given.reader))


def _reviews(given: argparse.Namespace, rule: SplitRule) -> Adapted:
    return review_rows(ReviewSource(given.root, rule, _keys()))


def _masks(given: argparse.Namespace, rule: SplitRule) -> Adapted:
    source = MaskSource(
        given.root, given.masks or given.root, given.scheme, rule, _keys(), given.reader
    )
    return mask_rows(source)


def _spider(given: argparse.Namespace, rule: SplitRule) -> Adapted:
    return spider_rows(SpiderSource(given.root, rule, _keys()))


def _rsna(given: argparse.Namespace, rule: SplitRule) -> Adapted:
    return rsna_rows(RsnaSource(given.root, rule, _keys()))


SOURCES: Final[dict[str, Callable[[argparse.Namespace, SplitRule], Adapted]]] = {
    "phantom": _phantom,
    "labelled": _labelled,
    "reviews": _reviews,
    "masks": _masks,
    "spider": _spider,
    "rsna2024": _rsna,
}
"""Name of a source to what adapts it."""


def make(given: argparse.Namespace) -> Manifest:
    """Adapt a source, check the rows and write them.

    Raises:
        DatasetError: The source or the rows made of it are not sound.
    """
    rule = SplitRule(given.validation, given.test)
    adapted = SOURCES[given.source](given, rule)
    report = check_manifest(Manifest(tuple(adapted.rows), given.out.parent), files=False)
    _tell(report)
    report.require_sound()
    manifest = write_manifest(given.out, adapted.rows)
    by_split = Counter(str(row.split) for row in manifest.rows)
    studies = len({row.study_instance_uid for row in manifest.rows})
    _say(f"{studies} studies, {len(manifest.rows)} rows: {dict(sorted(by_split.items()))}")
    for code, count in adapted.skipped_by_code.items():
        _say(f"left out: {count} {code}")
    return manifest


def _tell(report: CheckReport) -> None:
    for finding in report.findings:
        _say(f"{'error' if finding.error else 'look at'}: {finding.code}: {finding.message}")
    for one in report.agreement:
        value = "not defined" if one.kappa.value is None else f"{one.kappa.value:.3f}"
        readers = " and ".join(one.readers)
        _say(f"agreement of {readers} in {one.column}: kappa {value}, {one.kappa.of} levels")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", choices=(*SOURCES, "check"))
    parser.add_argument("root", type=Path, help="folder of the source, or the manifest to check")
    parser.add_argument("--out", type=Path, help="manifest to write: .parquet or .csv")
    parser.add_argument("--table", type=Path, help="labelled: the site's CSV file")
    parser.add_argument("--masks", type=Path, help="masks: their folder, if not ROOT")
    parser.add_argument("--scheme", choices=sorted(SCHEMES), default="verse")
    parser.add_argument("--reader", default="site", help="who says it, where the source does not")
    parser.add_argument("--validation", type=float, default=0.15, help="share of the patients")
    parser.add_argument("--test", type=float, default=0.15, help="share of the patients")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Make or check a manifest."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.source == "check":
        report = check_manifest(read_manifest(given.root))
        _tell(report)
        report.require_sound()
        _say("the manifest is sound")
        return
    if given.out is None or (given.source == "labelled" and given.table is None):
        parser.error("give --out, and --table for labelled")
    make(given)


if __name__ == "__main__":
    main()
