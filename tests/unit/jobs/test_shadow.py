"""A candidate beside what serves, and the worker's look at which bundles are to serve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.findings import (
    Call,
    Coverage,
    Edema,
    LevelFindings,
    Localisation,
    Scores,
    StudyVolumes,
    Vertebra,
)
from models.registry import install, resolve
from models.serving import serve
from service.jobs import serving as module
from service.jobs.serving import Serving
from service.jobs.shadow import Shadowed, confusion, summed
from service.pipeline import Stages
from service.report.document import BundleReport
from service.settings import Settings
from tests.unit.runtime.bundles import content

BODY = Vertebra(1, None, (), Coverage.COMPLETE, np.zeros(3), np.eye(3), None, 1.0)


def scores(*calls: Call | None) -> Scores:
    return Scores(
        tuple(
            LevelFindings(BODY, None if call is None else Edema(0.5, call, 0.0), None, None, None)
            for call in calls
        ),
        None,
    )


SERVING = scores(Call.PRESENT, Call.ABSENT, None)
CANDIDATE = scores(Call.PRESENT, Call.PRESENT, None)


def shadow(candidate: object, folder: Path | None) -> Shadowed:
    bundle = SimpleNamespace(name="scorer", version="1.1.0", sha256="c" * 64)
    return Shadowed(lambda *_: SERVING, candidate, bundle, "s" * 64, folder)  # type: ignore[arg-type]


def test_the_serving_answer_is_given_and_the_difference_counted(tmp_path: Path) -> None:
    shadowed = shadow(lambda *_: CANDIDATE, tmp_path / "shadow")
    for _ in range(2):
        assert shadowed(None, None) is SERVING  # type: ignore[arg-type]
    (path,) = (tmp_path / "shadow").iterdir()
    assert path.name == "scorer-1.1.0.jsonl"
    studies, total = summed(path)
    assert studies == 2
    assert total["edema"] == {"present>present": 2, "absent>present": 2, "withheld>withheld": 2}
    line = json.loads(path.read_text().splitlines()[0])
    assert set(line) == {"at", "serving_sha256", "candidate_sha256", "levels", "calls"}


def test_a_candidate_that_breaks_costs_no_report(tmp_path: Path) -> None:
    def broken(_study: StudyVolumes, _localisation: Localisation) -> Scores:
        raise RuntimeError("no")

    assert shadow(broken, tmp_path / "shadow")(None, None) is SERVING  # type: ignore[arg-type]
    assert not (tmp_path / "shadow").exists()


def test_answers_for_other_levels_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="zip"):
        confusion(SERVING, scores(Call.ABSENT))


def stages(*seals: str) -> Stages:
    bundles = tuple(
        BundleReport(name=name, version="1.0.0", sha256=seal)
        for name, seal in zip(("localiser", "scorer"), seals, strict=True)
    )
    return Stages(read=None, localise=None, score=None, bundles=bundles)  # type: ignore[arg-type]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Bundles are opened by a stand-in that only notes which ones."""
    calls: list[Settings] = []

    def open_stages(settings: Settings) -> Stages:
        calls.append(settings)
        return stages(*module.served_seals(settings))

    monkeypatch.setattr(module, "open_stages", open_stages)
    return calls


def test_a_promotion_is_taken_for_the_next_study(tmp_path: Path, opened: list[Settings]) -> None:
    for name in ("localiser", "scorer"):
        install(content(name, "1.0.0", b"old"), tmp_path)
    settings = Settings(bundle_dir=tmp_path)
    current = Serving(settings, stages(*module.served_seals(settings)))
    before = current.current()
    assert current.current() is before
    assert opened == []
    old = resolve("scorer", bundle_dir=tmp_path)
    new = install(content("scorer", "1.1.0", b"new"), tmp_path)
    serve(tmp_path, "scorer", (new.version, new.sha256), (old.version, old.sha256))
    after = current.current()
    assert after.bundles[1].sha256 == new.sha256
    assert current.current() is after
    assert len(opened) == 1


def test_what_cannot_be_opened_does_not_replace_what_runs(
    tmp_path: Path, opened: list[Settings]
) -> None:
    for name in ("localiser", "scorer"):
        install(content(name, "1.0.0", b"old"), tmp_path)
    settings = Settings(bundle_dir=tmp_path)
    current = Serving(settings, stages(*module.served_seals(settings)))
    before = current.current()
    (tmp_path / "scorer" / "serving.json").write_text("{")
    assert current.current() is before
    assert opened == []


def test_a_shadow_that_is_damaged_or_of_another_kind_is_left_out(tmp_path: Path) -> None:
    install(content("localiser", "1.0.0", b"x"), tmp_path)
    plain = stages("a" * 64, "b" * 64)
    for folder in (tmp_path / "localiser" / "1.0.0", tmp_path / "nowhere"):
        settings = Settings(shadow_scorer=folder)
        assert Serving(settings, plain).stages is plain
    shipped = resolve("scorer")
    settings = Settings(shadow_scorer=shipped.path, work_dir=tmp_path)
    shadowed = Serving(settings, replace(plain)).stages.score
    assert isinstance(shadowed, Shadowed)
    assert shadowed.folder == tmp_path / "shadow"
