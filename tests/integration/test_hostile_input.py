"""Files that are meant to hurt: each ends in a code, in little memory, and harms no other file.

The inventory runs in a process of its own whose address space is capped, so a file that got the
better of it shows as a crash and not as a slow machine. The cases are those that crashed or
swelled real toolkits.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from tests import builders

ROOT = Path(__file__).resolve().parents[2]
PEAK_MIB = 400
"""An interpreter with numpy and pydicom takes about 100; a file of 512 MiB is never held whole."""

PROGRAM = """
import json, resource, sys, tempfile
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from service.ingest.decode import PixelDecoder
from service.ingest.inventory import take_inventory
from service.ingest.records import Refusal
from service.ingest.safety import Limits
limits = Limits(file_bytes=64 << 20, decode_timeout_s=30.0)
answer = {}
with tempfile.TemporaryDirectory() as workspace:
    inventory = take_inventory(Path(sys.argv[1]), limits, Path(workspace))
    answer["refused"] = {one.file: one.refusal.code for one in inventory.refused}
    frames = [(record, frame) for record in inventory.records for frame in record.frames]
    with PixelDecoder(limits) as decoder:
        outcomes = decoder.decode_frames(frames)
    answer["decoded"] = {
        record.file: outcome.code if isinstance(outcome, Refusal) else float(outcome.sum())
        for (record, _), outcome in zip(frames, outcomes)
    }
    spooled = [path for path in Path(workspace).rglob("*") if path.is_file()]
    answer["spooled"] = sum(path.stat().st_size for path in spooled)
# VmHWM and not ru_maxrss, which a child inherits from the process that started it.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
answer["peak_mib"] = int(peak.split()[1]) / 1024
print(json.dumps(answer))
"""

PIXELS = builders.ramp(2, 40, 48)
META = b"\0" * 128 + b"DICM" + b"\x02\x00\x10\x00UI"
EXPLICIT = META + b"\x14\x00" + b"1.2.840.10008.1.2.1\0"
DEFLATED = META + b"\x16\x00" + b"1.2.840.10008.1.2.1.99"


def good(index: int = 0) -> bytes:
    return builders.to_bytes(builders.classic_stack(PIXELS)[index])


def deflate_bomb() -> bytes:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = packer.compress(struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 0xFFFFFF00))
    zeros = bytes(1 << 20)
    return DEFLATED + head + b"".join(packer.compress(zeros) for _ in range(80)) + packer.flush()


def j2k_of_30000_squared(*, header_lies_too: bool) -> bytes:
    dataset = builders.compressed(builders.classic_stack(PIXELS)[0], JPEG2000Lossless)
    dataset.SOPInstanceUID = builders.uid("j2k", header_lies_too)
    pixels = bytearray(dataset.PixelData)
    size = pixels.index(b"\xff\x4f\xff\x51") + 8
    edge = 8000 if header_lies_too else 30000
    pixels[size : size + 8] = struct.pack(">LL", edge, edge)
    pixels[size + 16 : size + 24] = struct.pack(">LL", edge, edge)
    dataset.PixelData = bytes(pixels)
    if header_lies_too:
        dataset.Rows = dataset.Columns = edge
    return builders.to_bytes(dataset)


def nested(depth: int) -> bytes:
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return EXPLICIT + (sequence + item) * depth


def declared_length() -> bytes:
    return EXPLICIT + struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 0xFFFFFFF0) + b"1234"


def path_like_uids() -> bytes:
    data = good()
    for name in (("study",), ("study", "series"), ("study", "series", 0)):
        uid = builders.uid(*name).encode()
        data = data.replace(uid, b"../../../../evil".ljust(len(uid), b"\0"))
    return data


def lying_dimensions() -> bytes:
    dataset = builders.classic_stack(PIXELS)[0]
    dataset.Rows = dataset.Columns = 60000
    return builders.to_bytes(dataset)


def rle_bomb() -> bytes:
    """Runs that unpack 64-fold, in an image that says it is small."""
    dataset = builders.compressed(builders.classic_stack(PIXELS)[0], RLELossless)
    dataset.SOPInstanceUID = builders.uid("rle bomb")
    segments = struct.pack("<16L", 2, 64, 64 + (4 << 20), *[0] * 13)
    from pydicom.encaps import encapsulate

    dataset.PixelData = encapsulate([segments + b"\x81\x00" * (4 << 20)])
    return builders.to_bytes(dataset)


def random_bytes() -> bytes:
    return random.Random(7).randbytes(5000)  # noqa: S311 - not a secret


CASES: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "deflate_bomb": (deflate_bomb, {"inflated_too_large"}),
    "j2k_30000": (
        lambda: j2k_of_30000_squared(header_lies_too=False),
        {"codestream_dimensions_differ"},
    ),
    "j2k_8000_in_both": (
        lambda: j2k_of_30000_squared(header_lies_too=True),
        {"decode_failed", "decode_crashed", "decode_out_of_memory", "decode_timeout"},
    ),
    "nested_100": (lambda: nested(100), {"too_deep"}),
    "nested_20000": (lambda: nested(20_000), {"too_deep"}),
    "declared_length": (declared_length, {"truncated"}),
    "path_like_uids": (path_like_uids, {"invalid_uid"}),
    "lying_dimensions": (lying_dimensions, {"dimensions_implausible"}),
    "rle_bomb": (rle_bomb, {"codestream_damaged"}),
    "empty": (lambda: b"", {"empty_file"}),
    "random": (random_bytes, {"not_dicom"}),
    "magic_only": (lambda: b"\0" * 128 + b"DICM", {"truncated"}),
}


def run(source: Path) -> dict[str, dict[str, object]]:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(source)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr.decode()
    answer: dict[str, dict[str, object]] = json.loads(result.stdout)
    return answer


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """One run over a folder of all of them, with two good files in between."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (build, _) in CASES.items():
        (folder / name).write_bytes(build())
    (folder / "a_good").write_bytes(good(0))
    packed = builders.compressed(builders.classic_stack(PIXELS)[1], JPEG2000Lossless)
    (folder / "z_good").write_bytes(builders.to_bytes(packed))
    return run(folder)


@pytest.mark.parametrize("name", CASES)
def test_each_ends_in_a_code(answer: dict[str, dict[str, object]], name: str) -> None:
    ended = answer["refused"].get(name, answer["decoded"].get(name))
    assert ended in CASES[name][1]


def test_good_files_beside_them_are_read(answer: dict[str, dict[str, object]]) -> None:
    assert answer["decoded"]["a_good"] == PIXELS[0].sum()
    assert answer["decoded"]["z_good"] == PIXELS[1].sum()


def test_memory_stays_bounded(answer: dict[str, dict[str, object]]) -> None:
    assert isinstance(answer["peak_mib"], float)
    assert answer["peak_mib"] < PEAK_MIB


def test_nothing_of_the_bombs_stays_on_disk(answer: dict[str, dict[str, object]]) -> None:
    assert answer["spooled"] == 0


def test_archives_that_are_meant_to_hurt(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("bomb", bytes(80 << 20))
        archive.writestr("../../../../tmp/evil", good(0))
        archive.writestr("good", good(1))
    answer = run(path)
    assert answer["refused"] == {"bomb": "too_large", "../../../../tmp/evil": "unsafe_member_name"}
    assert answer["decoded"] == {"good": PIXELS[1].sum()}
    assert isinstance(answer["peak_mib"], float)
    assert answer["peak_mib"] < PEAK_MIB
