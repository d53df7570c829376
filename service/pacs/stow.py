"""What a STOW-RS request stored, instance by instance, and the answer that says so.

Source: PS3.18 10.5.3 (status codes), I.2 (Store Instances Response Module).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import structlog

from models.durable import write_back
from service.ingest.refusals import RefusedError
from service.pacs.identity import InstanceIdentity
from service.pacs.multipart import DICOM_TYPE, Part
from service.pacs.receiving import Admission, Placement, ReceiveFolder, StorageFullError

log = structlog.get_logger()

ANSWER_TYPE: Final = "application/dicom+json"

_CLASS_UID: Final = "00081150"
_INSTANCE_UID: Final = "00081155"
_FAILURE_REASON: Final = "00081197"
_FAILED: Final = "00081198"
_REFERENCED: Final = "00081199"


class Failure(IntEnum):
    """Failure Reason (0008,1197), with the values of PS3.18 Table I.2-2."""

    OUT_OF_RESOURCES = 0xA700
    NOT_THIS_STUDY = 0xA900
    NOT_UNDERSTOOD = 0xC000


class OtherStudyError(Exception):
    """An instance of another study than the one that the request is for."""


@dataclass(frozen=True, slots=True)
class PartOutcome:
    """What became of one part; `identity` is None when it could not be read."""

    identity: InstanceIdentity | None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class StowOutcome:
    """What became of a request's parts, in their order."""

    parts: tuple[PartOutcome, ...]

    @property
    def status(self) -> int:
        """HTTP status: 200 all stored, 202 some, 409 none (503 when the disk is the reason)."""
        failures = [part.failure for part in self.parts if part.failure is not None]
        if not failures:
            return 200
        if len(failures) < len(self.parts):
            return 202
        full = all(failure is Failure.OUT_OF_RESOURCES for failure in failures)
        return 503 if full else 409

    def document(self) -> dict[str, Any]:
        """The Store Instances Response Module in the DICOM JSON model (PS3.18 F)."""
        stored = [_reference(part) for part in self.parts if part.failure is None]
        failed = [_reference(part) for part in self.parts if part.failure is not None]
        sequences = {_FAILED: failed, _REFERENCED: stored}
        return {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}


def admit_parts(
    parts: Sequence[Part], folder: ReceiveFolder, study_uid: str | None = None
) -> StowOutcome:
    """Take every part that is an instance of the study into the receive folder.

    Args:
        parts: On the disk of the receive folder; what is refused stays for the caller to remove.
        folder: Where instances go.
        study_uid: Study that the request is for; None for any.
    """
    for part in parts:  # all at once, not one after the other
        with suppress(OSError):
            write_back(part.path, wait=False)
    placed = [_place(part, folder, study_uid) for part in parts]
    outcome = StowOutcome(tuple(_settled(placed, folder)))
    log.info(
        "stow_received",
        parts=len(parts),
        failed=sum(part.failure is not None for part in outcome.parts),
    )
    return outcome


def _settled(
    placed: Sequence[tuple[PartOutcome, Placement | None]], folder: ReceiveFolder
) -> Iterator[PartOutcome]:
    """What became of the parts once those that were placed are durable, all in one step."""
    full = False
    try:
        folder.settle(placement for _, placement in placed if placement is not None)
    except OSError:
        full = True
    for outcome, placement in placed:
        lost = full and placement is not None
        yield PartOutcome(outcome.identity, Failure.OUT_OF_RESOURCES) if lost else outcome


def _place(
    part: Part, folder: ReceiveFolder, study_uid: str | None
) -> tuple[PartOutcome, Placement | None]:
    seen: list[InstanceIdentity] = []

    def check(identity: InstanceIdentity) -> None:
        seen.append(identity)
        if study_uid is not None and identity.study_instance_uid != study_uid:
            raise OtherStudyError

    def failed(failure: Failure) -> tuple[PartOutcome, None]:
        return PartOutcome(seen[0] if seen else None, failure), None

    if part.media_type != DICOM_TYPE:
        return failed(Failure.NOT_UNDERSTOOD)
    try:
        placement = folder.place(part.path, check)
    except OtherStudyError:
        return failed(Failure.NOT_THIS_STUDY)
    except RefusedError as error:
        log.info("instance_refused", code=error.refusal.code)
        return failed(Failure.NOT_UNDERSTOOD)
    except (StorageFullError, OSError):
        return failed(Failure.OUT_OF_RESOURCES)
    if placement.admission is Admission.OWN:
        log.info("own_object_ignored")
    return PartOutcome(seen[0]), placement


def _reference(part: PartOutcome) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if part.identity is not None:
        item[_CLASS_UID] = {"vr": "UI", "Value": [part.identity.sop_class_uid]}
        item[_INSTANCE_UID] = {"vr": "UI", "Value": [part.identity.sop_instance_uid]}
    if part.failure is not None:
        item[_FAILURE_REASON] = {"vr": "US", "Value": [int(part.failure)]}
    return item
