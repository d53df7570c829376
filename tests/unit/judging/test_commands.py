"""`acuity train evaluate`, `calibrate`, `compare` and `promote` as typed, on studies that ship.

`evaluate` reads one study for real. For the others answers to hundreds of levels are drawn by
chance: what is tried is all around them, from the words that are typed to the files that are left.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

pytest.importorskip("torch", reason="needs the [train] extra")

from models.registry import read_bundle, resolve, verify
from models.scorer.calibration import read_calibration
from models.serving import read_promotion
from models.signing import read_public_key, verified
from service.cli import main
from tests.unit.judging.made import drawn
from training.datasets.adapters.phantom import phantom_rows
from training.datasets.manifest import Manifest, write_manifest
from training.datasets.split import SplitRule
from training.judging import reading, thresholds
from training.judging.cases import Judged, load_judged
from training.judging.reading import Model, Readings
from training.judging.verdict import COMPARISON, Margins, sealed
from training.statistics import resampling
from training.statistics.resampling import Bootstrap, Statistic

# A step is run by name, as `python -m` does; here its module has been imported before.
pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning"),
]

SAMPLES = Path(__file__).resolve().parents[3] / "data_samples"


def acuity(*words: object) -> int:
    """Run the command line in this process; returns its exit code."""
    before = sys.argv
    sys.argv = ["acuity", *map(str, words)]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("manifests")
    for name in ("healed", "benign_unhealed"):
        rows = phantom_rows(SAMPLES / name, SplitRule(0.0, 1.0)).rows
        write_manifest(folder / f"{name}.parquet", rows)
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The installation as shipped, and fewer draws than for figures one would publish."""
    for name in [name for name in os.environ if name.startswith("ACUITY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(thresholds, "ROUNDS", 40)
    drawing = resampling.patient_bootstrap

    def fewer(statistic: Statistic, patients: Sequence[str], _rounds: int = 0) -> Bootstrap:
        return drawing(statistic, patients, 200)

    monkeypatch.setattr(resampling, "patient_bootstrap", fewer)


def test_a_study_is_judged_with_the_facts_of_its_acquisition(
    tmp_path: Path, manifests: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert acuity("train", "evaluate", "--manifest", manifests["healed"], "--out", out) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "evaluation.html", "figures.json", "judged.parquet",
    ]  # fmt: skip
    judged, about = load_judged(out / "judged.parquet")
    assert about["bundles"]["scorer"]["sha256"] == resolve("scorer").sha256
    truth = json.loads((SAMPLES / "healed" / "truth.json").read_text())
    assert {"L1", "L2", "L3"} <= set(judged.level.tolist())
    assert judged.found.mean() > 0.8
    headers = [
        dcmread(path, stop_before_pixels=True)
        for path in (SAMPLES / "healed" / "dicom").rglob("*")
        if path.is_file() and path.name != "DICOMDIR"
    ]
    (vendor,) = {one.Manufacturer.split()[0].lower() for one in headers}
    (tesla,) = {float(one.MagneticFieldStrength) for one in headers}
    thickness = max(float(one.SliceThickness) for one in headers)
    assert set(judged.facts["vendor"].tolist()) == {vendor}
    assert set(judged.facts["field"].tolist()) == {"1 to 1.9 T"}
    assert 1.0 <= tesla < 2.0
    assert set(judged.facts["thickness"].tolist()) == {"from 3.5 mm"}
    assert thickness >= 3.5
    assert set(judged.facts["sequences"].tolist()) == {"stir+t1+t2"}
    assert set(judged.facts["sex"].tolist()) == {headers[0].PatientSex}
    assert set(judged.facts["age"].tolist()) == {"80 and more"}
    assert int(headers[0].PatientAge[:3]) >= 80
    fractured = {one["level"] for one in truth["levels"] if one["fracture"] != "none"}
    grades = dict(zip(judged.level.tolist(), judged.facts["grade"].tolist(), strict=True))
    assert {name for name, grade in grades.items() if grade not in ("grade 0", "unknown")} == (
        fractured & set(grades)
    )  # fmt: skip
    figures = json.loads((out / "figures.json").read_text())
    assert set(figures["subgroups"]["vendor"]) == {vendor}
    assert figures["subgroups"]["vendor"][vendor]["fracture"]["asked"] == (
        figures["tasks"]["fracture"]["asked"]
    )  # fmt: skip
    assert f"{len(judged)} levels of 1 patients" in capsys.readouterr().out


def answers(monkeypatch: pytest.MonkeyPatch, *judged: Judged) -> list[list[str]]:
    """Let models answer so, in order, instead of reading; returns which were asked."""
    asked: list[list[str]] = []

    def read_cases(
        manifest: Manifest, models: Sequence[Model], *, progress: Callable[[int, int], None]
    ) -> Readings:
        progress(1, 1)
        asked.append([model.scorer.version for model in models])
        return Readings(judged[: len(models)], {}, len(manifest.rows))

    monkeypatch.setattr(reading, "read_cases", read_cases)
    return asked


def test_from_calibration_to_promotion(
    tmp_path: Path,
    manifests: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served, candidates = resolve("scorer"), tmp_path / "candidates"
    asked = answers(monkeypatch, drawn(patients=60, scale=2.0, shift=1.0))
    calibrate = ("train", "calibrate", "--manifest", manifests["healed"], "--out", candidates)
    calibrate += ("--version", "9.0.0-site.1")
    assert acuity(*calibrate) == 0
    assert asked == [[served.version]]
    told = capsys.readouterr().out
    assert told.startswith("edema         temperature 1.")
    assert "no change shown" not in told.splitlines()[0]
    temperature = float(told.split()[2])
    candidate = read_bundle(candidates / "scorer" / "9.0.0-site.1")
    verify(candidate)
    known, before = (read_calibration(one.metadata) for one in (candidate, served))
    assert temperature > 1.3
    assert known.platt["edema"].scale == pytest.approx(
        before.platt["edema"].scale / temperature, rel=0.01
    )  # fmt: skip
    assert known.operating_points["edema"].chosen_on == "1 local studies (every split)"
    # The same again would have the same version: said before anything is read.
    assert acuity(*calibrate) == 4
    assert "acuity: bundle_version_taken:" in capsys.readouterr().err
    assert len(asked) == 1

    def compare(manifest: str, *more: object) -> int:
        words = ("--manifest", manifests[manifest], "--candidate", candidate.path)
        return acuity("train", "compare", *words, "--out", tmp_path / "compared", *more)

    assert compare("healed") == 1
    assert "acuity: cases_learned_from:" in capsys.readouterr().err
    better = drawn(patients=60, strength=3.0)
    asked = answers(monkeypatch, drawn(patients=60, strength=1.2, noise_seed=5), better)
    assert compare("benign_unhealed", "--margin-ece", "0.04") == 0
    assert asked == [[served.version, "9.0.0-site.1"]]
    assert capsys.readouterr().out.endswith("all gates passed\n")
    found = json.loads((tmp_path / "compared" / COMPARISON).read_text())
    assert found == sealed(found)
    assert found["candidate"] == {"version": "9.0.0-site.1", "sha256": candidate.sha256}
    assert found["served"] == {"version": served.version, "sha256": served.sha256}
    assert found["margins"]["ece"] == 0.04
    assert (found["synthetic"], found["levels"]) == (True, 360)
    kept, about = load_judged(tmp_path / "compared" / "candidate.parquet")
    assert about["bundles"]["scorer"]["sha256"] == candidate.sha256
    np.testing.assert_array_equal(kept.logit["edema"], better.logit["edema"])

    record = promoted(tmp_path, candidate.path, tmp_path / "compared" / COMPARISON)
    assert resolve("scorer", bundle_dir=tmp_path / "store").sha256 == candidate.sha256
    assert record["data_sha256"] == found["data_sha256"]


def promoted(folder: Path, candidate: Path, comparison: Path) -> dict[str, Any]:
    """Promote into a new store under a new key; returns what was signed."""
    key, public, store = (folder / name for name in ("site.key", "site.pub", "store"))
    assert acuity("train", "promote", "keys", "--private", key, "--public", public) == 0
    words = ("--candidate", candidate, "--key", key, "--into", store, "--comparison", comparison)
    assert acuity("train", "promote", *words) == 0
    return verified(read_promotion(store, "scorer", candidate.name), read_public_key(public))


def test_a_comparison_with_wide_margins_ends_where_it_is_to_be_promoted(
    tmp_path: Path,
    manifests: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers(monkeypatch, drawn(patients=60, scale=2.0))
    words = ("--manifest", manifests["healed"], "--version", "9.0.0", "--out", tmp_path / "c")
    assert acuity("train", "calibrate", *words) == 0
    candidate = tmp_path / "c" / "scorer" / "9.0.0"
    answers(monkeypatch, drawn(patients=60, strength=2.5), drawn(patients=60, strength=2.2))
    words = ("--manifest", manifests["benign_unhealed"], "--candidate", candidate)
    wide = [part for name in Margins.__dataclass_fields__ for part in (f"--margin-{name}", 0.9)]
    assert acuity("train", "compare", *words, "--out", tmp_path, *wide) == 0
    assert "all gates passed" in capsys.readouterr().out
    key = tmp_path / "site.key"
    assert acuity("train", "promote", "keys", "--private", key, "--public", tmp_path / "p") == 0
    promote = ("train", "promote", "--candidate", candidate, "--key", key)
    promote += ("--into", tmp_path / "store", "--comparison", tmp_path / COMPARISON)
    assert acuity(*promote) == 1
    assert "acuity: margins_too_loose: margins wider" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
    assert acuity(*promote, "--loose-margins", "to see whether it can be done") == 0
