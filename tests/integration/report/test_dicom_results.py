"""DICOM and FHIR results, judged by programs that share no code with ours.

The scene of `test_pipeline_identity` (boxes of different size in an oblique stack, files shuffled)
goes through the pipeline; what is written is read back by dcmtk, dicom3tools, GDCM (in SimpleITK),
highdicom and fhir.resources.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import highdicom as hd
import numpy as np
import pytest
import SimpleITK
from fhir.resources.bundle import Bundle
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from models.findings import (
    Acuity,
    AcuityFinding,
    Call,
    Edema,
    Etiology,
    EtiologyFinding,
    Fracture,
    LevelFindings,
    LevelName,
    Localisation,
    Scores,
    Shape,
    StudyVolumes,
)
from service.jobs.reviewing import review_on
from service.jobs.reviews import keep_review
from service.jobs.work import Filing
from service.pacs.senders import StowSender
from service.pipeline import Clock, Stages, reader, report_on
from service.report.dicom.identity import content_key
from service.report.dicom.objects import to_bytes
from service.report.dicom.rejected import objects_in
from service.report.dicom.rejection import rejection_note
from service.report.dicom.sources import study_of
from service.report.findings_file import FINDINGS, read_npz, to_npz
from service.report.outputs import Format, write_outputs
from service.report.result import StudyResult
from service.report.review import ReviewRecord
from service.report.verified import verified
from service.report.written import Written
from service.settings import Settings, StowTarget
from tests.builders import (
    STIR,
    classic_stack,
    enhanced_instance,
    legacy_converted,
    write_all,
)
from tests.integration.pacs.peers import orthanc
from tests.integration.pacs.peers import run as run_peer
from tests.integration.test_pipeline_identity import (
    BOXES,
    given_centre,
    grid_of,
    scene,
    thresholded,
)

WRITTEN = Written(datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))
OBJECTS = frozenset({Format.SR, Format.SEG, Format.SC, Format.FHIR})
FRAME = "rows to the back 1-1"
PLACED_MM = 0.05


def tool(*command: object) -> subprocess.CompletedProcess[str]:
    name = str(command[0])
    if shutil.which(name) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing")
        pytest.skip(f"{name} is not here: these objects are NOT checked by it")
    return subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True
    )


def judged(_study: StudyVolumes, localisation: Localisation) -> Scores:
    """L1 has an unhealed fracture and edema in the upper half of its box; L2 is not named."""
    bodies = []
    for vertebra in localisation.vertebrae:
        sick = vertebra.level == "L1"
        call = Call.PRESENT if sick else Call.ABSENT
        bodies.append(
            LevelFindings(
                vertebra,
                Edema(0.91 if sick else 0.02, call, 0.5 if sick else 0.0, ("t1_missing",)),
                Fracture(0.8, call, 21.3, 1 if sick else 0, Shape.WEDGE if sick else Shape.NONE),
                AcuityFinding(Acuity.UNHEALED if sick else Acuity.NO_FRACTURE, 0.88),
                EtiologyFinding(Etiology.INDETERMINATE, 0.4, (Etiology.BENIGN,), ()),
            )
        )
    edema = np.where(localisation.labels > 0, 0.9, 0.0).astype(np.float32)
    return Scores(tuple(bodies), edema, edema_threshold=0.65)


def renamed(study: StudyVolumes) -> Localisation:
    """As thresholded, with a body that has no name and one with a level that has no code."""
    found = thresholded(study)
    names = {"T12": LevelName("T13", 0.7), "L1": LevelName("L1", 0.9), "L2": None}
    bodies = tuple(
        replace(body, name=names[body.level or ""], alternatives=(LevelName("T11", 0.2),))
        for body in found.vertebrae
    )
    return replace(found, vertebrae=bodies)


def run(stack: Sequence[FileDataset], folder: Path) -> StudyResult:
    # A patient whose attributes every object must repeat.
    for dataset in stack:
        dataset.PatientBirthDate, dataset.PatientSex = "19440302", "F"
        dataset.StudyDate, dataset.StudyTime = "20260503", "101112"
        dataset.StudyID, dataset.AccessionNumber = "7", "A-77"
        dataset.StudyDescription = "MR spine"
        dataset.ReferringPhysicianName = "Sender^Dr"
    order = np.random.default_rng(5).permutation(len(stack))
    write_all([stack[index] for index in order], folder / "dicom")
    stages = Stages(reader(Settings(work_dir=folder / "work")), renamed, judged)
    return report_on(folder / "dicom", stages, Clock())


def without(dataset: FileDataset, keyword: str) -> FileDataset:
    delattr(dataset, keyword)
    return dataset


STACKS = {
    "classic": lambda grid: classic_stack(scene(), grid, STIR),
    "slice missing": lambda grid: [
        one for index, one in enumerate(classic_stack(scene(), grid, STIR)) if index != 5
    ],
    "no thickness": lambda grid: [
        without(one, "SliceThickness") for one in classic_stack(scene(), grid, STIR)
    ],
    "enhanced": lambda grid: [enhanced_instance(scene(), grid)],
    "legacy converted": lambda grid: [legacy_converted(classic_stack(scene(), grid, STIR))],
}


@pytest.fixture(scope="module", params=list(STACKS))
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyResult, Path]:
    folder = tmp_path_factory.mktemp("results")
    result = run(STACKS[request.param](grid_of(FRAME)), folder)
    write_outputs(result, folder / "out", OBJECTS, WRITTEN)
    return result, folder / "out"


def objects(out: Path) -> list[Path]:
    return sorted(out.glob("*.dcm"))


def test_every_object_is_written(results: tuple[StudyResult, Path]) -> None:
    _, out = results
    names = {path.name for path in out.iterdir()}
    assert names == {"sr.dcm", "seg.dcm", "sc-1.dcm", "sc-2.dcm", "kos.dcm", "fhir.json"}


def test_dciodvfy_finds_no_error(results: tuple[StudyResult, Path]) -> None:
    for path in objects(results[1]):
        checked = tool("dciodvfy", "-new", path)
        assert checked.returncode == 0, (path.name, checked.stderr)
        assert "Error" not in checked.stderr, (path.name, checked.stderr)


# dcentvfy has its own opinion of which entity the accession number of an SR belongs to: it takes
# the standard's Study attribute for one of the series' request. Values are equal all the same.
ENTITY_QUARREL = re.compile(r"Different information entities .*<AccessionNumber>")


def test_dcentvfy_finds_the_objects_of_one_study_consistent(
    results: tuple[StudyResult, Path],
) -> None:
    assert quarrels(objects(results[1])) == []


def quarrels(paths: Sequence[Path]) -> list[str]:
    """What dcentvfy finds inconsistent between objects."""
    checked = tool("dcentvfy", *paths)
    said = (checked.stdout + checked.stderr).splitlines()
    return [line for line in said if line.strip() and not ENTITY_QUARREL.search(line)]


def test_they_carry_the_studys_own_attributes(results: tuple[StudyResult, Path]) -> None:
    for path in objects(results[1]):
        dataset = dcmread(path)
        assert str(dataset.PatientName) == "Built^Patient"
        assert (dataset.PatientID, dataset.PatientSex) == ("BUILT", "F")
        assert (dataset.AccessionNumber, dataset.StudyDescription) == ("A-77", "MR spine")
        assert dataset.StudyInstanceUID == results[0].report.study.study_instance_uid
        equipment = dataset.ContributingEquipmentSequence[0]
        assert equipment.DeviceUID
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def frames_by_dcmtk(path: Path) -> tuple[dict[int, str], list[tuple[int, Any]], Any]:
    """Segment labels, (segment, position) of every frame, and the shared groups, by dcmtk."""
    document = json.loads(tool("dcm2json", path).stdout)
    labels = {
        item["00620004"]["Value"][0]: item["00620005"]["Value"][0]
        for item in document["00620002"]["Value"]
    }
    frames = [
        (
            item["0062000A"]["Value"][0]["0062000B"]["Value"][0],
            np.array(item["00209113"]["Value"][0]["00200032"]["Value"], float),
        )
        for item in document["52009230"]["Value"]
    ]
    return labels, frames, document["52009229"]["Value"][0]


def centre_of(path: Path, label: str) -> NDArray[np.float64]:
    """LPS mm of a segment's centre: pixels by GDCM, places by dcmtk, the DICOM equation here."""
    labels, frames, shared = frames_by_dcmtk(path)
    pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) > 0
    row, column = np.reshape(
        np.array(shared["00209116"]["Value"][0]["00200037"]["Value"], float), (2, 3)
    )
    spacing = shared["00289110"]["Value"][0]["00280030"]["Value"]
    points = []
    for plane, (number, position) in zip(pixels, frames, strict=True):
        if labels[number] != label:
            continue
        for at_row, at_column in np.argwhere(plane):
            points.append(position + column * spacing[0] * at_row + row * spacing[1] * at_column)
    return np.mean(points, axis=0)


