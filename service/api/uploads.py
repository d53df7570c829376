"""A request body onto disk, under limits and never whole in memory.

Names that a client gives are only a hint for the reader of a report: on disk a file is called by
its number and by what is harmless of its name.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import anyio
from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.api.problems import ProblemError
from service.jobs.content import MAX_FILES

ZIP_TYPES: Final = frozenset({"application/zip", "application/x-zip-compressed"})
FORM_TYPE: Final = "multipart/form-data"

_BATCH: Final = 1 << 20
"""Bytes gathered before a thread writes them, so that the event loop waits for no disk."""

_ROOM_EVERY: Final = 64 << 20
"""Bytes after which the disk is looked at again."""

_MAX_NAME: Final = 80
_HARMLESS: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What is taken of one request.

    Attributes:
        body_bytes: Largest body.
        silence_s: Longest wait for more of it.
    """

    body_bytes: int
    silence_s: float


async def receive_upload(
    request: Request, folder: Path, limits: BodyLimits, check_room: Callable[[], None]
) -> None:
    """Write the files of a request body into an empty folder.

    Args:
        request: Its body is multipart/form-data or a zip archive.
        folder: Empty folder.
        limits: On the body.
        check_room: Called now and then; raises when the disk is too full to go on.

    Raises:
        ProblemError: 408, 413, 415, 400 or 422 when the body cannot be taken.
    """
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    check_length(request, limits.body_bytes)
    stream = _watched(request.stream(), limits.silence_s, check_room)
    body = limited_body(stream, limits.body_bytes)
    if media_type.decode("latin-1") in ZIP_TYPES:
        files = await _receive_zip(body, folder)
    elif media_type.decode("latin-1") == FORM_TYPE and options.get(b"boundary"):
        files = await _receive_form(body, folder, options[b"boundary"])
    else:
        raise ProblemError(
            415,
            "unsupported_media_type",
            "Send files as multipart/form-data or one archive as application/zip.",
            headers={"Accept": f"{FORM_TYPE}, application/zip"},
        )
    if not files:
        raise ProblemError(422, "no_files", "The request holds no file.")


async def _watched(
    stream: AsyncIterator[bytes], silence_s: float, check_room: Callable[[], None]
) -> AsyncIterator[bytes]:
    """A body whose sender may not fall silent, on a disk that may not fill up."""
    received = checked = 0
    chunks = aiter(stream)
    while True:
        try:
            with anyio.fail_after(silence_s):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise ProblemError(
                408, "sender_silent", "Nothing of the body came for too long."
            ) from None
        received += len(chunk)
        if received - checked >= _ROOM_EVERY:
            checked = received
            await run_in_threadpool(check_room)
        yield chunk


def stated_length(request: Request, max_bytes: int) -> int:
    """How many bytes a body says it has, 0 when it does not say.

    Raises:
        ProblemError: 413 when it is too large, 400 when the length is no number.
    """
    check_length(request, max_bytes)
    return int(request.headers.get("content-length", "0"))


def check_length(request: Request, max_bytes: int) -> None:
    """Turn away a body that says it is too large, before it is sent.

    Raises:
        ProblemError: 413, or 400 when the length is no number.
    """
    length = request.headers.get("content-length", "0")
    if not length.isdecimal():
        raise ProblemError(400, "bad_request", "Content-Length is not a number.")
    if int(length) > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError(
        413, "content_too_large", f"The body is larger than {max_bytes // (1 << 20)} MB."
    )


async def limited_body(stream: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """The body in batches, each worth a thread's while.

    Raises:
        ProblemError: 413 as soon as it is larger than allowed.
    """
    received = 0
    batch = bytearray()
    async for chunk in stream:
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        batch += chunk
        if len(batch) >= _BATCH:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


async def _receive_zip(body: AsyncIterator[bytes], folder: Path) -> int:
    received = 0
    with (folder / "study.zip").open("xb") as file:
        async for chunk in body:
            received += len(chunk)
            await run_in_threadpool(file.write, chunk)
    return min(received, 1)


async def _receive_form(body: AsyncIterator[bytes], folder: Path, boundary: bytes) -> int:
    writer = _FormWriter(folder, boundary)
    try:
        async for chunk in body:
            await run_in_threadpool(writer.write, chunk)
        writer.finish()
    except FormParserError as error:
        raise _malformed() from error
    finally:
        writer.close()
    return writer.files


def _malformed() -> ProblemError:
    return ProblemError(400, "malformed_multipart", "The multipart body cannot be parsed.")


@dataclass(slots=True)
class _Header:
    name: bytes = b""
    value: bytes = b""


class _FormWriter:
    """Writes the parts of a multipart body as files, as they come."""

    def __init__(self, folder: Path, boundary: bytes) -> None:
        self.files = 0
        self._folder = folder
        self._file: BinaryIO | None = None
        self._header = _Header()
        self._disposition = b""
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open_file,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Parse one piece of the body."""
        self._parser.write(chunk)

    def finish(self) -> None:
        """Check that the body came to its end.

        Raises:
            ProblemError: It was cut off.
        """
        if not self._complete:
            raise _malformed()

    def close(self) -> None:
        """Close the file of a part that was cut off."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin_part(self) -> None:
        self._disposition = b""
        self._header = _Header()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header.name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header.value += data[start:end]

    def _end_header(self) -> None:
        if self._header.name.lower() == b"content-disposition":
            self._disposition = self._header.value
        self._header = _Header()

    def _open_file(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename")
        if name is None:
            raise ProblemError(
                400, "malformed_multipart", "Every part must be a file with a file name."
            )
        self.files += 1
        if self.files > MAX_FILES:
            raise ProblemError(
                413, "content_too_large", f"A study may have at most {MAX_FILES} files."
            )
        self._file = (self._folder / _disk_name(self.files, name)).open("xb")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])

    def _end_part(self) -> None:
        self.close()

    def _end(self) -> None:
        self._complete = True


def _disk_name(number: int, name: bytes) -> str:
    last = name.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    return f"{number:05d}-{_HARMLESS.sub('_', last)[-_MAX_NAME:]}"
