from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the [train] extra")

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.datasets.made import row
from training.datasets.errors import (
    DatasetError,
    ManifestColumnError,
    ManifestMissingError,
    ManifestUnreadableError,
    ManifestValueError,
    NewerManifestError,
)
from training.datasets.manifest import read_manifest, write_manifest
from training.datasets.rows import COLUMNS
from training.datasets.split import Split, SplitRule

pytestmark = pytest.mark.train

FULL = row(
    edema="present", extent=0.25, fracture="absent", genant=2, mimic_modic_1=True, level=None,
    left_mm=1.5, posterior_mm=-2.0, superior_mm=3.0, position=4, mask_path="m.nii.gz",
    mask_sha256="1" * 64, mask_value=22, sex="F", age_years=64.5, weak_labels="edema;level",
    source_labels='{"grade": "3"}',
)  # fmt: skip


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    rows = (FULL, row(), row(level="L3", edema="indeterminate", acuity="no_fracture"))
    write_manifest(tmp_path / name, rows)
    assert read_manifest(tmp_path / name).rows == rows


def test_absolute_paths_become_relative_to_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    written = row(study_path=str(tmp_path / "studies" / "a"))
    manifest = write_manifest(tmp_path / "labels" / "m.csv", [written])
    assert manifest.rows[0].study_path == "../studies/a"
    assert manifest.study_path(manifest.rows[0]).resolve() == tmp_path / "studies" / "a"


def test_a_manifest_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write_manifest(path, [row()])
    head, line = path.read_text().splitlines()
    cells = line.split(",")
    cells[head.split(",").index("manifest_schema")] = "2"
    path.write_text(f"{head}\n{','.join(cells)}\n")
    with pytest.raises(NewerManifestError, match="update") as caught:
        read_manifest(path)
    assert caught.value.code == "manifest_newer_version"


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", [row()])
    table = pq.read_table(tmp_path / "m.parquet").drop(["patient_key", "split"])
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestColumnError, match="missing: patient_key, split"):
        read_manifest(tmp_path / "m.parquet")


def test_a_misspelt_column_is_named_with_what_it_may_be(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [row()])
    text = (tmp_path / "m.csv").read_text()
    (tmp_path / "m.csv").write_text(text.replace("edema", "oedema", 1))
    with pytest.raises(ManifestColumnError, match="'oedema' is not known; is it edema"):
        read_manifest(tmp_path / "m.csv")


def test_wrong_values_are_named_by_row_and_column_and_not_quoted(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [row(), row(level="L3", edema="present")])
    text = (tmp_path / "m.csv").read_text()
    (tmp_path / "m.csv").write_text(text.replace(",present,", ",Miller,"))
    with pytest.raises(ManifestValueError, match="row 2, edema") as caught:
        read_manifest(tmp_path / "m.csv")
    assert "Miller" not in str(caught.value)


def test_a_label_that_a_task_needs_and_nobody_gave(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [row(edema="present")])
    assert read_manifest(tmp_path / "m.csv", ["edema"]).rows
    with pytest.raises(ManifestColumnError, match="column etiology is needed"):
        read_manifest(tmp_path / "m.csv", ["etiology"])
    with pytest.raises(ManifestColumnError, match="is not a label column"):
        read_manifest(tmp_path / "m.csv", ["sex"])


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestMissingError):
        read_manifest(tmp_path / "none.csv")
    write_manifest(tmp_path / "m.parquet", [row()])
    whole = (tmp_path / "m.parquet").read_bytes()
    (tmp_path / "m.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ManifestUnreadableError, match="cut short"):
        read_manifest(tmp_path / "m.parquet")
    (tmp_path / "m.xlsx").write_bytes(b"")
    with pytest.raises(ManifestUnreadableError, match=r"parquet or a \.csv"):
        read_manifest(tmp_path / "m.xlsx")
    (tmp_path / "empty.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(ManifestUnreadableError, match="no rows"):
        read_manifest(tmp_path / "empty.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ManifestColumnError, match="not a manifest"):
        read_manifest(tmp_path / "other.csv")


def test_a_spreadsheets_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [row()])
    text = (tmp_path / "m.csv").read_bytes()
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbf" + text)
    assert read_manifest(tmp_path / "m.csv").rows == (row(),)


def test_parquet_keeps_kinds(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.parquet", [FULL])
    schema = pq.read_schema(tmp_path / "m.parquet")
    kinds = {name: schema.field(name).type for name in ("extent", "genant", "mimic_modic_1")}
    assert kinds == {"extent": pa.float64(), "genant": pa.int32(), "mimic_modic_1": pa.bool_()}


def test_a_patient_keeps_its_split_and_shares_are_kept() -> None:
    rule = SplitRule(0.2, 0.1)
    patients = [f"patient {number}" for number in range(4000)]
    splits = [rule.of(one) for one in patients]
    assert splits == [rule.of(one) for one in patients]
    assert splits.count(Split.VALIDATION) / 4000 == pytest.approx(0.2, abs=0.03)
    assert splits.count(Split.TEST) / 4000 == pytest.approx(0.1, abs=0.03)
    assert splits != [SplitRule(0.2, 0.1, "another").of(one) for one in patients]
    with pytest.raises(DatasetError):
        SplitRule(0.7, 0.4)
