"""A result without identity: whatever is then written of it has none, and still fits together."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from pydicom.dataset import Dataset

from models.findings import StudyVolumes
from models.volume import Volume
from service.deidentify.profile import Profile
from service.ingest.headers import quiet_pydicom
from service.ingest.records import Ingested, RefusedFile
from service.report.document import FilesReport, RefusedFileReport, StudyReference, StudyReport
from service.report.result import StudyResult


def deidentified(result: StudyResult, profile: Profile) -> StudyResult:
    """Replace every identifier of a result, in its report and in what its writers draw from.

    Names of files go too: they often hold a patient's name. A report's text, evidence and reasons
    hold none to begin with.
    """
    names = {
        file.file: f"file-{number:04d}"
        for number, file in enumerate(result.ingested.refused_files, start=1)
    }
    return replace(
        result,
        report=_report(result.report, profile, names),
        ingested=_ingested(result.ingested, profile, names),
    )


def _report(report: StudyReport, profile: Profile, names: dict[str, str]) -> StudyReport:
    new = profile.identities.uid
    reference = report.reference_series_uid
    refused = tuple(
        RefusedFileReport(file=names[file.file], code=file.code, reason=file.reason)
        for file in report.files.refused
    )
    return report.model_copy(
        update={
            "study": StudyReference(study_instance_uid=new(report.study.study_instance_uid)),
            "series": tuple(
                each.model_copy(update={"series_instance_uid": new(each.series_instance_uid)})
                for each in report.series
            ),
            "files": FilesReport(used=report.files.used, refused=refused),
            "reference_series_uid": None if reference is None else new(reference),
        }
    )


def _ingested(ingested: Ingested, profile: Profile, names: dict[str, str]) -> Ingested:
    new = profile.identities.uid
    return replace(
        ingested,
        study_instance_uid=new(ingested.study_instance_uid),
        series=tuple(
            replace(each, series_instance_uid=new(each.series_instance_uid))
            for each in ingested.series
        ),
        refused_files=tuple(
            RefusedFile(names[each.file], each.refusal) for each in ingested.refused_files
        ),
        volumes=None if ingested.volumes is None else _volumes(ingested.volumes, profile),
        headers={new(uid): _header(header, profile) for uid, header in ingested.headers.items()},
    )


def _volumes(volumes: StudyVolumes, profile: Profile) -> StudyVolumes:
    # The reference is one of them and stays the same object.
    by_role = {role: (volume, _volume(volume, profile)) for role, volume in volumes.by_role.items()}
    reference = next(
        (new for old, new in by_role.values() if old is volumes.reference),
        None,
    )
    return StudyVolumes(
        reference or _volume(volumes.reference, profile),
        {role: new for role, (_, new) in by_role.items()},
    )


def _volume(volume: Volume, profile: Profile) -> Volume:
    new = profile.identities.uid
    return replace(
        volume,
        series_instance_uid=new(volume.series_instance_uid),
        frame_of_reference_uid=new(volume.frame_of_reference_uid),
        sop_instance_uids=tuple(new(uid) for uid in volume.sop_instance_uids),
    )


def _header(header: Dataset, profile: Profile) -> Dataset:
    header = deepcopy(header)
    with quiet_pydicom():
        profile.apply(header)
    return header
