"""The audit trail: an append-only record of who sent, read, reviewed and deleted which study.

Each record holds the fields of a DICOM audit message (PS3.15 A.5) as one line of JSON. Studies
stand in it as keyed pseudonyms, so that the trail may be handed to those who watch over access;
with the key `acuity audit --study UID` finds a study's records. Every process writes files of its
own, in which each record carries a keyed digest of itself and the one before: a record that was
changed or taken out shows.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Final

from models.durable import flush_folder
from service.logs import Pseudonyms
from service.settings import Settings

FOLDER: Final = "audit"
KEY_FILE: Final = "key"
STUDY_UID: Final = {"code": "110180", "scheme": "DCM", "meaning": "Study Instance UID"}
SOURCE: Final = {"id": "vertebral-acuity", "type_code": "4"}
"""Audit source: an application server (PS3.15 A.5.2, type 4)."""


class Event(Enum):
    """What was done: Event ID (PS3.15 A.5.3, CID 400 and 401), its meaning, and its action code."""

    STARTED = ("110100", "Application Activity", "E")
    IMPORT = ("110107", "Import", "C")
    QUERY = ("110112", "Query", "E")
    ACCESSED = ("110103", "DICOM Instances Accessed", "R")
    REVIEW = ("110103", "DICOM Instances Accessed", "U")
    DELETED = ("110105", "DICOM Study Deleted", "D")
    AUTHENTICATION = ("110114", "User Authentication", "E")
    REFUSED = ("110113", "Security Alert", "E")


class Outcome(IntEnum):
    """Event Outcome Indicator (PS3.15 A.5.2)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8

    @classmethod
    def of_status(cls, status: int) -> Outcome:
        """What an HTTP status means."""
        if status < 400:
            return cls.SUCCESS
        return cls.MINOR_FAILURE if status < 500 else cls.SERIOUS_FAILURE


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that somebody did.

    Attributes:
        user: Who, as of `service.jobs.keys.Grant`; "" when not known.
        address: Network address that it came from.
        study_instance_uid: Of the study, "" where there is none or more than one.
        job_id: Of the job, "" where there is none.
    """

    event: Event
    user: str
    address: str
    outcome: Outcome = Outcome.SUCCESS
    study_instance_uid: str = ""
    job_id: str = ""


class Trail:
    """One process' part of the trail. Thread-safe.

    What was noted survives the process' death, and a power cut once `settle` has returned.

    Args:
        folder: `audit` under the work folder.
        key: Secret of the pseudonyms and digests; None for one that is kept beside the trail.
    """

    def __init__(self, folder: Path, key: bytes | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = key or kept_key(folder)
        self._pseudonyms = Pseudonyms(self._key)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(3)}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(folder / name, flags, 0o600)
        self._digest = ""
        self._number = 0
        self._settled = 0
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self.settle(self.note(Deed(Event.STARTED, "", "")))
        flush_folder(folder)

    def note(self, deed: Deed) -> int:
        """Add a record. One write to the operating system: a killed process loses none.

        Returns:
            How many records there are now, for `settle`.

        Raises:
            OSError: It could not be written, or the trail has ended.
        """
        with self._lock:
            record = self._record(deed)
            digest = record["digest"] = digest_of(record, self._key)
            line = json.dumps(record, sort_keys=True).encode() + b"\n"
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, "a record was cut off")
            self._digest = digest
            self._number += 1
            return self._number

    def settle(self, count: int) -> None:
        """Have the disk hold so many records. Threads that wait are served by one flush together.

        Raises:
            OSError: The disk does not take them.
        """
        with self._settling:
            if self._settled >= count:
                return
            written = self._number
            os.fdatasync(self._file)
            self._settled = written

    def close(self) -> None:
        """Have the disk hold the trail, and end it; done twice, it does nothing."""
        with self._settling, self._lock:
            if self._file >= 0:
                os.fdatasync(self._file)
                os.close(self._file)
                self._file = -1

    def _record(self, deed: Deed) -> dict[str, Any]:
        code, meaning, action = deed.event.value
        objects: list[dict[str, Any]] = []
        if deed.study_instance_uid:
            # Type code 2 is a system object, role 3 a report (PS3.15 A.5.2).
            pseudonym = self._pseudonyms.of(deed.study_instance_uid)
            objects.append({"type_code": 2, "role": 3, "id_type": STUDY_UID, "id": pseudonym})
        if deed.job_id:
            objects.append(
                {"type_code": 2, "role": 20, "id_type": {"meaning": "Job"}, "id": deed.job_id}
            )
        return {
            "number": self._number,
            "event_id": {"code": code, "scheme": "DCM", "meaning": meaning},
            "event_action_code": action,
            "event_date_time": datetime.now(UTC).isoformat(),
            "event_outcome_indicator": int(deed.outcome),
            "active_participant": {
                "user_id": deed.user,
                "user_is_requestor": True,
                "network_access_point_id": deed.address,
                "network_access_point_type_code": 2,
            },
            "audit_source": SOURCE,
            "participant_objects": objects,
            "previous": self._digest,
        }


def open_trail(settings: Settings, work_dir: Path) -> Trail:
    """Begin this process' part of an installation's trail."""
    return Trail(work_dir / FOLDER, trail_key(settings))


def trail_key(settings: Settings) -> bytes | None:
    """The key that is set for the trail, None for the one beside it."""
    key = settings.pseudonym_key
    return key.get_secret_value().encode() if key else None


def kept_key(folder: Path) -> bytes:
    """The key that is kept beside a trail; made when there is none."""
    path = folder / KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return bytes.fromhex(path.read_text("ascii"))
    with os.fdopen(descriptor, "w") as file:
        key = secrets.token_bytes(32)
        file.write(key.hex())
    return key


def digest_of(record: dict[str, Any], key: bytes) -> str:
    """Keyed digest of a record, its own digest apart; it covers the one before."""
    content = {name: value for name, value in record.items() if name != "digest"}
    text = json.dumps(content, sort_keys=True).encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def read_trail(folder: Path) -> Iterator[tuple[Path, dict[str, Any] | None]]:
    """Every record, file by file in the order of their starts; None for a line that is none."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                yield path, json.loads(line)
            except ValueError:
                yield path, None


def faults_of(folder: Path, key: bytes) -> Iterator[str]:
    """What is wrong with a trail: records that were changed, taken out, or cut off."""
    expected: dict[Path, tuple[int, str]] = {}
    for path, record in read_trail(folder):
        number, previous = expected.get(path, (0, ""))
        expected[path] = (number + 1, record.get("digest", "") if record else "")
        if record is None:
            yield f"{path.name}: record {number} cannot be read"
        elif not hmac.compare_digest(str(record.get("digest")), digest_of(record, key)):
            yield f"{path.name}: record {number} was changed"
        elif record["number"] != number or record["previous"] != previous:
            yield f"{path.name}: before record {number} something was taken out"
