"""The receive folder: durable, under names of its own, and the same instance once."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from service.ingest.refusals import RefusedError
from service.ingest.safety import Limits
from service.pacs import receiving
from service.pacs.receiving import (
    Admission,
    ReceiveFolder,
    StorageFullError,
    Submission,
    digest_of,
)
from tests import builders
from tests.unit.pacs.conftest import Receive
from tests.unit.pacs.stand_ins import STUDY, instances, own


def names(folder: ReceiveFolder) -> list[str]:
    return sorted(path.name for study in folder.studies() for path in folder.files(study))


def test_bytes_are_kept_as_they_came_under_names_of_ours(
    folder: ReceiveFolder, receive: Receive
) -> None:
    sent = instances(3)
    assert receive(*sent) == [Admission.STORED] * 3
    (study,) = folder.studies()
    assert study.key == digest_of(STUDY)
    assert names(folder) == sorted(f"{digest_of(each.SOPInstanceUID)}.dcm" for each in sent)
    assert {path.read_bytes() for path in folder.files(study)} == set(map(builders.to_bytes, sent))
    assert not any(STUDY in str(path) for path in study.folder.parent.parent.rglob("*"))


def test_nothing_is_acknowledged_before_it_is_flushed(
    receive: Receive, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace, flush = Path.replace, os.fsync

    def noting_write_back(path: Path) -> None:
        done.append(f"content of {path.suffix}")

    def noting_replace(path: Path, target: Path) -> None:
        done.append(f"{path.suffix} becomes {target.suffix}")
        replace(path, target)

    def noting_flush(descriptor: int) -> None:
        named = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append(f"{named.suffix} in {named.parent.name}" if named.suffix else named.name)
        flush(descriptor)

    monkeypatch.setattr(receiving, "write_back", noting_write_back)
    monkeypatch.setattr(Path, "replace", noting_replace)
    monkeypatch.setattr(os, "fsync", noting_flush)
    receive(*instances(1))
    study = digest_of(STUDY)
    assert done == [
        "content of .part",
        "studies",  # the new folder of the study
        ".part becomes .dcm",
        f".dcm in {study}",
        study,
    ]


def test_a_resend_changes_nothing_and_a_correction_replaces(
    folder: ReceiveFolder, receive: Receive
) -> None:
    sent = instances(2)
    receive(*sent)
    (before,) = folder.studies()
    assert receive(*sent) == [Admission.KNOWN] * 2
    assert list(folder.studies()) == [before]
    time.sleep(0.02)
    sent[0].PatientName = "Corrected^Name"
    assert receive(sent[0]) == [Admission.STORED]
    (after,) = folder.studies()
    assert after.changed_ns > before.changed_ns
    assert len(folder.files(after)) == 2


def test_own_objects_leave_no_trace(folder: ReceiveFolder, receive: Receive) -> None:
    assert receive(own(instances(1)[0])) == [Admission.OWN]
    assert list(folder.studies()) == []
    assert list(folder.new_part().parent.iterdir()) == []


def test_what_cannot_be_identified_stays_the_callers(folder: ReceiveFolder) -> None:
    part = folder.new_part()
    part.write_bytes(b"no dicom at all, only text that goes on for a while")
    with pytest.raises(RefusedError):
        folder.admit(part)
    assert part.exists()
    assert list(folder.studies()) == []


def test_a_study_may_not_grow_without_end(tmp_path: Path) -> None:
    folder = ReceiveFolder(tmp_path / "received", Limits(files=2))
    folder.open()
    outcomes = []
    for instance in instances(3):
        part = folder.new_part()
        part.write_bytes(builders.to_bytes(instance))
        try:
            outcomes.append(folder.admit(part))
        except StorageFullError as error:
            outcomes.append(error.code)
    assert outcomes == [Admission.STORED, Admission.STORED, "disk_full"]


def test_a_full_disk_is_said_before_anything_is_taken(tmp_path: Path) -> None:
    folder = ReceiveFolder(tmp_path / "received", Limits(), min_free_bytes=1 << 60)
    folder.open()
    with pytest.raises(StorageFullError):
        folder.check_room()


def test_a_study_that_changed_is_not_removed(folder: ReceiveFolder, receive: Receive) -> None:
    first, second = instances(2)
    receive(first)
    (listed,) = folder.studies()
    time.sleep(0.02)
    receive(second)
    assert not folder.remove(listed)
    assert len(names(folder)) == 2
    (listed,) = folder.studies()
    assert folder.remove(listed)
    assert list(folder.studies()) == []
    receive(first)
    assert len(names(folder)) == 1


def test_what_was_submitted_and_expected_survives(folder: ReceiveFolder) -> None:
    key = digest_of(STUDY)
    assert (folder.expected(key), folder.submission(key)) == (None, None)
    folder.expect(STUDY, 12)
    assert folder.expected(key) == 12
    said = Submission(changed_ns=7, instances=("a", "b"), job_id="0" * 32)
    folder.note_submission(key, said)
    assert folder.submission(key) == said
    assert folder.expected(key) is None
    assert folder.instances(STUDY) == {"a", "b"}


def test_leftovers_of_a_killed_process_go(folder: ReceiveFolder) -> None:
    folder.new_part().write_bytes(b"half an instance")
    (folder.new_staging() / "00000").write_bytes(b"half a request")
    assert folder.clear_parts(older_than_s=3600) == 0
    assert folder.clear_parts(older_than_s=-1) == 2


def test_many_senders_of_one_study(folder: ReceiveFolder) -> None:
    sent = instances(40)
    errors: list[BaseException] = []

    def send(own_share: list[int]) -> None:
        try:
            for index in own_share:
                part = folder.new_part()
                part.write_bytes(builders.to_bytes(sent[index]))
                folder.admit(part)
        except BaseException as error:  # noqa: BLE001  reported by the test's own thread
            errors.append(error)

    # every instance twice, from two senders
    threads = [
        threading.Thread(target=send, args=(list(range(start, 40, 4)) * 2,)) for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(names(folder)) == 40
