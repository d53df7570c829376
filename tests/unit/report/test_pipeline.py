import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.findings import Localisation, Scores, StudyVolumes
from service.ingest.grid import StackPolicy
from service.ingest.records import Ingested
from service.ingest.safety import Limits
from service.pipeline import Clock, Stages, report_on
from service.report.document import BundleReport
from service.settings import LimitSettings, Settings, StackSettings
from tests.unit.report import made

SOURCE = Path("study")


def stages(read: Ingested) -> Stages:
    def localise(_study: StudyVolumes) -> Localisation:
        return made.localisation()

    def score(_study: StudyVolumes, localisation: Localisation) -> Scores:
        return made.scores(localisation)

    bundle = BundleReport(name="localiser", version="1.2.3", sha256="00")
    return Stages(lambda _source: read, localise, score, (bundle,), "cuda")


def test_study_goes_through_every_stage() -> None:
    begun: list[str] = []
    ticks = iter(range(100))
    clock = Clock(begun.append, lambda: float(next(ticks)))
    result = report_on(SOURCE, stages(made.ingested(made.volumes())), clock)
    assert result.usable
    assert begun == ["ingest", "localise", "score", "geometry"]
    assert len(result.report.levels) == 3
    made_by = result.report.provenance
    assert dict(made_by.timings_ms) == dict.fromkeys(begun, 1000.0)
    assert (made_by.bundles[0].version, made_by.device) == ("1.2.3", "cuda")
    assert made_by.software.startswith("vertebral-acuity ")


def test_unusable_study_meets_no_network() -> None:
    def never(*_arguments: object) -> Localisation:
        raise AssertionError("no volume, nothing to localise")

    plain = stages(made.ingested(None))
    result = report_on(SOURCE, Stages(plain.read, never, plain.score), Clock())
    assert not result.usable
    assert result.localisation is None
    assert result.report.abstentions[0].code == "no_usable_series"


def test_clock_keeps_the_time_of_a_stage_that_fails() -> None:
    ticks = iter([1.0, 3.5])
    clock = Clock(now=lambda: next(ticks))
    with pytest.raises(RuntimeError), clock.stage("localise"):
        raise RuntimeError
    assert clock.timings_ms == {"localise": 2500.0}


def test_settings_name_fields_that_ingest_has() -> None:
    assert set(LimitSettings.model_fields) <= {field.name for field in fields(Limits)}
    assert set(StackSettings.model_fields) <= {field.name for field in fields(StackPolicy)}


def test_settings_come_from_the_environment_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACUITY_DEVICE", "cpu")
    monkeypatch.setenv("ACUITY_STACKS__MAX_INTERPOLATED_SLICES", "0")
    settings = Settings()
    assert settings.device == "cpu"
    assert settings.stacks.max_interpolated_slices == 0
    with pytest.raises(ValidationError):
        settings.device = "cuda"  # type: ignore[misc]


def test_importing_the_pipeline_imports_no_network_runtime() -> None:
    code = (
        "import sys, service.pipeline, service.report.outputs;"
        "print([m for m in ('torch', 'monai', 'openvino', 'SimpleITK') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
