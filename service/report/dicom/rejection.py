"""The note that tells an archive which of our objects a reader has rejected.

It is a Key Object Selection with the title "Rejected for Quality Reasons", as IHE's Imaging Object
Change Management has it (IHE RAD TF-3 4.66): an archive that knows the profile hides what it names,
and every other one shows the note beside it. A wrong machine reading harms nobody by being seen, so
the other titles (patient safety, wrong worklist entry, data retention) are not ours to give.
Source: PS3.3 A.35.4, PS3.16 TID 2010, CID 7010.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from service.report import codes
from service.report.dicom.identity import MANUFACTURER, ObjectIds, complete
from service.report.dicom.rejected import RejectedObject
from service.report.dicom.sources import copy_study
from service.report.written import Written

FILE_NAME: Final = "rejection.dcm"


def rejection_note(
    rejected: Sequence[RejectedObject], study: Dataset, key: str, written_as: Written
) -> Dataset:
    """Write the note.

    Args:
        rejected: At least one, all of the study.
        study: Of `study_attributes`.
        key: `content_key` of the report that says so.
        written_as: When the reader said it, and who it was.
    """
    ids = ObjectIds.of(key, "rejection")
    named = list(_references(rejected, study))
    written: Dataset = hd.ko.KeyObjectSelectionDocument(
        evidence=named,
        content=hd.ko.KeyObjectSelection(
            document_title=codes.REJECTED_FOR_QUALITY,
            referenced_objects=named,
            observer_person_context=_reader(written_as),
            description=codes.READING_REJECTED.meaning,
        ),
        series_instance_uid=ids.series_uid,
        series_number=ids.series_number,
        sop_instance_uid=ids.instance_uid,
        instance_number=ids.instance_number,
        manufacturer=MANUFACTURER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    complete(written, study, written_as, "rejection note")
    return written


def _references(rejected: Iterable[RejectedObject], study: Dataset) -> Iterator[Dataset]:
    """What highdicom wants to see of an object to refer to it."""
    for one in rejected:
        reference = Dataset()
        copy_study(study, reference)
        reference.SOPClassUID = one.sop_class_uid
        reference.SOPInstanceUID = one.sop_instance_uid
        reference.SeriesInstanceUID = one.series_instance_uid
        if one.image:
            reference.Rows = reference.Columns = 1
        yield reference


def _reader(written_as: Written) -> hd.sr.ObserverContext:
    return hd.sr.ObserverContext(
        observer_type=codes.PERSON,
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(
            name=written_as.verified_by,
            organization_name=written_as.verifying_organization,
        ),
    )
