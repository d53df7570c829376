"""The service and the steps of docs/retraining.md, as a user would take them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

SAME_BODY_MM = 12.0
VISIBLE_FROM = 1.28
SHAPES = {"pincer": "biconcave"}
"""What Genant's shapes call others."""

READER = {"name": "Reader^Perfect", "organization": "Tests"}


@dataclass
class Site:
    """One installation: where it keeps what, and how its programs are called.

    Attributes:
        folder: Of everything.
        variables: Of the environment, on top of the real one.
    """

    folder: Path
    variables: Mapping[str, str]

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def store(self) -> Path:
        return self.folder / "bundles"

    def environment(self) -> dict[str, str]:
        plain = {
            name: value for name, value in os.environ.items() if not name.startswith("ACUITY_")
        }
        return plain | {
            "ACUITY_WORK_DIR": str(self.work),
            "ACUITY_BUNDLE_DIR": str(self.store),
            "ACUITY_PSEUDONYM_KEY": "a site's own key",
            "ACUITY_MAX_WAIT_S": "900",
            **self.variables,
        }

    def acuity(self, *words: object, fails: str = "") -> str:
        """Run a command; `fails` is the error code it must end with."""
        done = subprocess.run(
            [sys.executable, "-m", "service.cli", *map(str, words)],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if fails:
            assert done.returncode != 0, done.stdout
            assert f"acuity: {fails}:" in done.stderr, done.stderr
        else:
            assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    @contextmanager
    def service(self) -> Iterator[httpx2.Client]:
        """The service, started and ready; stopped at the end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            with httpx2.Client(base_url=url, timeout=900) as client:
                while client.get("/readyz").status_code != 200:
                    assert process.poll() is None
                    time.sleep(0.2)
                yield client
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0
            process.stdout.close()


def zipped(study: Path) -> bytes:
    """A study's DICOM files as an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(study.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(study))
    return buffer.getvalue()


def read(client: httpx2.Client, study: Path) -> tuple[str, dict[str, Any]]:
    """Hand a study in and wait for its report; returns the job's id and the report."""
    job, state = handed_in(client, study)
    assert state["state"] == "succeeded", state
    return job, reported(client, job)


def reported(client: httpx2.Client, job: str) -> dict[str, Any]:
    """The report of a job that has ended well."""
    report: dict[str, Any] = client.get(f"/v1/jobs/{job}/report").json()
    return report


def handed_in(client: httpx2.Client, study: Path) -> tuple[str, dict[str, Any]]:
    """Hand a study in and wait; returns the job's id and how it ended."""
    answer = client.post(
        "/v1/studies",
        content=zipped(study / "dicom"),
        headers={"content-type": "application/zip"},
    )
    assert answer.status_code in (200, 202), answer.text
    job = answer.json()["job_id"]
    while (state := client.get(f"/v1/jobs/{job}").json())["state"] in ("queued", "running"):
        time.sleep(0.5)
    return job, state


def review(client: httpx2.Client, study: Path) -> dict[str, Any] | None:
    """Read a study and say of every body what its truth is, as a reader who is always right.

    Returns:
        The report that was reviewed; None for a study that is refused, of which there is nothing
        to say: some draw slices further apart than any study may have.
    """
    job, state = handed_in(client, study)
    if state["state"] == "refused":
        return None
    assert state["state"] == "succeeded", state
    report = reported(client, job)
    truth = json.loads((study / "truth.json").read_text())
    said = [
        one
        for level in report["levels"]
        if level["fracture"] is not None
        for one in [_said(level, truth["levels"])]
        if one is not None
    ]
    uid = report["study"]["study_instance_uid"]
    answer = client.post(
        f"/v1/studies/{uid}/review?wait=800",
        json={"report": job, "decision": "verify", "reader": READER, "levels": said},
    )
    assert answer.status_code == 200, answer.text
    verified: dict[str, Any] = answer.json()
    assert verified["status"] == "verified"
    return report


def _said(level: Mapping[str, Any], truths: list[Mapping[str, Any]]) -> dict[str, Any] | None:
    apart = [
        float(np.linalg.norm(np.subtract(truth["centroid_lps_mm"], level["centroid_lps_mm"])))
        for truth in truths
    ]
    nearest = int(np.argmin(apart))
    truth = truths[nearest]
    if apart[nearest] > SAME_BODY_MM or level["level"] == "S1" or truth["level"] == "S1":
        return None
    extent, fractured = truth["edema_fraction"], truth["acuity"] != "no_fracture"
    edema = "present" if extent >= 0.05 else "absent" if extent <= 0.005 else "indeterminate"
    if edema == "present" and (truth.get("edema_contrast") or VISIBLE_FROM) < VISIBLE_FROM:
        edema = "indeterminate"  # who reads images does not see what outshines nothing
    acuity = truth["acuity"]
    if acuity == "unhealed" and edema != "present":
        acuity = "indeterminate"
    said: dict[str, Any] = {
        "label_value": level["label_value"],
        "fracture": {"call": "present" if fractured else "absent"},
    }
    wet = level["edema"] is not None  # else no series shows water, and nobody can say
    if wet:
        said |= {"edema": edema, "acuity": acuity}
    if fractured:
        said["fracture"]["shape"] = SHAPES.get(truth["fracture"], truth["fracture"])
    if wet and (fractured or edema == "present"):
        pathological = truth["etiology"] == "pathological"
        said["etiology"] = "pathological" if pathological else "benign"
    return said


def scorer_of(report: Mapping[str, Any]) -> dict[str, str]:
    """The scorer that a report names."""
    bundles = report["provenance"]["bundles"]
    found: dict[str, str] = next(one for one in bundles if one["name"] == "scorer")
    return found
