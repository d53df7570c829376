"""Route: instances in by STOW-RS (PS3.18 10.5).

Only storing is offered, and only of DICOM instances as they are (`application/dicom`); metadata
with bulk data apart is refused with 415. The study is read once nothing more of it comes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from service.api.access import require
from service.api.negotiation import choose
from service.api.problems import RESPONSES, RETRY_AFTER_S, ProblemError
from service.api.uploads import check_length, limited_body
from service.jobs.keys import Scope
from service.pacs.gateway import Gateway
from service.pacs.multipart import (
    DICOM_TYPE,
    RELATED_TYPE,
    MultipartError,
    Part,
    PartWriter,
    RelatedType,
    TooManyPartsError,
)
from service.pacs.receiving import StorageFullError
from service.pacs.stow import ANSWER_TYPE, admit_parts

STUDY_UID: Final = r"^[0-9]+(\.[0-9]+)*$"

_DOCUMENT: Final[dict[str, Any]] = {
    "content": {
        ANSWER_TYPE: {
            "schema": {"type": "object"},
            "example": {
                "00081199": {
                    "vr": "SQ",
                    "Value": [
                        {
                            "00081150": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.4"]},
                            "00081155": {"vr": "UI", "Value": ["1.2.826.0.1.3680043.8.498.7"]},
                        }
                    ],
                }
            },
        }
    }
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            f'{RELATED_TYPE}; type="{DICOM_TYPE}"': {
                "schema": {
                    "type": "object",
                    "properties": {
                        "instances": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                }
            }
        },
    }
}

router = APIRouter(
    prefix="/dicom-web",
    tags=["dicomweb"],
    dependencies=[Depends(require(Scope.SUBMIT))],
    responses=RESPONSES
    | {
        200: _DOCUMENT | {"description": "Every instance was stored"},
        202: _DOCUMENT | {"description": "Some instances were stored, some failed"},
        409: _DOCUMENT | {"description": "No instance was stored"},
    },
)


@router.post("/studies", openapi_extra=_BODY, response_class=JSONResponse)
async def store_instances(request: Request) -> Response:
    """Store instances of any studies."""
    return await _store(request, None)


@router.post("/studies/{study_uid}", openapi_extra=_BODY, response_class=JSONResponse)
async def store_instances_of_study(
    request: Request,
    study_uid: Annotated[str, PathParameter(pattern=STUDY_UID, max_length=64)],
) -> Response:
    """Store instances of one study; those of another fail."""
    return await _store(request, study_uid)


async def _store(request: Request, study_uid: str | None) -> Response:
    gateway: Gateway = request.app.state.gateway
    max_bytes: int = request.app.state.settings.max_upload_mb << 20
    choose(request.headers.get("accept"), (ANSWER_TYPE,))
    related = _related_type(request)
    check_length(request, max_bytes)
    staging: Path | None = None
    try:
        await run_in_threadpool(gateway.folder.check_room)
        staging = await run_in_threadpool(gateway.folder.new_staging)
        limits = gateway.folder.limits
        writer = PartWriter(staging, related, limits.files, limits.file_bytes)
        parts = await _receive(request, writer, max_bytes)
        outcome = await run_in_threadpool(admit_parts, parts, gateway.folder, study_uid)
    except StorageFullError as error:
        raise _full(error.code) from error
    except OSError as error:
        raise _full("storage") from error
    finally:
        if staging is not None:
            await run_in_threadpool(shutil.rmtree, staging, ignore_errors=True)
    retry = {"Retry-After": str(RETRY_AFTER_S)} if outcome.status == 503 else {}
    return JSONResponse(
        outcome.document(), status_code=outcome.status, media_type=ANSWER_TYPE, headers=retry
    )


def _related_type(request: Request) -> RelatedType:
    related = RelatedType.parse(request.headers.get("content-type", ""))
    if related is None or related.part_type != DICOM_TYPE:
        raise ProblemError(
            415,
            "unsupported_media_type",
            f'Send instances as {RELATED_TYPE}; type="{DICOM_TYPE}" with a boundary.',
            headers={"Accept": f'{RELATED_TYPE}; type="{DICOM_TYPE}"'},
        )
    return related


async def _receive(request: Request, writer: PartWriter, max_bytes: int) -> list[Part]:
    try:
        async for chunk in limited_body(request.stream(), max_bytes):
            await run_in_threadpool(writer.write, chunk)
        writer.finish()
    except MultipartError as error:
        raise ProblemError(400, error.code, f"{error}.") from error
    except TooManyPartsError as error:
        raise ProblemError(413, error.code, f"{error}.") from error
    finally:
        writer.close()
    if not writer.parts:
        raise ProblemError(400, "no_instances", "The request holds no instance.")
    return writer.parts


def _full(code: str) -> ProblemError:
    return ProblemError(
        503,
        code,
        "The instances could not be stored now.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
