"""The audit trail of a real service: nothing that was answered is missing, however it ended."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import httpx2
from pynetdicom import AE
from pynetdicom.sop_class import MRImageStorage

from service.audit import FOLDER, Trail, faults_of, kept_key, read_trail
from service.ingest.safety import Limits
from service.logs import Pseudonyms
from service.pacs.listener import Listener
from service.pacs.receiving import ReceiveFolder
from service.settings import ListenerSettings
from tests.integration.jobs.installation import installed
from tests.unit.pacs.stand_ins import STUDY, instances

SERVE = [sys.executable, "-m", "service.cli", "serve"]
ROUNDS = 2
ASKED = 5
QUERY = "110112"


def test_what_was_answered_stands_in_the_trail_after_kill_9(tmp_path: Path) -> None:
    with installed(SERVE, tmp_path) as installation:
        for _ in range(ROUNDS):
            installation.wait_until_there()
            for _ in range(ASKED):
                assert httpx2.get(f"{installation.url}/v1/studies", timeout=60).status_code == 200
            installation.kill_both()  # at once after the last answer
        installation.wait_until_there()
        assert httpx2.get(f"{installation.url}/v1/studies", timeout=60).status_code == 200
        installation.stop()
    folder = tmp_path / FOLDER
    noted = Counter(
        path.name for path, record in read_trail(folder) if record and _code(record) == QUERY
    )
    assert sorted(noted.values()) == [1, *[ASKED] * ROUNDS]
    assert list(faults_of(folder, kept_key(folder))) == []


def test_who_sent_by_dicom_stands_in_the_trail(tmp_path: Path) -> None:
    received = ReceiveFolder(tmp_path / "received", Limits())
    received.open()
    trail = Trail(tmp_path / FOLDER, b"secret")
    settings = ListenerSettings(port=0, calling_aes=("MR1",))
    listener = Listener(settings, received, Pseudonyms(b"secret"), trail)
    listener.start()
    try:
        _send(listener.port, "MR1", 3)
        _send(listener.port, "STRANGER", 0)
        # Before anything is closed: a process that is killed here has it on the disk.
        told = [record for _, record in read_trail(tmp_path / FOLDER) if record is not None]
    finally:
        listener.close()
        trail.close()
    who = [(_code(one), one["active_participant"]["user_id"]) for one in told]
    assert who == [("110100", ""), ("110107", "ae:MR1"), ("110113", "ae:STRANGER")]
    assert [each["id"] for each in told[1]["participant_objects"]] == [
        Pseudonyms(b"secret").of(STUDY)
    ]
    assert told[1]["active_participant"]["network_access_point_id"] == "127.0.0.1"


def _code(record: dict[str, object]) -> str:
    event = record["event_id"]
    assert isinstance(event, dict)
    return str(event["code"])


def _send(port: int, calling: str, count: int) -> None:
    entity = AE(calling)
    entity.add_requested_context(MRImageStorage)
    association = entity.associate("127.0.0.1", port, ae_title="ACUITY")
    assert association.is_established is bool(count)
    for sent in instances(count):
        assert association.send_c_store(sent).Status == 0
    if association.is_established:
        association.release()
