import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.report.findings_file import read_npz
from service.report.outputs import (
    Format,
    UnsupportedFormatError,
    parse_formats,
    write_outputs,
)
from service.report.written import Written
from tests.unit.report import made

WRITTEN = Written(datetime(2026, 5, 4, tzinfo=UTC))


def test_files_have_the_names_of_the_contract(tmp_path: Path) -> None:
    written = write_outputs(made.result(), tmp_path / "new" / "out")
    assert [path.name for path in written] == [
        "report.json",
        "report.html",
        "key-1.png",
        "key-2.png",
        "key-3.png",
        "key-images.json",
        "vertebrae.nii.gz",
        "edema.nii.gz",
        "fhir.json",
    ]
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(
        path.name for path in written
    )


def test_only_what_was_asked_for_is_written(tmp_path: Path) -> None:
    written = write_outputs(made.result(), tmp_path, {Format.JSON})
    assert [path.name for path in written] == ["report.json"]


def test_what_a_report_was_written_from_is_kept_when_asked_for(tmp_path: Path) -> None:
    written = write_outputs(made.result(), tmp_path, {Format.JSON}, reviewable=True)
    assert [path.name for path in written] == ["report.json", "findings.npz"]
    localisation, _ = read_npz(tmp_path / "findings.npz")
    found = made.result().localisation
    assert found is not None
    assert [one.name for one in localisation.vertebrae] == [one.name for one in found.vertebrae]
    nothing = write_outputs(made.unusable_result(), tmp_path / "no", {Format.JSON}, reviewable=True)
    assert [path.name for path in nothing] == ["report.json"]


def test_unusable_study_leaves_its_report(tmp_path: Path) -> None:
    written = write_outputs(made.unusable_result(), tmp_path)
    assert [path.name for path in written] == ["report.json", "report.html", "fhir.json"]


def test_second_run_leaves_no_key_image_of_the_first(tmp_path: Path) -> None:
    write_outputs(made.result(), tmp_path, {Format.PNG})
    (tmp_path / "key-9.png").write_bytes(b"of an earlier run")
    write_outputs(made.result(), tmp_path, {Format.PNG})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "key-1.png", "key-2.png", "key-3.png", "key-images.json",
    ]  # fmt: skip


def test_same_study_same_bytes(tmp_path: Path) -> None:
    first = write_outputs(made.result(), tmp_path / "first", written=WRITTEN)
    second = write_outputs(made.result(), tmp_path / "second", written=WRITTEN)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_formats_are_parsed() -> None:
    assert parse_formats("json, HTML,nii") == {Format.JSON, Format.HTML, Format.NII}


@pytest.mark.parametrize("text", ["dcm", "json,stl", "fhir,pdf", "", " , "])
def test_format_that_cannot_be_written_names_those_that_can(text: str) -> None:
    with pytest.raises(
        UnsupportedFormatError,
        match=re.escape("supported formats: json, html, png, nii, sr, seg, sc, fhir"),
    ) as caught:
        parse_formats(text)
    assert caught.value.exit_code == 2


def test_shared_pictures_are_those_of_each_writer_alone(tmp_path: Path) -> None:
    together = write_outputs(made.result(), tmp_path / "together", written=WRITTEN)
    alone = [
        path
        for kind in Format
        for path in write_outputs(made.result(), tmp_path / kind, {kind}, WRITTEN)
    ]
    assert [path.name for path in together] == [path.name for path in alone]
    assert [path.read_bytes() for path in together] == [path.read_bytes() for path in alone]


def test_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_path: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("models.durable.write_back", fail)
    with pytest.raises(OSError, match="disk full"):
        write_outputs(made.result(), tmp_path)
    assert list(tmp_path.iterdir()) == []
