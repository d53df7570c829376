"""The page in a real browser: it prints on two sheets of A4, whatever the case."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from models.volume import Role
from service.planning.plan import plan
from service.planning.profiles import load_profiles
from service.planning.rendering.html import to_html
from service.planning.rendering.picture import KeyImageFile
from service.report.key_image_places import PanelPlace
from service.report.outputs import write_outputs
from tests.unit.planning import cases
from tests.unit.planning.test_rendering import TARGET
from tests.unit.report import made

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

CASES: dict[str, tuple[tuple[dict[str, Any], ...], dict[str, Any] | None]] = {
    "benign": (({"level": "L1", "geometry": {"target": TARGET}},), {}),
    "pathological": (
        (
            {"level": "T12", "etiology": "pathological", "geometry": {"target": TARGET}},
            {"level": "L3", "etiology": "pathological", "geometry": {"target": TARGET}},
        ),
        {"cancer_history": "active"},
    ),
    "insufficient": (({"level": "L1", "absent": ["acuity"]},), None),
    "many": (
        tuple(
            {"level": name, "geometry": {"target": TARGET}}
            for name in ("T8", "T11", "T12", "L1", "L2", "L4")
        ),
        {"anticoagulation": "can_be_held", "radiculopathy": "dominant", "inr": None},
    ),
}


@pytest.fixture(scope="session")
def browser() -> str:
    for name in BROWSERS:
        if (found := shutil.which(name)) is not None:
            return found
    if os.environ.get("CI"):
        pytest.fail("no Chromium: the printed page cannot be checked")
    pytest.skip("no Chromium here: the printed page is NOT checked")


@pytest.mark.parametrize("case", CASES)
def test_it_prints_on_two_sheets(case: str, browser: str, tmp_path: Path) -> None:
    levels, changes = CASES[case]
    clinical = cases.clinical({} if changes is None else changes)
    if changes is None:
        clinical = cases.clinical(
            without=tuple(name for name in cases.CLINICAL if name != "age_years")
        )
    report = cases.report(levels)
    document = plan(report, clinical, load_profiles()["overview"], now=cases.NOW)
    write_outputs(made.result(), tmp_path)
    picture = (tmp_path / "key-2.png").read_bytes()
    panel = PanelPlace(
        role=Role.STIR,
        box_px=(12, 68, 288, 288),
        lps_to_px=((0.0, 4.0, 0.0, 150.0), (0.0, 0.0, -4.0, 290.0)),
        slice_lps_mm=(0.0, 0.0, 0.0),
        normal_lps=(1.0, 0.0, 0.0),
    )
    image = KeyImageFile(picture, (400, 400), panel, "L1")
    images = {level.label_value: image for level in report.levels}
    page, printed = tmp_path / "plan.html", tmp_path / "plan.pdf"
    page.write_text(to_html(document, images))
    subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-pdf-header-footer",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--print-to-pdf={printed}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    sheets = len(re.findall(rb"/Type\s*/Page[^s]", printed.read_bytes()))
    assert sheets == 2
