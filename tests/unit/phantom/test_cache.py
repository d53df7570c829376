"""Compiled painters are dropped when anything that was compiled into them changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.phantom.anatomy import backdrop
from training.phantom.painting import cache


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A painter that imports a kernel that imports a constant, and a module that nobody imports."""
    folder = tmp_path / "training" / "painting"
    folder.mkdir(parents=True)
    (tmp_path / "training" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "painter.py").write_text("from training.painting.kernel import draw\n")
    (folder / "kernel.py").write_text("from training.painting import size\n")
    (folder / "size.py").write_text("MM = 1.0\n")
    (folder / "other.py").write_text("MM = 1.0\n")
    return tmp_path


def _stamp(root: Path) -> str:
    cache._read.cache_clear()  # a process reads its sources once; here they change under it
    return cache.stamp_of(root / "training" / "painting" / "painter.py", root)


@pytest.mark.parametrize("changed", ["painter", "kernel", "size"])
def test_a_change_anywhere_behind_a_painter_makes_it_stale(root: Path, changed: str) -> None:
    before = _stamp(root)
    path = root / "training" / "painting" / f"{changed}.py"
    path.write_text(path.read_text() + "# changed\n")
    assert _stamp(root) != before


def test_what_a_painter_does_not_import_leaves_it_fresh(root: Path) -> None:
    before = _stamp(root)
    (root / "training" / "painting" / "other.py").write_text("MM = 2.0\n")
    assert _stamp(root) == before


def test_painters_are_kept_under_the_stamp_of_all_their_sources() -> None:
    kept = backdrop._paint_backdrop._cache._cache_file._source_stamp
    assert kept == cache.stamp_of(Path(backdrop.__file__))
