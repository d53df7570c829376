"""Every script that makes a network runs from its command line to a bundle that the runtime opens.

As short as can be, on synthetic patients: what comes out has learned nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

from models.registry import read_bundle
from models.runtime import open_session

pytestmark = pytest.mark.train

Script = Callable[..., object]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Runs `python -m <module> <arguments>` in this process."""

    def run(module: str, *arguments: object) -> object:
        monkeypatch.setattr("sys.argv", [module, *map(str, arguments)])
        return import_module(module).main()

    return run


def test_the_scorer(script: Script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    script(
        "training.scorer.__main__", "--out", tmp_path, "--recipe", "rare", "--studies", 4,
        "--held-out", 24, "--steps", 2, "--store", store, "--version", "0.0.1",
    )  # fmt: skip

    bundle = read_bundle(store / "scorer" / "0.0.1")
    assert set(open_session(bundle, "cpu").input_names) == {"crops", "presence"}
    assert "4 of the recipe `rare` studies), 2 steps" in (bundle.path / "card.md").read_text()
    run, held_out = tmp_path / "train", tmp_path / "held_out"
    capsys.readouterr()
    script("training.scorer.contrast", "--run", run, "--held-out", held_out)
    assert set(json.loads(capsys.readouterr().out)) == {"calibration_half", "test_half"}
    more = tmp_path / "more"
    script(
        "training.scorer.cache", "--recipe", "rare", "--out", more, "--count", 5, "--share", 4, 1
    )
    script(
        "training.scorer.loop", "--cache", more, "--out", tmp_path / "further", "--steps", 1,
        "--start", bundle.path / "model.safetensors", "--kept", 0.5, "--bfloat16",
    )  # fmt: skip
    script(
        "training.scorer.export", "--run", tmp_path / "further", "--cache", more,
        "--held-out", held_out, "--calibrating", more,
    )  # fmt: skip
    figures = json.loads((tmp_path / "further" / "figures.json").read_text())
    assert figures["begun_with"] == "0.0.1"
    assert figures["calibration_studies"] == {"rare": 1}


def test_the_localiser(script: Script, tmp_path: Path) -> None:
    run, store = tmp_path / "run", tmp_path / "store"
    checkpoint, calibration = run / "checkpoint.pt", tmp_path / "calibration.json"
    script(
        "training.localiser.__main__", "--out", run, "--recipe", "train", "upper", "--steps", 2,
        "--batch", 1, "--workers", 0, "--bfloat16",
    )  # fmt: skip
    script(
        "training.localiser.calibrate",
        "--checkpoint",
        checkpoint,
        "--count",
        1,
        "--out",
        calibration,
    )
    script(
        "training.localiser.bundle", "--checkpoint", checkpoint, "--version", "0.0.1",
        "--calibration", calibration, "--store", store,
    )  # fmt: skip

    bundle = read_bundle(store / "localiser" / "0.0.1")
    assert open_session(bundle, "cpu").input_names == ("image",)
    written = tmp_path / "figures.json"
    script(
        "training.localiser.evaluate.__main__", "--count", 1, "--curves", 0,
        "--bundle-dir", bundle.path, "--json", written,
    )  # fmt: skip
    assert {row["scans"] for row in json.loads(written.read_text())["sets"].values()} == {1}