@pytest.mark.parametrize(("level", "label"), [("T12", "T13"), ("L1", "L1"), ("L2", "Body 101")])
def test_segments_lie_on_the_anatomy(
    results: tuple[StudyResult, Path], level: str, label: str
) -> None:
    result, out = results
    grid = grid_of(FRAME)
    expected = given_centre(grid, level)
    assert result.ingested.volumes is not None
    if "" in result.ingested.volumes.reference.sop_instance_uids:
        # A slice that was not there has no frame: the centre of the slices that were.
        kept = [place for place in range(*BOXES[level][0].indices(99)) if place != 5]
        step = np.array(grid.position(1)) - np.array(grid.position(0))
        middle = (BOXES[level][0].start + BOXES[level][0].stop - 1) / 2
        expected = expected + step * (np.mean(kept) - middle)
    assert np.linalg.norm(centre_of(out / "seg.dcm", label) - expected) < PLACED_MM


def test_edema_is_a_segment_of_the_body_that_is_called(results: tuple[StudyResult, Path]) -> None:
    path = results[1] / "seg.dcm"
    assert centre_of(path, "Marrow edema") == pytest.approx(centre_of(path, "L1"))


def test_highdicom_reads_segments_and_groups_that_name_each_other(
    results: tuple[StudyResult, Path],
) -> None:
    _, out = results
    segments = hd.seg.segread(out / "seg.dcm")
    report = hd.sr.srread(out / "sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    by_uid = {
        str(segments.get_segment_description(number).tracking_uid): number
        for number in segments.segment_numbers
    }
    # one for each body, and one for the edema, which is a segment of its own
    assert len(groups) == len(BOXES) + 1 == len(by_uid)
    for group in groups:
        referenced = group.referenced_segment
        assert referenced.referenced_sop_instance_uid == segments.SOPInstanceUID
        assert [by_uid[str(group.tracking_uid)]] == list(referenced.referenced_segment_numbers)


