"""The whole way as a hospital has it: scanner, Orthanc, hook, service, and results in Orthanc.

Each recipe of docs/routers.md is run as it stands there, on a study of `data_samples`, with the
shipped networks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from tests import builders
from tests.integration.pacs.peers import Orthanc, free_port, orthanc, run, send, tool, until
from tests.integration.pacs.service import READ_S, Service, environment, serve, started

ROOT = Path(__file__).resolve().parents[3]
STUDY = ROOT / "data_samples" / "benign_unhealed" / "dicom"
RECIPES = ROOT / "docs" / "routers"
IMAGES = 45
RESULTS = {"SR": 1, "SEG": 1, "KO": 1}
QUIET_S = 3.0
ECHO_S = 9.0
"""Longer than what an echo would need: Orthanc's and our own quiet period, and a look."""


@dataclass
class Hospital:
    orthanc: Orthanc
    service: Service

    @property
    def study_uid(self) -> str:
        return str(self.service.jobs()[0]["study_instance_uid"])

    def found(self, modality: str) -> list[dict[str, Any]]:
        """Series of a modality, by QIDO-RS."""
        answer = requests.get(
            f"{self.orthanc.dicom_web}/studies/{self.study_uid}/series",
            params={"Modality": modality},
            headers={"Accept": "application/dicom+json"},
            timeout=20,
        )
        answer.raise_for_status()
        return list(answer.json())

    def results(self) -> dict[str, int]:
        """How many series of results there are, by modality."""
        return {modality: len(self.found(modality)) for modality in RESULTS}


@contextmanager
def hospital(folder: Path, recipe: dict[str, object], *plugins: str) -> Iterator[Hospital]:
    """Orthanc and the service, each told of the other."""
    web, rest = free_port(), free_port()
    root = f"http://127.0.0.1:{web}"
    told = {"ACUITY_URL": f"http://127.0.0.1:{rest}"}
    archives = {"orthanc": {"url": f"{root}/dicom-web", "orthanc_url": root}}
    targets = {"orthanc": {"kind": "stow", "url": f"{root}/dicom-web"}}
    with (
        orthanc(folder / "orthanc", ("DicomWeb", *plugins), web, told, **recipe) as peer,
        serve(folder, rest, archives=archives, targets=targets, quiet_s=QUIET_S) as service,
    ):
        yield Hospital(peer, service)


