"""What a bundle learned from: the same patients, studies and pictures cannot calibrate or judge it.

A bundle carries a digest of six bytes for each of them, salted anew for every set of data: about
24 kB a thousand studies. No name, identifier or UID can be read out of it; who has a study can ask
whether it is among them, under whatever name and in whatever part of a manifest it stands.

Bundles that were made before they carried digests are judged by the parts they learned from.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from models.manifest import SECTION
from models.registry import Bundle
from training.datasets.manifest import Manifest
from training.datasets.rows import LabelRow, Split
from training.judging.errors import JudgingError, SeenCasesError

LEARNED_FROM: Final = "learned_from"
CALIBRATED_ON: Final = "calibrated_on"
"""Lists of `noted` sets in what a bundle says of how it was trained."""

MOST: Final = 100_000
"""Digests of one set of data: more do not fit into a bundle's metadata."""

_BYTES: Final = 6
_SALT: Final = 32


def noted(rows: Sequence[LabelRow], salt: str) -> dict[str, str]:
    """Patients, studies and pictures of rows as salted digests, for a bundle's metadata.

    Args:
        rows: Learned from.
        salt: Hexadecimal digits that no other data has, as `data_digest` gives; the first 32 are
            taken.

    Raises:
        JudgingError: There are more than fit into a bundle.
    """
    salt = salt[:_SALT]
    found = sorted({digest for row in rows for digest in _digests(row, salt)})
    if len(found) > MOST:
        raise JudgingError(
            f"{len(found)} patients, studies and pictures to learn from; a bundle holds {MOST}"
        )
    return {"salt": salt, "digests": base64.b64encode(b"".join(found)).decode()}


def _digests(row: LabelRow, salt: str) -> tuple[bytes, ...]:
    told = (
        f"patient {row.patient_key}",
        f"study {row.study_instance_uid}",
        f"pixels {row.pixel_sha256}",
    )
    key = bytes.fromhex(salt)
    return tuple(
        hashlib.blake2b(one.encode(), digest_size=_BYTES, key=key).digest() for one in told
    )


def _seen(rows: Iterable[LabelRow], sets: Sequence[Mapping[str, str]]) -> set[str]:
    """Patients of rows that are in one of the sets, be it by their pictures alone."""
    rows, patients = tuple(rows), set()
    for one in sets:
        raw = base64.b64decode(one["digests"])
        known = {raw[place : place + _BYTES] for place in range(0, len(raw), _BYTES)}
        patients |= {
            row.patient_key for row in rows if not known.isdisjoint(_digests(row, one["salt"]))
        }
    return patients


def trained(bundle: Bundle) -> Mapping[str, Any]:
    """What a bundle says of the run that it comes from; empty where no run is known."""
    found: Mapping[str, Any] = bundle.metadata[SECTION].get("trained", {})
    return found


def learned_parts(bundle: Bundle) -> set[Split]:
    """Parts of its run's manifest that a bundle learned from; empty where no run is known."""
    return {Split(part) for part in trained(bundle).get("learned_parts", ())}


def require_unseen(bundle: Bundle, manifest: Manifest, *, by_calibration: bool = False) -> None:
    """Refuse a manifest with patients, studies or pictures that a bundle learned from.

    Args:
        bundle: Is to be calibrated, judged or taught on.
        manifest: The cases.
        by_calibration: Also refuse those that its thresholds were chosen on.

    Raises:
        SeenCasesError: There are such; of an older bundle, there are rows in a part of the name
            that it learned from.
    """
    told = trained(bundle)
    sets = list(told.get(LEARNED_FROM, ()))
    seen = _seen(manifest.rows, sets)
    if seen:
        raise SeenCasesError(
            f"{bundle.name} {bundle.version} learned from {len(seen)} of these patients (known by "
            "patient, study or pictures): take cases that are new to it, or, to calibrate, name "
            "the crossed run that it is of with --run"
        )
    if by_calibration and (seen := _seen(manifest.rows, told.get(CALIBRATED_ON, ()))):
        raise SeenCasesError(
            f"{bundle.name} {bundle.version} was calibrated on {len(seen)} of these patients: "
            "compare it on cases that are new to it"
        )
    parts = set() if sets else {row.split for row in manifest.rows} & learned_parts(bundle)
    if parts:
        raise SeenCasesError(
            f"the candidate learned from the part {' and '.join(sorted(parts))}: choose others "
            "with --split (new studies belong into the part test), or, to calibrate, name the "
            "crossed run that it is of with --run"
        )
