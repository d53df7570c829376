"""Where compiled painters are kept, and when they are stale.

numba keeps a compiled function beside its source file and drops it when that file changes. Painters
call small functions of other modules, which are compiled into them, and read constants from there:
a change in any module that theirs imports, directly or not, makes them stale too.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final

from numba.core import caching

ROOT: Final = Path(__file__).resolve().parents[3]
FOLLOWED: Final = ("training.", "models.")
"""Imports of these packages are followed; what others compile into a painter changes with them."""


def stamp_of(source: Path, root: Path = ROOT) -> str:
    """SHA-256 over a module's source and that of every module it imports.

    Args:
        source: The module's file.
        root: The folder that holds the top-level packages.
    """
    found: dict[Path, bytes] = {}
    waiting = [source.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path], imported = _read(path, root)
            waiting.extend(imported)
    return hashlib.sha256(b"".join(found[path] for path in sorted(found))).hexdigest()


@cache
def _read(path: Path, root: Path) -> tuple[bytes, tuple[Path, ...]]:
    """Digest of a source as it is now, and the files of the modules that it imports by name."""
    text = path.read_bytes()
    files: list[Path] = []
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # What is imported from a package may be one of its modules.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith(FOLLOWED):
                place = root.joinpath(*name.split("."))
                files += [
                    f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()
                ]
    return hashlib.sha256(text).digest(), tuple(files)


class _Stamped:
    """A place for compiled functions that are fresh while no source they are made of changes."""

    _py_file: Any  # of numba's locator: the file that the function stands in

    def get_source_stamp(self) -> str:
        """What numba compares with the stamp that a compiled function was kept under."""
        return stamp_of(Path(self._py_file))


class GivenFolder(_Stamped, caching.UserProvidedCacheLocator):  # type: ignore[misc]
    """In the folder that `NUMBA_CACHE_DIR` names."""


class BesideSource(_Stamped, caching.InTreeCacheLocator):  # type: ignore[misc]
    """In `__pycache__` beside the source."""


class UserFolder(_Stamped, caching.UserWideCacheLocator):  # type: ignore[misc]
    """In the user's cache folder, where the source's own cannot be written."""


LOCATORS: Final = ",".join(
    f"{__name__}.{c.__name__}" for c in (GivenFolder, BesideSource, UserFolder)
)
