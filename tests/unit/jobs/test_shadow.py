"""A candidate beside what serves, and the worker's look at which bundles are to serve."""

from __future__ import annotations

import json
import subprocess
import sys
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
    LevelName,
    Localisation,
    Scores,
    StudyVolumes,
    Vertebra,
)
from models.registry import install, resolve
from models.serving import serve
from service.jobs import serving as module
from service.jobs.serving import Serving
from service.jobs.shadow import (
    Counts,
    CountsUnreadableError,
    Shadowed,
    ShadowedBodies,
    bodies_apart,
    confusion,
    summed,
)
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


def counts(name: str, folder: Path | None) -> Counts:
    bundle = SimpleNamespace(name=name, version="1.1.0", sha256="c" * 64)
    return Counts(bundle, "s" * 64, folder)  # type: ignore[arg-type]


def shadow(candidate: object, folder: Path | None) -> Shadowed:
    return Shadowed(lambda *_: SERVING, candidate, counts("scorer", folder))  # type: ignore[arg-type]


def test_the_serving_answer_is_given_and_the_difference_counted(tmp_path: Path) -> None:
    shadowed = shadow(lambda *_: CANDIDATE, tmp_path / "shadow")
    for _ in range(2):
        assert shadowed(None, None) is SERVING  # type: ignore[arg-type]
    (path,) = (tmp_path / "shadow").iterdir()
    assert path.name == "scorer-1.1.0.jsonl"
    found = summed(path)
    assert found.studies == 2
    assert found.calls["edema"] == {
        "present>present": 2, "absent>present": 2, "withheld>withheld": 2,
    }  # fmt: skip
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
    assert shadowed.counts.folder == tmp_path / "shadow"
    assert shadowed.counts.serving_sha256 == "b" * 64


def test_the_log_says_why_a_shadow_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, str]] = []

    def warning(event: str, *, kind: str, code: str) -> None:
        said.append((kind, f"{event} {code}"))

    monkeypatch.setattr(module, "log", SimpleNamespace(warning=warning))
    plain = stages("a" * 64, "b" * 64)
    scorer, localiser = resolve("scorer").path, resolve("localiser").path
    assert Serving(Settings(shadow_scorer=localiser), plain).stages is plain
    assert Serving(Settings(shadow_localiser=scorer), plain).stages is plain
    assert Serving(Settings(shadow_localiser=tmp_path), plain).stages is plain
    assert said == [
        ("scorer", "shadow_refused shadow_of_another_kind"),
        ("localiser", "shadow_refused shadow_of_another_kind"),
        ("localiser", "shadow_refused bundle_missing"),
    ]


def test_both_models_may_have_a_candidate_beside_them(tmp_path: Path) -> None:
    settings = Settings(
        shadow_scorer=resolve("scorer").path,
        shadow_localiser=resolve("localiser").path,
        work_dir=tmp_path,
    )
    found = Serving(settings, stages("a" * 64, "b" * 64)).stages
    assert isinstance(found.score, Shadowed)
    assert isinstance(found.localise, ShadowedBodies)
    assert found.localise.counts.serving_sha256 == "a" * 64


def bodies(**places: float) -> Localisation:
    """Bodies by name (`none…` without one), at so many mm from the feet."""
    vertebrae = tuple(
        replace(
            BODY,
            index=number,
            name=None if name.startswith("none") else LevelName(name, 1.0),
            centroid_lps_mm=np.array([0.0, 0.0, height]),
        )
        for number, (name, height) in enumerate(places.items(), start=1)
    )
    return SimpleNamespace(vertebrae=vertebrae)  # type: ignore[return-value]


FOUND = bodies(T12=105.0, L1=70.0, L2=35.0, none=0.0)


def test_a_localiser_is_compared_by_bodies_names_and_distances(tmp_path: Path) -> None:
    candidate = bodies(L1=70.5, L3=36.5, none=4.0, none_more=-35.0)
    shadowed = ShadowedBodies(
        lambda _: FOUND, lambda _: candidate, counts("localiser", tmp_path)
    )  # fmt: skip
    for _ in range(2):
        assert shadowed(None) is FOUND  # type: ignore[arg-type]
    found = summed(tmp_path / "localiser-1.1.0.jsonl")
    assert found.studies == 2
    assert found.calls == {
        "body": {"found>found": 6, "found>missed": 2, "missed>found": 2},
        "name": {"named>named": 2, "named>named_otherwise": 2, "withheld>withheld": 2},
    }
    assert found.apart_mm == {"under 1": 2, "1 to 2": 2, "2 to 5": 2, "5 to 12": 0}
    line = json.loads((tmp_path / "localiser-1.1.0.jsonl").read_text().splitlines()[0])
    assert not {"T12", "L1", "L2", "L3"} & set(json.dumps(line).replace('"', " ").split())


def test_names_that_only_one_of_them_gives() -> None:
    calls, _ = bodies_apart(
        bodies(L1=0.0, none=40.0).vertebrae, bodies(none=0.0, L2=40.0).vertebrae
    )
    assert calls["name"] == {"named>withheld": 1, "withheld>named": 1}


def test_a_body_is_the_same_as_one_other_at_most() -> None:
    calls, apart = bodies_apart(bodies(L1=0.0).vertebrae, bodies(L1=7.0, L2=-6.0).vertebrae)
    assert calls["body"] == {"found>found": 1, "missed>found": 1}
    assert calls["name"] == {"named>named_otherwise": 1}
    assert apart["5 to 12"] == 1
    assert bodies_apart((), ())[0] == {"body": {}, "name": {}}


def test_a_candidate_localiser_that_breaks_costs_no_report(tmp_path: Path) -> None:
    def broken(_study: StudyVolumes) -> Localisation:
        raise RuntimeError("no")

    shadowed = ShadowedBodies(lambda _: FOUND, broken, counts("localiser", tmp_path / "shadow"))
    assert shadowed(None) is FOUND  # type: ignore[arg-type]
    assert not (tmp_path / "shadow").exists()


def models_shadow(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.cli", "models", "shadow", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_command_sums_what_a_shadow_counted(tmp_path: Path) -> None:
    scored = shadow(lambda *_: CANDIDATE, tmp_path)
    located = ShadowedBodies(
        lambda _: FOUND, lambda _: bodies(L1=70.5, L3=36.5, none=4.0), counts("localiser", tmp_path)
    )
    for _ in range(3):
        scored(None, None)  # type: ignore[arg-type]
        located(None)  # type: ignore[arg-type]
    told = models_shadow(tmp_path / "scorer-1.1.0.jsonl")
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[:3] == [
        "3 studies",
        "edema      agreed on 6 of 9 levels (0.667)",
        "           absent -> present: 3",
    ]
    assert "mm" not in told.stdout
    told = models_shadow(tmp_path / "localiser-1.1.0.jsonl")
    assert "body       agreed on 9 of 12 levels (0.750)" in told.stdout
    assert "           named -> named_otherwise: 3" in told.stdout
    assert "centres 2 to 5 mm apart: 3" in told.stdout


@pytest.mark.parametrize("text", ["{", "[1]", '{"levels": 3}', '{"calls": {"edema": 3}}'])
def test_a_file_that_is_none_of_counts(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.jsonl").write_text(text)
    with pytest.raises(CountsUnreadableError, match="not one of counts"):
        summed(tmp_path / "other.jsonl")


def test_the_command_refuses_other_files(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text("{")
    told = models_shadow(tmp_path / "other.jsonl")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("acuity: shadow_counts_unreadable:")