def test_whatever_the_report_refers_to_is_among_its_evidence(
    results: tuple[StudyResult, Path],
) -> None:
    report = dcmread(results[1] / "sr.dcm")

    def named(items: Sequence[Dataset]) -> set[str]:
        return {
            str(element.value)
            for item in items
            for element in item.iterall()
            if element.keyword == "ReferencedSOPInstanceUID"
        }

    referred = named(report.ContentSequence)
    assert referred
    assert referred <= named(report.CurrentRequestedProcedureEvidenceSequence)


def test_dcmtk_shows_the_report(results: tuple[StudyResult, Path]) -> None:
    shown = tool("dsrdump", results[1] / "sr.dcm")
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout
    assert "UNVERIFIED" in text
    assert '"Compression fracture of vertebral column")=(52101004,SCT,"Present")' in text
    assert '"Unhealed: fracture with marrow edema"' in text
    assert '"Body 101"' in text
    assert "268029009" not in text  # in SNOMED CT an osteoporotic fracture is pathological, too
    assert text.count('"Vertebral height loss")="21.3"') == len(BOXES)


def test_key_objects_point_at_the_pictures(results: tuple[StudyResult, Path]) -> None:
    _, out = results
    pictures = [dcmread(path) for path in sorted(out.glob("sc-*.dcm"))]
    selection = dcmread(out / "kos.dcm")
    named = re.findall(r"2\.25\.\d+", str(selection.ContentSequence))
    assert {picture.SOPInstanceUID for picture in pictures} <= set(named)
    for picture in pictures:
        assert picture.pixel_array.shape == (picture.Rows, picture.Columns, 3)
        assert picture.pixel_array.std() > 5