@pytest.fixture(scope="module")
def lua(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    recipe: dict[str, object] = {"LuaScripts": [str(RECIPES / "orthanc.lua")]}
    with hospital(tmp_path_factory.mktemp("lua"), recipe) as place:
        yield place


def copied(study: Path, folder: Path) -> None:
    """Copy a study uncompressed: storescu proposes nothing else unless it is told to."""
    for path in sorted(study.rglob("*.dcm")):
        target = folder / path.relative_to(study)
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset = dcmread(path)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            dataset.decompress(generate_instance_uid=False)
        dataset.save_as(target)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sample without the outermost slice of its first series, and that slice."""
    folder = tmp_path_factory.mktemp("images")
    copied(STUDY, folder / "most")
    first = sorted((folder / "most" / "S001").iterdir())
    outer = max(first, key=lambda path: dcmread(path).ImagePositionPatient[0])
    (folder / "late").mkdir()
    outer.rename(folder / "late" / outer.name)
    return folder / "most", folder / "late"


def test_results_come_back_once_and_a_late_slice_supersedes(
    lua: Hospital, images: tuple[Path, Path], tmp_path: Path
) -> None:
    most, late = images
    send(most, lua.orthanc.dicom_port, "ORTHANC")
    (job,) = lua.service.finished(1)
    assert job["files"] == IMAGES - 1
    until(lambda: lua.results() == RESULTS)
    said = find_series(lua, "SR")
    assert said.count("(0008,0060) CS [SR]") >= 1, said
    first_sr = fetch(lua, "SR", tmp_path / "first")

    # Our own objects made the study stable again, and the scanner sends it once more.
    send(most, lua.orthanc.dicom_port, "ORTHANC")
    time.sleep(ECHO_S)
    assert len(lua.service.jobs()) == 1
    assert lua.results() == RESULTS

    send(late, lua.orthanc.dicom_port, "ORTHANC")
    newer, older = lua.service.finished(2)
    assert newer["files"] == IMAGES
    until(lambda: lua.results() == dict.fromkeys(RESULTS, 2))
    time.sleep(ECHO_S)
    assert len(lua.service.jobs()) == 2
    assert lua.results() == dict.fromkeys(RESULTS, 2)
    both = fetch(lua, "SR", tmp_path / "both")
    (new,) = [each for each in both if each.name not in {old.name for old in first_sr}]
    reference = dcmread(new).PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    named = reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == dcmread(first_sr[0]).SOPInstanceUID
    standing = lua.service.get(f"/v1/studies/{lua.study_uid}/report")
    assert standing["status"] == "preliminary"
    assert lua.service.get(older["links"]["report"])["status"] == "superseded"


def find_series(hospital: Hospital, modality: str) -> str:
    """What findscu finds of a study's series."""
    return run(
        "findscu", "-aet", "M", "-aec", "ORTHANC", "-S", "-k", "QueryRetrieveLevel=SERIES",
        "-k", f"StudyInstanceUID={hospital.study_uid}", "-k", f"Modality={modality}",
        "-k", "SeriesInstanceUID", "127.0.0.1", hospital.orthanc.dicom_port,
    )  # fmt: skip


def fetch(hospital: Hospital, modality: str, folder: Path) -> list[Path]:
    """Files of a modality from Orthanc, named by instance."""
    folder.mkdir()
    paths = []
    for identity in hospital.orthanc.get("/instances"):
        tags = hospital.orthanc.get(f"/instances/{identity}/simplified-tags")
        if tags["Modality"] == modality:
            answer = requests.get(f"{hospital.orthanc.http}/instances/{identity}/file", timeout=20)
            paths.append(folder / f"{identity}.dcm")
            paths[-1].write_bytes(answer.content)
    return paths


def test_the_archive_is_consistent_with_results_in_it(lua: Hospital, tmp_path: Path) -> None:
    """Runs after the test above: images and two sets of results of one study lie in Orthanc."""
    paths = []
    for number, content in enumerate(lua.orthanc.content()):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(content)
    results = [path for path in paths if dcmread(path, stop_before_pixels=True).Modality != "MR"]
    assert len(results) > 2 * len(RESULTS)
    for path in results:
        checked = subprocess.run(
            [tool("dciodvfy"), "-new", path], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stderr
    said = run("dcentvfy", *paths)
    quarrels = [line for line in said.splitlines() if line.strip()]
    # It takes the accession number of an SR for one of its series; the values are equal.
    assert [line for line in quarrels if "<AccessionNumber>" not in line] == []


def test_a_reader_verifies_and_the_archive_gets_it(
    lua: Hospital, images: tuple[Path, Path], tmp_path: Path
) -> None:
    if not lua.service.jobs():  # run alone
        send(images[0], lua.orthanc.dicom_port, "ORTHANC")
        lua.service.finished(1)
    study = lua.study_uid
    before = lua.service.get(f"/v1/studies/{study}/report")
    called = next(level for level in before["levels"] if level["edema"]["call"] == "present")
    answer = lua.service.post(
        f"/v1/studies/{study}/review?wait=200",
        {
            "report": lua.service.jobs()[0]["job_id"],
            "reader": {"name": "Reader^Anna", "organization": "Site"},
            "levels": [{"label_value": called["label_value"], "edema": "absent"}],
        },
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "verified"
    jobs = len(lua.service.jobs())
    until(lambda: len(lua.found("SR")) == jobs)
    verified = [
        dataset
        for path in fetch(lua, "SR", tmp_path / "sr")
        if (dataset := dcmread(path)).VerificationFlag == "VERIFIED"
    ]
    assert [str(each.VerifyingObserverSequence[0].VerifyingObserverName) for each in verified] == [
        "Reader^Anna"
    ]
    time.sleep(ECHO_S)
    assert len(lua.service.jobs()) == jobs
    assert lua.service.get(f"/v1/studies/{study}/report")["status"] == "verified"


def test_orthancs_python_plugin(tmp_path: Path) -> None:
    recipe: dict[str, object] = {"PythonScript": str(RECIPES / "orthanc_plugin.py")}
    with hospital(tmp_path, recipe, "Python") as place:
        copied(STUDY / "S001", tmp_path / "study")
        send(tmp_path / "study", place.orthanc.dicom_port, "ORTHANC")
        place.service.finished(1)
        until(lambda: place.results() == RESULTS)
        time.sleep(ECHO_S)
        assert len(place.service.jobs()) == 1


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """`acuity listen` on a port of its own; its work folder."""
    folder = tmp_path_factory.mktemp("listen")
    with started(
        "listen",
        folder / "log",
        work_dir=str(folder / "work"),
        quiet_s=QUIET_S,
        listener={"port": 0, "calling_aes": ["MR1"]},
    ) as line:
        assert line.startswith("ACUITY@127.0.0.1:")
        yield int(line.rpartition(":")[2]), folder / "work"


def reports(work: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in work.glob("studies/[0-9a-f]*/report.json")]


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_dcmtk_sends_to_the_listener(
    listening: tuple[int, Path], tmp_path: Path, program: str
) -> None:
    port, work = listening
    run("echoscu", "-aet", "MR1", "-aec", "ACUITY", "127.0.0.1", port)
    known = len(reports(work))
    folder = tmp_path / "study"
    copied(STUDY / "S001", folder)
    study = builders.uid(f"listened {program}")
    for path in folder.iterdir():
        dataset = dcmread(path)
        dataset.StudyInstanceUID = study
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = builders.uid(
            f"{program} {path.name}"
        )
        dataset.save_as(path)
    if program == "storescu":
        send(folder, port, "ACUITY")
    else:
        run("dcmsend", "-aet", "MR1", "-aec", "ACUITY", "+sd", "+r", "127.0.0.1", port, folder)
    received = list(work.glob("received/studies/*/*.dcm"))
    assert len(received) >= 15
    until(lambda: len(reports(work)) == known + 1, READ_S)
    assert study in {report["study"]["study_instance_uid"] for report in reports(work)}


def test_unknown_senders_and_wrong_titles_are_rejected(listening: tuple[int, Path]) -> None:
    port, _ = listening
    for calling, called in (("STRANGER", "ACUITY"), ("MR1", "OTHER")):
        said = run("echoscu", "-aet", calling, "-aec", called, "127.0.0.1", port, check=False)
        assert "Rejected" in said, said


def test_every_transfer_syntax_is_taken_as_it_comes(
    listening: tuple[int, Path], tmp_path: Path
) -> None:
    port, work = listening
    options = {
        JPEG2000Lossless: "-xv",
        JPEGLSLossless: "-xt",
        JPEGLosslessSV1: "-xs",
        RLELossless: "-xr",
    }
    stacks = builders.classic_stack(builders.ramp(4, 32, 32), study="encoded")
    for (syntax, option), dataset in zip(options.items(), stacks, strict=True):
        folder = tmp_path / option
        folder.mkdir()
        if syntax == JPEGLosslessSV1:
            dataset.save_as(tmp_path / "raw.dcm")
            run("dcmcjpeg", "+e1", tmp_path / "raw.dcm", folder / "one.dcm")
        else:
            (folder / "one.dcm").write_bytes(
                builders.to_bytes(builders.compressed(dataset, syntax))
            )
        send(folder, port, "ACUITY", option)
        sent = dcmread(folder / "one.dcm")
        (got,) = [
            each
            for path in work.glob("received/studies/*/*.dcm")
            if (each := dcmread(path)).SOPInstanceUID == sent.SOPInstanceUID
        ]
        assert got.file_meta.TransferSyntaxUID == syntax
        assert got.PixelData == sent.PixelData


def test_curl(tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", STUDY / "S001")
    with serve(tmp_path / "service") as service:
        url = f"{service.url}/v1/studies?wait=60"
        said = run("curl", "-sS", "-H", "Content-Type: application/zip", "--data-binary",
                   f"@{archive}", url)  # fmt: skip
        assert json.loads(said)["levels"]
        files = [part for path in sorted((STUDY / "S001").iterdir())
                 for part in ("-F", f"files=@{path}")]  # fmt: skip
        again = json.loads(run("curl", "-sS", *files, f"{service.url}/v1/studies"))
        assert again["job_id"] == service.jobs()[0]["job_id"]
        assert len(service.jobs()) == 1


def test_mercure_module(tmp_path: Path) -> None:
    given, made = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    made.mkdir()
    for number, path in enumerate(sorted((STUDY / "S001").iterdir())):
        dataset = dcmread(path, stop_before_pixels=True)
        name = f"{dataset.SeriesInstanceUID}#{number}"
        shutil.copyfile(path, given / f"{name}.dcm")
        (given / f"{name}.tags").write_text("{}")
    (given / "task.json").write_text(json.dumps({"id": "task", "process": {"settings": {}}}))
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "mercure"],
        env=environment({}) | {"MERCURE_IN_DIR": str(given), "MERCURE_OUT_DIR": str(made)},
        capture_output=True,
        text=True,
        check=False,
        timeout=READ_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    written = [dcmread(path) for path in made.glob("*#*.dcm")]
    assert {each.Modality for each in written} == {"SR", "SEG", "KO", "OT"}
    assert all(
        path.name == f"{each.SeriesInstanceUID}#{each.SOPInstanceUID}.dcm"
        for path in made.glob("*.dcm")
        if (each := dcmread(path))
    )
    result = json.loads((made / "result.json").read_bytes())
    assert result["study_instance_uid"] == written[0].StudyInstanceUID
    assert result["__mercure_notification"]["text"]
    assert os.listdir(given)  # what came is mercure's  # noqa: PTH208
