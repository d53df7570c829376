"""Orthanc's Python plugin: tell vertebral-acuity of every MR series that has come to rest.

In orthanc.json:  "PythonScript": "/etc/orthanc/orthanc_plugin.py", beside the plugins DicomWeb and
Python. Environment as for orthanc.lua: ACUITY_URL, ACUITY_KEY, ACUITY_SOURCE. Calls are made from a
thread of their own and repeated until they succeed, so Orthanc never waits for the service.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import urllib.request

import orthanc  # made by the plugin

URL = os.environ.get("ACUITY_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("ACUITY_KEY")
SOURCE = os.environ.get("ACUITY_SOURCE", "orthanc")
TIMEOUT_S = 5
LONGEST_WAIT_S = 60

stable: queue.Queue[str] = queue.Queue()


def on_change(change: int, _level: int, resource: str) -> None:
    """Only note it: Orthanc's own work waits for this function."""
    if change == orthanc.ChangeType.STABLE_SERIES:
        stable.put(resource)


def tell(series: str) -> None:
    """Ask the service to pull the study of a series; results that come back are no MR series."""
    if json.loads(orthanc.RestApiGet(f"/series/{series}"))["MainDicomTags"]["Modality"] != "MR":
        return
    study = json.loads(orthanc.RestApiGet(f"/series/{series}/study"))
    wanted = {
        "study_instance_uid": study["MainDicomTags"]["StudyInstanceUID"],
        "source": SOURCE,
        "complete": False,
    }
    headers = {"Content-Type": "application/json"}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    request = urllib.request.Request(  # noqa: S310  the address is the administrator's
        f"{URL}/v1/retrievals", json.dumps(wanted).encode(), headers, method="POST"
    )
    urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310


def work() -> None:
    """Tell of one series after the other, each until it was told."""
    while True:
        series, wait = stable.get(), 1
        while True:
            try:
                tell(series)
                break
            except orthanc.OrthancException:
                break  # deleted meanwhile
            except OSError:
                orthanc.LogWarning("vertebral-acuity could not be told of a series yet")
                time.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)


threading.Thread(target=work, daemon=True).start()
orthanc.RegisterOnChangeCallback(on_change)
