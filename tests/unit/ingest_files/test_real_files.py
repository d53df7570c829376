"""Real scanner files: each ends as its index says, with the pixels other readers found.

Set ACUITY_REAL_DATA to the folder that holds `real_dicom`; without it these tests are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from service.ingest.decode import PixelDecoder
from service.ingest.inventory import take_inventory
from service.ingest.records import Refusal
from service.ingest.safety import Limits

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[3]
REAL = Path(os.environ.get("ACUITY_REAL_DATA", ROOT.parent / "shared")) / "real_dicom"
INDEX = REAL / "index.json"


def items() -> list[dict[str, Any]]:
    if not INDEX.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(INDEX.read_text())["items"]
    return found


def digests() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{item['path']}/{name}", facts)
        for item in items()
        for name, facts in item.get("files", {}).items()
    ]


@pytest.fixture(scope="module")
def decoder() -> Iterator[PixelDecoder]:
    if not INDEX.is_file():
        pytest.skip("NO REAL DICOM FILES: set ACUITY_REAL_DATA; real files were NOT checked")
    with PixelDecoder(Limits()) as shared:
        yield shared


def test_every_real_file_is_accounted_for(decoder: PixelDecoder, tmp_path: Path) -> None:
    for item in items():
        folder = REAL / item["path"]
        inventory = take_inventory(folder, Limits(), tmp_path)
        given = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        ended = [one.file for one in (*inventory.records, *inventory.refused)]
        assert sorted(ended) == sorted(given), item["path"]
        if item["expected"]["pixel_data_must_decode"] and "files" not in item:
            wrong = {one.refusal.code for one in inventory.refused} - {"unsupported_sop_class"}
            assert not wrong, item["path"]
            frames = [(record, frame) for record in inventory.records for frame in record.frames]
            outcomes = decoder.decode_frames(frames)
            assert not [one for one in outcomes if isinstance(one, Refusal)], item["path"]


@pytest.mark.parametrize(
    ("name", "facts"),
    digests() or [pytest.param("", {}, id="none")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pixels_are_those_other_readers_found(
    decoder: PixelDecoder, tmp_path: Path, name: str, facts: dict[str, Any]
) -> None:
    inventory = take_inventory(REAL / name, Limits(), tmp_path)
    if not facts["decoded_by_pydicom"]:
        frames = [(record, frame) for record in inventory.records for frame in record.frames]
        assert all(isinstance(one, Refusal) for one in decoder.decode_frames(frames))
        return
    (record,) = inventory.records
    outcomes = decoder.decode_frames([(record, frame) for frame in record.frames])
    stored = []
    for frame, plane in zip(record.frames, outcomes, strict=True):
        assert not isinstance(plane, Refusal)
        slope, intercept = frame.rescale
        stored.append(np.rint((plane.astype(np.float64) - intercept) / slope).astype(np.int32))
    pixels = np.stack(stored)
    assert list(pixels.shape[-len(facts["shape"]) :]) == facts["shape"]
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    assert digest.startswith(facts["sha256_pixels_int32"])


def test_headers_say_what_pydicom_reads(decoder: PixelDecoder, tmp_path: Path) -> None:
    assert decoder.worker_pid is None or decoder.worker_pid > 0
    compared = 0
    for folder in ("ge_pioneer_ax_t1", "siemens_e11_sag_gre", "toshiba_galan"):
        for record in take_inventory(REAL / folder, Limits(), tmp_path).records:
            dataset = pydicom.dcmread(record.path, stop_before_pixels=True)
            (frame,) = record.frames
            assert frame.position == tuple(dataset.ImagePositionPatient)
            assert frame.orientation == tuple(dataset.ImageOrientationPatient)
            assert frame.pixel_spacing == tuple(dataset.PixelSpacing)
            assert frame.physics.repetition_time_ms == dataset.RepetitionTime
            assert frame.physics.echo_time_ms == dataset.EchoTime
            assert record.instance_number == dataset.InstanceNumber
            compared += 1
    assert compared > 100
