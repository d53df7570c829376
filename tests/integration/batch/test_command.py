"""`acuity batch` as a user runs it, with the networks that are shipped."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from service.batch.tables import RESULTS_CSV, STUDIES_CSV
from service.batch.workplace import open_workplace
from tests.batch_made import write_studies
from tests.builders import write_all
from tests.unit.batch.summaries import Page
from tests.unit.deidentify.planted import MARK, plant

SAMPLES = Path(__file__).parents[3] / "data_samples"
DATES = ("19440612", "19991231", "235959")


COMMAND = (sys.executable, "-m", "service.cli", "batch")


def acuity(*arguments: object, code: int = 0) -> str:
    """Run the command; its standard output."""
    return ran(*arguments, code=code).stdout


def ran(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == code, done.stderr
    return done


def planted_sample(name: str, folder: Path) -> None:
    """A synthetic study with identity planted in every image."""
    images = []
    for path in sorted((SAMPLES / name / "dicom").rglob("*.dcm")):
        image = dcmread(path)
        pixels = image.PixelData
        plant(image)
        image.PixelData = pixels  # encapsulated: nothing can stand behind it
        images.append(image)
    write_all(images, folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study that says whose it is, and what a de-identifying batch leaves of it."""
    folder = tmp_path_factory.mktemp("deidentified")
    planted_sample("benign_unhealed", folder / "PLANTED^Jane")
    (folder / "PLANTED^Jane" / "PLANTED letter.txt").write_text("PLANTED")
    root = folder / "root"
    root.mkdir()
    (folder / "PLANTED^Jane").rename(root / "PLANTED^Jane")
    formats = "json,html,png,nii,sr,seg,sc,fhir"
    acuity(root, "--out", folder / "out", "--formats", formats, "--deidentify")
    return root, folder / "out"


def outputs(out: Path) -> list[Path]:
    """Everything that would be passed on."""
    return [
        path
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".batch" not in path.relative_to(out).parts
    ]


def old_uids(root: Path) -> set[str]:
    return {
        str(value)
        for path in root.rglob("*.dcm")
        for image in [dcmread(path, stop_before_pixels=True)]
        for value in (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
    }


def test_nothing_that_is_written_says_whose_it_is(exported: tuple[Path, Path]) -> None:
    root, out = exported
    written = outputs(out)
    names = {path.suffix for path in written}
    assert {".json", ".html", ".png", ".gz", ".dcm", ".csv", ".parquet"} <= names
    secrets = [MARK, MARK.title(), *DATES, *sorted(old_uids(root))]
    for path in written:
        data = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in data, (path.name, secret)
            assert secret not in str(path.relative_to(out))


def walked(dataset: Dataset) -> list[tuple[str, str]]:
    return [(element.VR, str(element.value)) for element in dataset.iterall()]


def test_results_refer_to_the_images_beside_them(exported: tuple[Path, Path]) -> None:
    _, out = exported
    (folder,) = [path for path in out.iterdir() if (path / "report.json").exists()]
    images = {str(dcmread(path).SOPInstanceUID) for path in (folder / "dicom").iterdir()}
    series = {str(dcmread(path).SeriesInstanceUID) for path in (folder / "dicom").iterdir()}
    report = json.loads((folder / "report.json").read_text())
    assert report["study"]["study_instance_uid"] == folder.name
    assert {one["series_instance_uid"] for one in report["series"]} <= series
    account = json.loads((folder / "deidentified.json").read_text())
    assert account["images"] == len(images) == 45
    frames = set()
    for name in ("sr.dcm", "seg.dcm", "kos.dcm"):
        written = dcmread(folder / name)
        assert written.StudyInstanceUID == folder.name
        assert written.PatientIdentityRemoved == "YES"
        assert written.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert written.PatientName == ""
        assert written.PatientID.startswith("ANON-")
        referenced = {
            value
            for element in written.iterall()
            if element.keyword == "ReferencedSOPInstanceUID"
            for value in [str(element.value)]
        }
        own = {str(dcmread(path).SOPInstanceUID) for path in folder.glob("*.dcm")}
        assert referenced & images or name == "kos.dcm"
        assert referenced <= images | own, name
        if "FrameOfReferenceUID" in written:
            frames.add(written.FrameOfReferenceUID)
    image = dcmread(next((folder / "dicom").iterdir()))
    assert frames == {image.FrameOfReferenceUID}
    assert not [value for vr, value in walked(image) if MARK in value]


def test_a_collection_in_one_zip_and_its_exit_codes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("healed", "benign_unhealed"):
            for path in sorted((SAMPLES / name / "dicom").rglob("*.dcm")):
                archive.write(path, f"{name}/{path.parent.name}-{path.name}")
    done = ran(tmp_path / "all.zip", "--out", tmp_path / "out", "--formats", "json")
    assert done.stdout.startswith("2 studies: 2 reported")
    # Not on a terminal: lines instead of a bar.
    progress = r"2 studies, 0 of them read before\n(.*\n)?2/2 studies, [\d.]+/min, 0 s left\n"
    assert re.fullmatch(progress, done.stderr), done.stderr
    with (tmp_path / "out" / RESULTS_CSV).open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "out" / STUDIES_CSV).open(newline="") as file:
        studies = list(csv.DictReader(file))
    assert len(rows) == sum(int(study["levels"]) for study in studies) > 10
    acuity(tmp_path / "all.zip", "--out", tmp_path / "out", code=2)  # other formats
    acuity(tmp_path / "out", "--out", tmp_path / "out", code=2)
    (tmp_path / "nothing").mkdir()
    told = acuity(tmp_path / "nothing", "--out", tmp_path / "none", code=3)
    assert told.startswith("0 studies")
    with open_workplace(tmp_path / "held"):
        acuity(tmp_path / "nothing", "--out", tmp_path / "held", code=1)
    acuity(tmp_path / "missing", "--out", tmp_path / "none", code=2)


def test_a_stop_by_the_system_leaves_what_the_same_command_goes_on_from(tmp_path: Path) -> None:
    write_studies(tmp_path / "root", 4)
    command = [*COMMAND, str(tmp_path / "root"), "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as batch:
        assert batch.stderr is not None
        assert batch.stderr.readline() == "4 studies, 0 of them read before\n"
        batch.send_signal(signal.SIGTERM)
        told = batch.stderr.read()
    assert batch.returncode == 1
    assert "interrupted" in told
    assert "the same command goes on" in told
    assert Page.of(tmp_path / "out").tiles["still waiting"] == "4"


def test_a_missing_bundle_is_said_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACUITY_SCORER_BUNDLE", "no-such-bundle")
    acuity(SAMPLES, "--out", tmp_path / "out", code=4)
    assert not (tmp_path / "out").exists()
