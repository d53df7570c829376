"""The command line as scripts see it: exit codes, standard output, messages. Real programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from models.registry import PACKAGED, bundle_folders
from service.cli.train import STEPS
from service.report.json_writer import to_json
from tests import builders
from tests.unit.report import made

needs_bundles = pytest.mark.skipif(
    not bundle_folders(), reason="no model bundle is committed: nothing can be analysed"
)

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"


def acuity(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ACUITY_")}
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=clean | {f"ACUITY_{name.upper()}": value for name, value in environment.items()},
        timeout=180,
        check=False,
    )


def write(folder: Path, datasets: Iterable[FileDataset]) -> Path:
    builders.write_all(datasets, folder)
    return folder


def stack(slices: int, physics: Mapping[str, Any] = builders.STIR) -> list[FileDataset]:
    return builders.classic_stack(builders.ramp(slices, 96, 80), physics=physics)


def sample() -> Path:
    return next(path for path in sorted(SAMPLES.iterdir()) if path.is_dir())


@needs_bundles
def test_a_sample_gives_a_report(tmp_path: Path) -> None:
    done = acuity("analyze", sample(), "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["schema_version"] == "1.0"
    assert report["levels"]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"report.json", "report.html", "key-1.png", "vertebrae.nii.gz"} <= written
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


@needs_bundles
def test_a_zip_without_json_prints_a_table(tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(sample().rglob("*.dcm")):
            opened.write(path, path.relative_to(sample()))
    done = acuity("analyze", archive)
    assert done.returncode == 0, done.stderr
    assert "Level" in done.stdout
    assert "Research software" in done.stdout


@needs_bundles
@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "ct", "single_slice"])
def test_unusable_input_is_refused_and_the_json_says_why(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    if kind == "text":
        (folder / "notes.txt").write_text("nothing to see\n" * 50)
    elif kind == "truncated":
        for path in write(tmp_path / "whole", stack(9)).iterdir():
            (folder / path.name).write_bytes(path.read_bytes()[:-3000])
    elif kind == "ct":
        datasets = stack(9)
        for dataset in datasets:
            dataset.Modality = "CT"
            dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        write(folder, datasets)
    elif kind == "single_slice":
        write(folder, stack(1))
    done = acuity("analyze", folder, "--json")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["levels"] == []
    assert report["reference_series_uid"] is None
    assert report["abstentions"]
    assert all(item["reason"] for item in report["abstentions"])
    given = sum(1 for _ in folder.iterdir())
    assert report["files"]["used"] == 0
    assert bool(report["files"]["refused"] or report["series"]) == (given > 0)


@needs_bundles
def test_without_fluid_sensitive_series_edema_is_not_said(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    for path in sorted(sample().rglob("*.dcm")):
        if "InversionTime" not in dcmread(path, stop_before_pixels=True):
            shutil.copy(path, study / f"{path.parent.name}-{path.name}")
    done = acuity("analyze", study, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert "no_fluid_sensitive_series" in {item["code"] for item in report["abstentions"]}
    assert all(
        level[part] is None
        for level in report["levels"]
        for part in ("edema", "acuity", "etiology")
    )


@needs_bundles
def test_a_changed_byte_in_a_bundle_ends_with_4(tmp_path: Path) -> None:
    store = tmp_path / "bundles"
    shutil.copytree(PACKAGED, store)
    victim = next(store.glob("localiser/*/model.onnx"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    done = acuity("analyze", sample(), "--json", bundle_dir=str(store))
    assert done.returncode == 4
    assert done.stdout == ""
    assert "bundle_invalid" in done.stderr
    assert "SHA-256" in done.stderr
    assert acuity("models", "verify", bundle_dir=str(store)).returncode == 4
    assert acuity("doctor", bundle_dir=str(store)).returncode == 4


@needs_bundles
def test_a_missing_bundle_ends_with_4() -> None:
    done = acuity("analyze", sample(), "--json", localiser_bundle="absent")
    assert done.returncode == 4
    assert done.stdout == ""
    assert "bundle_missing" in done.stderr


@needs_bundles
def test_models_list_verify_and_import(tmp_path: Path) -> None:
    listed = acuity("models", "list")
    assert listed.returncode == 0
    assert listed.stdout.count("*") == 2
    assert acuity("models", "verify").returncode == 0
    source = next(PACKAGED.glob("localiser/*"))
    done = acuity("models", "import", source, "--into", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "localiser" / source.name / "metadata.json").is_file()
    assert acuity("models", "import", source).returncode == 2


@needs_bundles
def test_doctor_finds_nothing_in_the_way() -> None:
    done = acuity("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "JPEG 2000" in done.stdout
    assert "OpenVINO" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["analyze"],
        ["analyze", "/no/such/study"],
        ["analyze", ".", "--formats", "pdf"],
        ["analyze", ".", "--formats", ""],
        ["nonsense"],
        ["train", "nonsense"],
        ["models", "import", "."],
        ["serve", "--port", "99999"],
        ["serve", "--host", "0.0.0.0"],  # noqa: S104  must be refused: there is no key
    ],
)
def test_usage_errors_end_with_2(arguments: list[str]) -> None:
    done = acuity(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_setting_is_named_and_not_repeated() -> None:
    done = acuity("doctor", threads="my-secret")
    assert done.returncode == 2
    assert "threads" in done.stderr
    assert "my-secret" not in done.stderr


@pytest.mark.train
def test_every_training_step_is_there() -> None:
    assert [name for name in STEPS.values() if find_spec(name) is None] == []


@pytest.mark.train
def test_train_hands_the_rest_over() -> None:
    done = acuity("train", "phantom", "--help")
    assert done.returncode == 0, done.stderr
    assert "--count" in done.stdout


@needs_bundles
def test_a_plan_from_a_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert acuity("analyze", sample(), "--out", out).returncode == 0
    clinical = tmp_path / "clinical.json"
    clinical.write_text('{"age_years": 78, "pain_present": true}')
    done = acuity(
        "plan", out / "report.json", "--clinical", clinical, "--out", out, "--sign", "A", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema_version"] == "planning/1"
    assert document["patient"]["outcome"] == "insufficient_information"
    assert document["signature"]["name"] == "A"
    assert {"plan.json", "plan.html", "plan-fhir.json"} <= {path.name for path in out.iterdir()}
    assert json.loads((out / "plan.json").read_bytes()) == document


def test_bad_clinical_input_names_the_field_and_ends_with_usage(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_bytes(to_json(made.result().report))
    clinical = tmp_path / "clinical.json"
    clinical.write_text('{"inr": "Secret"}')
    done = acuity("plan", report, "--clinical", clinical)
    assert done.returncode == 2
    assert "clinical_input_invalid: inr" in done.stderr
    assert "Secret" not in done.stderr
    clinical.write_text("{}")
    done = acuity("plan", report, "--clinical", clinical, "--profile", "own")
    assert done.returncode == 2
    assert "planning_profile_missing" in done.stderr
    done = acuity("plan", clinical, "--clinical", clinical)
    assert done.returncode == 2
    assert "report_invalid" in done.stderr


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    work_dir = {"work_dir": str(tmp_path)}
    made_key = acuity("keys", "create", "router", "--scope", "submit", "--days", "2", **work_dir)
    assert made_key.returncode == 0, made_key.stderr
    prefix, key_id, secret = made_key.stdout.strip().split("_", 2)
    assert (prefix, len(secret) >= 43) == ("acuity", True)
    listed = acuity("keys", "list", **work_dir).stdout
    assert listed.startswith(f"{key_id}  router  submit  good until")
    assert secret not in listed
    assert acuity("keys", "revoke", key_id, **work_dir).returncode == 0
    assert "revoked" in acuity("keys", "list", **work_dir).stdout
    again = acuity("keys", "revoke", key_id, **work_dir)
    assert again.returncode == 2
    assert acuity("keys", "create", "x", "--scope", "all", **work_dir).returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["worker", "--work-dir", "."],
        ["worker", "--database", "sqlite:///x.sqlite", "--work-dir", "."],
        ["worker", "--database", "postgresql://acuity@127.0.0.1/x"],
        ["audit"],
        ["keys", "list"],
    ],
)
def test_what_needs_a_service_to_join_says_so(arguments: list[str]) -> None:
    done = acuity(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("acuity: ")


def test_other_machines_are_not_served_without_authentication(tmp_path: Path) -> None:
    done = acuity("serve", "--host", "0.0.0.0", "--port", "0", work_dir=str(tmp_path))  # noqa: S104
    assert done.returncode == 2
    assert "no_api_keys" in done.stderr
