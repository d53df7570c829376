"""Files that are whole or not there, and on the disk once that is said.

A file is written beside its place, its content brought to the disk, and it is renamed; then it and
its folder are flushed. On a journaling file system (ext4, XFS) that is one commit of the journal,
however many files are settled together, where flushing each file and its folder by itself is two
commits a file. What stands under a name after a power cut is whole on such file systems even when
nobody was told yet that it stands there.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

_WAIT_BEFORE: Final = 1
_WRITE: Final = 2
_WAIT_AFTER: Final = 4
"""Flags of sync_file_range(2)."""

_FEW: Final = 3
_AT_ONCE: Final = 8
"""Flushes that are not worth threads, and threads of those that are."""


def write_durably(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; it is on the disk when this returns.

    Raises:
        OSError: The disk does not take it. What was there before stands, or the disk takes files
            but not names, and then nothing is known of which.
    """
    place(path, data)
    settle([path])


def place(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, for `settle` to make its name durable with others.

    Raises:
        OSError: It is not written, and nothing is left of it.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
        write_back(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_back(path: Path, *, wait: bool = True) -> None:
    """Have the disk take what a file holds; its name and length are for `settle`.

    Args:
        path: A file that nobody writes to any more.
        wait: Until the disk has taken it; else it is only asked to.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = _WAIT_BEFORE | _WRITE | _WAIT_AFTER if wait else _WRITE
        if _sync_file_range is not None and _sync_file_range(descriptor, 0, 0, flags) == 0:
            return
        number = errno.ENOSYS if _sync_file_range is None else ctypes.get_errno()
        # Not every system and file system knows the call; what it says of the disk is believed.
        if number not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise OSError(number, os.strerror(number))
        if wait:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def settle(paths: Iterable[Path]) -> None:
    """Have the disk hold files and their names; the content of most is there already."""
    named = tuple(dict.fromkeys(paths))
    all_of_it = (*named, *dict.fromkeys(path.parent for path in named))
    if len(all_of_it) <= _FEW:
        for path in all_of_it:
            _flush(path)
        return
    # Each waits for the disk, which flushes once for all that wait at a time.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(_flush, all_of_it):
            pass


def flush_folder(folder: Path) -> None:
    """Have the disk hold the names in a folder."""
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file_range_of_system() -> ctypes._NamedFuncPointer | None:
    """sync_file_range(2), which Python does not offer; None where the system has none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        function.restype = ctypes.c_int
    return function


_sync_file_range: Final = _sync_file_range_of_system()