def test_fhir_is_valid_and_says_what_the_report_says(results: tuple[StudyResult, Path]) -> None:
    result, out = results
    document = json.loads((out / "fhir.json").read_bytes())
    bundle = Bundle.model_validate(document)
    resources = [entry["resource"] for entry in document["entry"]]
    assert len({resource["id"] for resource in resources}) == len(bundle.entry)
    known = {f"urn:uuid:{resource['id']}" for resource in resources}
    assert set(re.findall(r'"reference": "([^"]+)"', json.dumps(document))) <= known
    report = resources[0]
    assert (report["resourceType"], report["status"]) == ("DiagnosticReport", "preliminary")
    assert len(report["result"]) == len(result.report.levels)
    fractured = [
        one
        for one in resources
        if one.get("code", {}).get("coding", [{}])[0].get("code") == "42942008"
        and one["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
    ]
    assert [one["bodySite"]["text"] for one in fractured] == ["L1"]


def test_equal_results_give_equal_bytes(results: tuple[StudyResult, Path], tmp_path: Path) -> None:
    result, out = results
    write_outputs(result, tmp_path, OBJECTS, WRITTEN)
    for path in sorted(out.iterdir()):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def reviewed(result: StudyResult, folder: Path, **said: object) -> StudyResult:
    """The result with a reader's word, from what is kept on disk of it."""
    assert result.localisation is not None
    assert result.scores is not None
    folder.mkdir(exist_ok=True)
    (folder / FINDINGS).write_bytes(to_npz(result.localisation, result.scores))
    record = word(result, **said)
    return verified(result.ingested, read_npz(folder / FINDINGS), result.report, record)


def word(result: StudyResult, **said: object) -> ReviewRecord:
    return ReviewRecord.model_validate(
        {
            "reader": {"name": "Reader^Anna", "organization": "Site"},
            "report": "b" * 32,
            "review_id": "a" * 32,
            "job_id": "b" * 32,
            "study_instance_uid": result.report.study.study_instance_uid,
            "reviewed_at": WRITTEN.created,
            **said,
        }
    )


def by_the_reader(result: StudyResult) -> Written:
    return replace(
        WRITTEN,
        verified_by="Reader^Anna",
        verifying_organization="Site",
        supersedes=content_key(result.report, result.ingested.headers),
    )


@pytest.fixture(scope="module")
def preliminary(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyResult, Path]:
    folder = tmp_path_factory.mktemp("preliminary")
    result = run(classic_stack(scene(), grid_of(FRAME), STIR), folder)
    write_outputs(result, folder / "out", OBJECTS, WRITTEN)
    return result, folder / "out"


def test_a_verified_report_supersedes_and_names_its_reader(
    preliminary: tuple[StudyResult, Path], tmp_path: Path
) -> None:
    result, first = preliminary
    corrections = [{"label_value": 20, "level": "L2", "edema": "absent"}]
    after = reviewed(result, tmp_path, levels=corrections, comment="Counted from C2.")
    out = tmp_path / "second"
    write_outputs(after, out, OBJECTS, by_the_reader(result))
    old, new = dcmread(first / "sr.dcm"), dcmread(out / "sr.dcm")
    assert new.SOPInstanceUID != old.SOPInstanceUID
    assert (new.VerificationFlag, new.CompletionFlag) == ("VERIFIED", "COMPLETE")
    assert str(new.VerifyingObserverSequence[0].VerifyingObserverName) == "Reader^Anna"
    assert new.VerifyingObserverSequence[0].VerifyingOrganization == "Site"
    reference = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
    shown = tool("dsrdump", "+Pl", out / "sr.dcm").stdout
    assert "Corrected by the reader: L2, edema.call is absent, was present." in shown
    assert "The reader's comment: Counted from C2." in shown
    assert '"Healed: fracture without marrow edema"' in shown
    labels, _, _ = frames_by_dcmtk(out / "seg.dcm")
    assert list(labels.values()) == ["L1", "L2", "L3"]  # and no edema any more
    document = json.loads((out / "fhir.json").read_bytes())
    Bundle.model_validate(document)
    assert {
        entry["resource"]["status"]
        for entry in document["entry"]
        if entry["resource"]["resourceType"] in {"DiagnosticReport", "Observation"}
    } == {"final"}
    for path in objects(out):
        checked = tool("dciodvfy", "-new", path)
        assert checked.returncode == 0, (path.name, checked.stderr)
    # The archive holds both reports of the study.
    assert quarrels([*objects(first), *objects(out)]) == []


def test_a_rejected_report_withdraws_its_findings(
    preliminary: tuple[StudyResult, Path], tmp_path: Path
) -> None:
    result, first = preliminary
    out = tmp_path / "second"
    after = reviewed(result, tmp_path, decision="reject")
    write_outputs(after, out, OBJECTS, by_the_reader(result))
    assert [path.name for path in objects(out)] == ["sr.dcm"]
    shown = tool("dsrdump", "+Pl", out / "sr.dcm").stdout
    assert "Machine reading rejected by the reader" in shown
    assert "Compression fracture" not in shown
    assert tool("dciodvfy", "-new", out / "sr.dcm").returncode == 0
    assert quarrels([*objects(first), out / "sr.dcm"]) == []
    document = json.loads((out / "fhir.json").read_bytes())
    Bundle.model_validate(document)
    assert document["entry"][0]["resource"]["status"] == "entered-in-error"


def test_a_rejection_note_names_every_object_of_the_rejected_report(
    preliminary: tuple[StudyResult, Path], tmp_path: Path
) -> None:
    result, first = preliminary
    after = reviewed(result, tmp_path, decision="reject")
    out = tmp_path / "second"
    write_outputs(after, out, OBJECTS, by_the_reader(result))
    note = noted(after, first)
    (out / "rejection.dcm").write_bytes(to_bytes(note))
    assert to_bytes(noted(after, first)) == to_bytes(note)
    assert (note.SOPClassUID, note.Modality) == (KeyObjectSelectionDocumentStorage, "KO")
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == (
        "113001", "DCM", "Rejected for Quality Reasons",
    )  # fmt: skip
    rejected = {dcmread(path).SOPInstanceUID for path in objects(first)}
    assert {
        one.ReferencedSOPInstanceUID
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    } == rejected
    shown = tool("dsrdump", "+Pl", out / "rejection.dcm").stdout
    assert "Rejected for Quality Reasons" in shown
    assert "Reader^Anna" in shown
    checked = tool("dciodvfy", "-new", out / "rejection.dcm")
    assert checked.returncode == 0, checked.stderr
    assert quarrels([*objects(first), *objects(out)]) == []


def test_an_archive_takes_a_rejection_note(
    preliminary: tuple[StudyResult, Path], tmp_path: Path
) -> None:
    result, first = preliminary
    after = reviewed(result, tmp_path, decision="reject")
    note = noted(after, first)
    path = tmp_path / "rejection.dcm"
    path.write_bytes(to_bytes(note))
    with orthanc(tmp_path / "archive", ("DicomWeb",)) as archive:
        sender = StowSender(StowTarget(kind="stow", url=archive.dicom_web))
        for number in (1, 2):  # a delivery that was cut off is done over
            sender.send(f"{number}", [*objects(first), path], b"")
        asked = {"ModalitiesInStudy": "KO", "StudyInstanceUID": note.StudyInstanceUID}
        [study] = archive.get("/dicom-web/studies?" + urlencode(asked))
        assert study["0020000D"]["Value"] == [note.StudyInstanceUID]
        said = run_peer(
            "findscu", "-aet", "M", "-aec", "ORTHANC", "-S", "-k", "QueryRetrieveLevel=IMAGE",
            "-k", f"StudyInstanceUID={note.StudyInstanceUID}",
            "-k", f"SeriesInstanceUID={note.SeriesInstanceUID}", "-k", "SOPInstanceUID",
            "127.0.0.1", archive.dicom_port,
        )  # fmt: skip
        assert note.SOPInstanceUID in said


def test_a_rejection_covers_all_that_stood_before(tmp_path: Path) -> None:
    """The machine's report, a reader's corrected one, and a second reader who rejects both."""
    result = run(classic_stack(scene(), grid_of(FRAME), STIR), tmp_path)
    stages = Stages(reader(Settings(work_dir=tmp_path / "work")), renamed, judged)
    machine, corrected, rejecting = ("a" * 32, "b" * 32, "c" * 32)
    first = tmp_path / "studies" / machine
    write_outputs(result, first, OBJECTS | {Format.JSON}, WRITTEN, reviewable=True)

    def review_as(review_id: str, job_id: str, **said: object) -> Path:
        record = word(result, report=job_id, job_id=job_id, review_id=review_id, **said)
        out, read = tmp_path / "studies" / review_id, tmp_path / "studies" / job_id
        folder = keep_review(tmp_path, record, tmp_path / "dicom", read)
        out.mkdir()
        filing = Filing(WRITTEN.created, tmp_path / "current", review_id)
        review_on(folder, out, stages, lambda _stage: None, filing)
        return out

    second = review_as(corrected, machine, levels=[{"label_value": 20, "level": "L2"}])
    assert not (second / "rejection.dcm").exists()
    third = review_as(rejecting, corrected, decision="reject")
    note = dcmread(third / "rejection.dcm")
    assert {
        one.ReferencedSOPInstanceUID
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    } == {dcmread(path).SOPInstanceUID for path in (*objects(first), *objects(second))}
    assert [path.name for path in objects(third)] == ["rejection.dcm", "sr.dcm"]
    assert quarrels([*objects(first), *objects(second), *objects(third)]) == []


def noted(after: StudyResult, first: Path) -> Dataset:
    """The note of a rejecting report over the objects of the first."""
    key = content_key(after.report, after.ingested.headers)
    written = replace(WRITTEN, verified_by="Reader^Anna", verifying_organization="Site")
    return rejection_note(objects_in(first), study_of(after), key, written)


def test_our_own_objects_are_refused_when_they_come_back(
    results: tuple[StudyResult, Path], tmp_path: Path
) -> None:
    _, out = results
    stages = Stages(reader(Settings(work_dir=tmp_path)), renamed, judged)
    report = report_on(out, stages, Clock()).report
    refused = {one.file: one.code for one in report.files.refused}
    for path in objects(out):
        assert refused[path.name] == "own_object"


def test_names_of_people_are_written_as_they_are_read(tmp_path: Path) -> None:
    """A patient's name in another script reaches every object unharmed."""
    stack = classic_stack(scene(), grid_of(FRAME), STIR)
    for dataset in stack:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName = "Müller^Jürgen"
    result = run(stack, tmp_path)
    paths = write_outputs(result, tmp_path / "out", {Format.SR, Format.SEG}, WRITTEN)
    for path in paths:
        assert str(dcmread(path).PatientName) == "Müller^Jürgen"
