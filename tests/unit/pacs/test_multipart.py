"""multipart/related: the bytes between the boundaries and nothing else, however they are cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.pacs.multipart import MultipartError, PartWriter, RelatedType, TooManyPartsError

BOUNDARY = b"x-boundary-9"
RELATED = RelatedType(BOUNDARY, "application/dicom")


def body(*parts: bytes, media_type: str = "application/dicom") -> bytes:
    head = f"\r\nContent-Type: {media_type}; transfer-syntax=1.2\r\nContent-Length: 1\r\n\r\n"
    pieces = [b"--" + BOUNDARY + head.encode() + part + b"\r\n" for part in parts]
    return b"".join(pieces) + b"--" + BOUNDARY + b"--\r\n"


def write(folder: Path, content: bytes, step: int = 7, **limits: int) -> PartWriter:
    folder.mkdir(exist_ok=True)
    writer = PartWriter(
        folder, RELATED, limits.get("max_parts", 100), limits.get("max_part_bytes", 1 << 20)
    )
    try:
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
        writer.finish()
    finally:
        writer.close()
    return writer


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=80), st.just(b"\r\n--x-boundary-"), st.just(b"--x-boundary-8\r\n")
        ),
        min_size=1,
        max_size=5,
    ),
    step=st.integers(1, 200),
)
def test_parts_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], step: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    writer = write(folder, body(*parts), step)
    assert [part.path.read_bytes() for part in writer.parts] == parts
    assert {part.media_type for part in writer.parts} == {"application/dicom"}


def test_a_part_without_a_type_has_that_of_the_whole(tmp_path: Path) -> None:
    content = b"--" + BOUNDARY + b"\r\n\r\nbytes\r\n--" + BOUNDARY + b"--"
    assert write(tmp_path / "parts", content).parts[0].media_type == "application/dicom"


@pytest.mark.parametrize("cut", [3, 20, 90, -12])
def test_a_body_cut_short_is_said(tmp_path: Path, cut: int) -> None:
    with pytest.raises(MultipartError):
        write(tmp_path / "parts", body(b"one", b"two")[:cut])


def test_another_boundary_is_no_multipart(tmp_path: Path) -> None:
    with pytest.raises(MultipartError):
        write(tmp_path / "parts", body(b"one").replace(BOUNDARY, b"another"))


def test_limits(tmp_path: Path) -> None:
    with pytest.raises(TooManyPartsError):
        write(tmp_path / "many", body(b"a", b"b", b"c"), max_parts=2)
    with pytest.raises(TooManyPartsError):
        write(tmp_path / "large", body(b"a" * 100), max_part_bytes=99)
    with pytest.raises(MultipartError):
        write(tmp_path / "header", body(b"a", media_type="x" * 20_000), step=100)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', "application/dicom"),
        ('multipart/related; boundary="a b"; type=application/dicom', "application/dicom"),
        ("multipart/related; boundary=abc", "application/dicom"),
        ('multipart/related; type="application/dicom+xml"; boundary=a', "application/dicom+xml"),
        ('multipart/related; type="application/dicom"', None),
        ("multipart/form-data; boundary=abc", None),
        ("application/dicom", None),
        ("", None),
    ],
)
def test_content_types(header: str, expected: str | None) -> None:
    related = RelatedType.parse(header)
    assert (related.part_type if related else None) == expected
