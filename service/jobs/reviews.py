"""Reviews on disk: each a folder with all that its report is written from, kept for retraining.

    <work dir>/reviews/<review id>/
        review.json       what the reader said
        study/            the images: DICOM files, or one zip archive
        machine.json      the report that was read
        findings.npz      what that report was written from
        objects.json      of a rejection: the DICOM objects that it rejects
        report.json       the verified report, once it is made
        vertebrae.nii.gz  and edema.nii.gz: its maps

A folder appears whole; no retention removes it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from models.durable import write_durably
from models.errors import AcuityError
from service.ingest.safety import is_zip
from service.report.corrections import corrected
from service.report.dicom.rejected import RejectedObject, objects_in
from service.report.findings_file import FINDINGS, read_npz
from service.report.review import Decision, Review, ReviewRecord

REVIEWS: Final = "reviews"
REVIEW: Final = "review.json"
STUDY: Final = "study"
MACHINE: Final = "machine.json"
REPORT: Final = "report.json"
OBJECTS: Final = "objects.json"
MAPS: Final = ("vertebrae.nii.gz", "edema.nii.gz")


_OBJECTS: Final = TypeAdapter(tuple[RejectedObject, ...])


class ImagesGoneError(AcuityError):
    """The images of a study are not kept any more."""

    code = "images_gone"


class ReportSupersededError(AcuityError):
    """Another report of the study stands than the one that was read."""

    code = "report_superseded"


@dataclass(frozen=True, slots=True)
class KeptReview:
    """A review whose report was made.

    Attributes:
        document: What the reader said.
        folder: Of all that follows.
        study: Folder of the images: DICOM files, or one zip archive.
        machine_report: The report that was read.
        report: The verified report.
        vertebrae: Label map under the corrected names; None of a rejected report.
        edema: Probability map; None of a rejected report and without a fluid-sensitive series.
    """

    document: ReviewRecord
    folder: Path
    study: Path
    machine_report: Path
    report: Path
    vertebrae: Path | None
    edema: Path | None


def list_reviews(work_dir: Path) -> tuple[KeptReview, ...]:
    """Reviews whose report was made, oldest first; of a chain the last one only."""
    kept = [
        KeptReview(
            document=record,
            folder=folder,
            study=folder / STUDY,
            machine_report=folder / MACHINE,
            report=folder / REPORT,
            vertebrae=_existing(folder / MAPS[0]),
            edema=_existing(folder / MAPS[1]),
        )
        for folder, record in _records(work_dir)
        if (folder / REPORT).is_file()
    ]
    reviewed_again = {one.document.job_id for one in kept}
    return tuple(one for one in kept if one.document.review_id not in reviewed_again)


def review_records(work_dir: Path) -> tuple[ReviewRecord, ...]:
    """What readers said, oldest first."""
    return tuple(record for _, record in _records(work_dir))


def _records(work_dir: Path) -> list[tuple[Path, ReviewRecord]]:
    found = []
    for path in (work_dir / REVIEWS).glob(f"*/{REVIEW}"):
        try:
            record = ReviewRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue  # being removed, or of another version
        if not path.parent.name.startswith("."):
            found.append((path.parent, record))
    return sorted(found, key=lambda one: (one[1].reviewed_at, one[1].review_id))


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _existing_folder(path: Path) -> Path | None:
    return path if path.is_dir() else None


def review_id_of(job_id: str, review: Review) -> str:
    """Id of the job that writes a review's report: 32 hex digits over all that it rests on."""
    said = review.model_dump_json(exclude={"report"})
    return hashlib.sha256(f"{job_id}\n{said}".encode()).hexdigest()[:32]


def is_review(source: Path, current: Path | None) -> bool:
    """Whether a job's source is a review's folder.

    Args:
        source: Of a job; nothing from outside chooses it.
        current: Where the reports that stand are noted, beside the folder of reviews.
    """
    return current is not None and source.parent == current.with_name(REVIEWS)


def check_review(results: Path, review: Review) -> None:
    """See that a review can be applied, before it is taken.

    Args:
        results: Of the job whose report was read.
        review: Of that report.

    Raises:
        ReviewError: It contradicts itself or the report.
        FindingsError: The report was written by another version.
    """
    corrected(read_npz(results / FINDINGS)[1].levels, review)


def reviewed_study(work_dir: Path, review_id: str) -> Path | None:
    """Folder of the images that a review keeps, or None."""
    return _existing_folder(work_dir / REVIEWS / review_id / STUDY)


def forget_reviews(work_dir: Path, study_instance_uid: str) -> None:
    """Remove what is kept of the reviews of a study."""
    for folder, record in _records(work_dir):
        if record.study_instance_uid == study_instance_uid:
            shutil.rmtree(folder, ignore_errors=True)


def keep_review(work_dir: Path, record: ReviewRecord, study: Path, results: Path) -> Path:
    """Make a review's folder; one that is there already is of the same review.

    Args:
        work_dir: Of the service.
        record: Of a review that was found valid.
        study: Folder or archive of the images.
        results: Of the job whose report was read.
    """
    folder = work_dir / REVIEWS / record.review_id
    if folder.is_dir():
        return folder
    draft = folder.with_name(f".{record.review_id}.{uuid4().hex}.part")
    try:
        (draft / STUDY).mkdir(parents=True)
        for path, name in _files(study):
            target = draft / STUDY / name
            target.parent.mkdir(parents=True, exist_ok=True)
            link(path, target)
        shutil.copyfile(results / REPORT, draft / MACHINE)
        link(results / FINDINGS, draft / FINDINGS)
        if record.decision is Decision.REJECT:
            rejected = _rejected_objects(work_dir, record.job_id, results)
            write_durably(draft / OBJECTS, _OBJECTS.dump_json(rejected))
        write_durably(draft / REVIEW, record.model_dump_json(indent=1).encode())
        try:
            draft.rename(folder)
        except OSError:  # another request of the same moment was first
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _rejected_objects(work_dir: Path, job_id: str, results: Path) -> tuple[RejectedObject, ...]:
    """The objects of a report, and of those whose place it has taken by readers' words."""
    found = list(objects_in(results))
    while (path := work_dir / REVIEWS / job_id / REVIEW).is_file():
        job_id = ReviewRecord.model_validate_json(path.read_bytes()).job_id
        found += objects_in(results.with_name(job_id))
    return tuple(found)


def rejected_objects(folder: Path) -> tuple[RejectedObject, ...]:
    """What a rejection rejects; none where the report had no DICOM objects.

    Args:
        folder: Of a review.
    """
    try:
        return _OBJECTS.validate_json((folder / OBJECTS).read_bytes())
    except FileNotFoundError:  # taken by a version that did not note them
        return ()


def complete_review(folder: Path, results: Path) -> None:
    """Add the report that was made, and its maps, to a review's folder."""
    for name in (*MAPS, REPORT):  # the report last: it says that the review is complete
        if (results / name).is_file():
            (folder / name).unlink(missing_ok=True)
            link(results / name, folder / name)


def study_source(folder: Path) -> Path:
    """What the pipeline reads of a folder of images: the folder, or the one archive in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if len(files) == 1:
        with files[0].open("rb") as file:
            if is_zip(file.read(4)):
                return files[0]
    return folder


def _files(study: Path) -> Iterator[tuple[Path, Path]]:
    """Files of a study, each with its path inside it."""
    if study.is_file():
        yield study, Path(study.name)
        return
    for path in sorted(study.rglob("*")):
        if path.is_file():
            yield path, path.relative_to(study)


def link(source: Path, target: Path) -> None:
    """Give a file that is never written to again a second name, or a copy on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
