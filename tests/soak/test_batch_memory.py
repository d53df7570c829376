"""2,000 studies take no more memory than 400."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark.batch import overhead

STUDIES = 2000
GROWTH_MB = 20.0
"""Of a process of about 160 MB; one study held back would be 15 kB, all of them 30 MB."""


@pytest.mark.soak
def test_memory_does_not_grow_with_the_number_of_studies(tmp_path: Path) -> None:
    watch = overhead(STUDIES, tmp_path)
    assert watch.done == STUDIES
    settled = watch.megabytes[STUDIES // 5]
    assert watch.megabytes[-1] - settled < GROWTH_MB
