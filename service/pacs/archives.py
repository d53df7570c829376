"""An archive's DICOMweb: QIDO-RS to know what it holds, WADO-RS to get it onto our disk.

dicomweb-client asks the questions. Instances it would parse in our process and keep in memory; they
are hostile until proven otherwise, so their bytes are streamed to disk as they come instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

import requests

from models.errors import AcuityError
from service.ingest.safety import CHUNK_BYTES, Limits
from service.pacs.multipart import (
    DICOM_TYPE,
    MultipartError,
    Part,
    PartWriter,
    RelatedType,
    TooManyPartsError,
)
from service.settings import ArchiveSettings, StowTarget, WebhookTarget

MODALITY: Final = "MR"
"""The only modality that a report can be made from."""

PAGE: Final = 200
"""Results asked for at a time."""

_STUDY_UID: Final = "0020000D"
_SERIES_UID: Final = "0020000E"
_INSTANCE_UID: Final = "00080018"
_SERIES_INSTANCES: Final = "00201209"

_ACCEPT: Final = f'multipart/related; type="{DICOM_TYPE}"; transfer-syntax=*'
"""As stored: an archive must not re-encode what it sends."""


class ArchiveError(AcuityError):
    """The archive cannot be asked now, or does not answer as the standard says."""

    code = "archive_unavailable"


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """A series that the archive holds; `instances` is None when it does not count them."""

    series_uid: str
    instances: int | None


class Archive:
    """One configured archive.

    Args:
        settings: Where it is.
        limits: On what it may send.
    """

    def __init__(self, settings: ArchiveSettings, limits: Limits) -> None:
        self._root = str(settings.url).rstrip("/")
        self._timeout_s = settings.timeout_s
        self._limits = limits
        self._session = session_for(settings)
        # It brings numpy and Pillow, which a service without an archive need not load.
        from dicomweb_client import DICOMwebClient  # noqa: PLC0415

        self._client = DICOMwebClient(
            self._root, session=self._session, timeout=settings.timeout_s, permissive_uid=True
        )
        # Tries are counted and spaced by the durable queue, not here.
        self._client.set_http_retry_params(retry=False)

    def series_of(self, study_uid: str) -> tuple[SeriesEntry, ...]:
        """The MR series of a study; none when the archive does not hold it.

        Raises:
            ArchiveError: It could not be asked.
        """
        search = partial(
            self._client.search_for_series,
            study_uid,
            search_filters={"Modality": MODALITY},
            fields=["Modality", "NumberOfSeriesRelatedInstances"],
        )
        return tuple(
            SeriesEntry(uid, _integer(item, _SERIES_INSTANCES))
            for uid, item in _found(search, _SERIES_UID).items()
            if _value(item, "00080060") == MODALITY
        )

    def instances_of(self, study_uid: str, series_uid: str) -> tuple[str, ...]:
        """SOP Instance UIDs of a series.

        Raises:
            ArchiveError: It could not be asked.
        """
        search = partial(self._client.search_for_instances, study_uid, series_uid)
        return tuple(_found(search, _INSTANCE_UID))

    def studies_since(self, first_day: date) -> tuple[str, ...]:
        """Study Instance UIDs of the MR studies of a day and all days after it.

        Raises:
            ArchiveError: It could not be asked.
        """
        search = partial(
            self._client.search_for_studies,
            search_filters={"ModalitiesInStudy": MODALITY, "StudyDate": f"{first_day:%Y%m%d}-"},
        )
        return tuple(_found(search, _STUDY_UID))

    def pull_series(self, study_uid: str, series_uid: str, folder: Path) -> tuple[Part, ...]:
        """Stream the instances of a series into a folder, as the archive stores them.

        Raises:
            ArchiveError: It could not be asked, or its answer ends early or is too large.
            OSError: The disk does not take it.
        """
        url = f"{self._root}/studies/{study_uid}/series/{series_uid}"
        with (
            _translated(),
            self._session.get(
                url, headers={"Accept": _ACCEPT}, stream=True, timeout=self._timeout_s
            ) as response,
        ):
            response.raise_for_status()
            related = RelatedType.parse(response.headers.get("Content-Type", ""))
            if related is None:
                raise ArchiveError("the archive's answer is no multipart/related")
            writer = PartWriter(folder, related, self._limits.files, self._limits.file_bytes)
            try:
                for chunk in response.iter_content(CHUNK_BYTES):
                    writer.write(chunk)
                writer.finish()
            finally:
                writer.close()
        return tuple(writer.parts)


def session_for(settings: ArchiveSettings | StowTarget | WebhookTarget) -> requests.Session:
    """An HTTP session with a peer's headers and certificates.

    The environment's proxies and .netrc are left out: a hospital's archive is reached directly,
    and what may be sent to it is in its settings.
    """
    session = requests.Session()
    session.trust_env = False
    headers = {} if isinstance(settings, WebhookTarget) else settings.headers
    session.headers.update({name: value.get_secret_value() for name, value in headers.items()})
    if settings.ca_file is not None:
        session.verify = str(settings.ca_file)
    return session


def _found(
    search: Callable[..., list[Mapping[str, Any]]], tag: str
) -> dict[str, Mapping[str, Any]]:
    """Everything that a QIDO-RS search finds, page by page, by the UID under `tag`.

    The client's own way to ask for the rest never ends with an archive that heeds an offset only
    beside a limit, as Orthanc's does. Archives may also give fewer than asked for, so the end is
    where a page brings nothing new.
    """
    found: dict[str, Mapping[str, Any]] = {}
    while True:
        with _translated():
            page = search(limit=PAGE, offset=len(found))
            known = len(found)
            found |= {str(uid): item for item in page if (uid := _value(item, tag))}
        if len(found) == known:
            return found


@contextmanager
def _translated() -> Iterator[None]:
    """Every way in which an archive fails, as one error without what it sent."""
    try:
        yield
    except requests.RequestException as error:
        # An OSError by inheritance: the disk's own errors pass through.
        raise ArchiveError("the archive cannot be asked") from error
    except (MultipartError, TooManyPartsError) as error:
        raise ArchiveError("the archive's answer cannot be taken") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError("the archive's answer is not what the standard says") from error


def _value(item: Mapping[str, Any], tag: str) -> object:
    """First value of an attribute in the DICOM JSON model (PS3.18 F.2), or None."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, Mapping) else None
    return values[0] if isinstance(values, list) and values else None


def _integer(item: Mapping[str, Any], tag: str) -> int | None:
    value = _value(item, tag)
    return int(value) if isinstance(value, int | float | str) and str(value).isdecimal() else None
