"""DICOM studies under a folder, found by content, and what a manifest says of them."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset

from service.ingest.decode import PixelDecoder
from service.ingest.inventory import take_inventory
from service.ingest.records import InstanceRecord
from service.ingest.safety import Limits
from service.ingest.source_headers import source_headers
from training.datasets.adapted import Adapted
from training.datasets.digests import pixel_digest, study_digest

ARCHIVE_LIMITS: Final = replace(Limits(), files=5_000_000, total_bytes=1 << 50)
"""A data set is the site's own and larger than a study; each file keeps a study's limits."""

_UNITS_IN_A_YEAR: Final = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
"""Of Age String (PS3.5 6.2)."""


@dataclass(frozen=True, slots=True)
class DicomStudy:
    """One study of a data set.

    Attributes:
        study_instance_uid: Of the study.
        folder: The smallest folder with all of its files, and with no other study's; or the
            archive that holds it.
        series: Series Instance UID to its instances.
        patient_id: As in the header, "" when absent; goes nowhere but into a keyed hash.
        sex, age_years: As in the header, None where absent.
    """

    study_instance_uid: str
    folder: Path
    series: Mapping[str, tuple[InstanceRecord, ...]]
    patient_id: str = field(repr=False)
    sex: str | None
    age_years: float | None

    @property
    def records(self) -> tuple[InstanceRecord, ...]:
        """Every instance."""
        return tuple(record for records in self.series.values() for record in records)


@dataclass(slots=True)
class Studies:
    """Studies by UID, with a decoder for their digests, each of which is made once."""

    by_uid: Mapping[str, DicomStudy]
    decoder: PixelDecoder
    _files: dict[str, str] = field(default_factory=dict)
    _pixels: dict[tuple[str, str], str] = field(default_factory=dict)

    def columns(self, study: DicomStudy, series_instance_uid: str) -> dict[str, Any]:
        """Columns of the manifest that say which study it is and what it holds.

        Args:
            study: One of `by_uid`.
            series_instance_uid: A series of it, or "" for the whole study.
        """
        uid = study.study_instance_uid
        if uid not in self._files:
            self._files[uid] = study_digest(study.folder)
        key = (uid, series_instance_uid)
        if key not in self._pixels:
            records = study.series.get(series_instance_uid, study.records)
            self._pixels[key] = pixel_digest(records, self.decoder)
        return {
            "study_instance_uid": uid,
            "series_instance_uid": series_instance_uid,
            "study_path": str(study.folder),
            "study_sha256": self._files[uid],
            "pixel_sha256": self._pixels[key],
            "sex": study.sex,
            "age_years": study.age_years,
        }


@contextmanager
def open_studies(root: Path, adapted: Adapted) -> Iterator[Studies]:
    """Find the studies under a folder, whatever its layout.

    Args:
        root: Searched with all folders in it; or one archive with one study.
        adapted: Told of folders that hold files of several studies, which are left out: a manifest
            points at one folder a study. Files that are no MR images are not its matter.
    """
    with tempfile.TemporaryDirectory(prefix="acuity-datasets-") as workspace:
        inventory = take_inventory(root.resolve(), ARCHIVE_LIMITS, Path(workspace))
        by_study: dict[str, list[InstanceRecord]] = defaultdict(list)
        for record in inventory.records:
            by_study[record.study_instance_uid].append(record)
        folders = {uid: _common_folder(records, root) for uid, records in by_study.items()}
        found = {}
        for uid, records in by_study.items():
            if _shared(folders[uid], uid, folders):
                adapted.skip(folders[uid].relative_to(root.resolve()), "several_studies_in_folder")
            else:
                found[uid] = _study(uid, folders[uid], records)
        with PixelDecoder(ARCHIVE_LIMITS) as decoder:
            yield Studies(found, decoder)


def _common_folder(records: Sequence[InstanceRecord], root: Path) -> Path:
    if root.is_file():
        return root.resolve()
    parents = {(root.resolve() / record.file).parent for record in records}
    return Path(os.path.commonpath(sorted(parents)))


def _shared(folder: Path, uid: str, folders: Mapping[str, Path]) -> bool:
    return any(
        place.is_relative_to(folder) or folder.is_relative_to(place)
        for other, place in folders.items()
        if other != uid
    )


def _study(uid: str, folder: Path, records: Sequence[InstanceRecord]) -> DicomStudy:
    series: dict[str, list[InstanceRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda one: one.file):
        series[record.series_instance_uid].append(record)
    header = next(iter(source_headers(records[:1], ARCHIVE_LIMITS).values()), Dataset())
    sex = str(header.get("PatientSex", "")).strip().upper()
    return DicomStudy(
        study_instance_uid=uid,
        folder=folder,
        series={name: tuple(instances) for name, instances in series.items()},
        patient_id=str(header.get("PatientID", "")).strip(),
        sex=sex if sex in ("F", "M", "O") else None,
        age_years=_years(str(header.get("PatientAge", ""))),
    )


def _years(age: str) -> float | None:
    """Years of an Age String such as 064Y, None where it is none (PS3.5 6.2, VR AS)."""
    if len(age) != 4 or not age[:3].isdecimal() or age[3] not in _UNITS_IN_A_YEAR:
        return None
    return round(int(age[:3]) / _UNITS_IN_A_YEAR[age[3]], 1)
