"""What is wrong with a run is said at once: before a study is read, drawn or learned from."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from models.errors import AcuityError
from models.manifest import METADATA, SECTION, seal
from models.registry import read_bundle, resolve
from tests.unit.fit.made import patient
from training.crossing import PARTS, half_run
from training.datasets.manifest import write_manifest
from training.datasets.rows import LabelRow
from training.fit import prepare as preparing
from training.fit.__main__ import half_recipe, main
from training.fit.checkpoint import save_checkpoint
from training.fit.loop import CHECKPOINT
from training.fit.recipe import load_recipe
from training.judging.learned import LEARNED_FROM, noted

pytestmark = pytest.mark.train

RECIPE = """
[model]
kind = "scorer"
start = "{start}"
encoder = "low_rate"

[data]
manifest = "labels.csv"
phantom = "{phantom}"
crossed = {crossed}

[schedule]
steps = 2
batch = 4
"""


class Run:
    """A recipe with its manifest, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out, self.manifest = folder, folder / "run", folder / "labels.csv"
        self.label([patient(1, "train"), patient(2, "validation")])
        self.write()

    def label(self, rows: list[LabelRow]) -> None:
        write_manifest(self.manifest, rows)

    def write(self, start: str = "served", phantom: str = "train", crossed: str = "false") -> None:
        text = RECIPE.format(start=start, phantom=phantom, crossed=crossed)
        (self.folder / "mine.toml").write_text(text)

    def fit(self) -> None:
        main(["--recipe", str(self.folder / "mine.toml"), "--out", str(self.out)])

    def checkpoint(self, run: Path) -> Path:
        """Write a checkpoint of this recipe, as an interrupted run leaves it."""
        recipe = load_recipe(str(self.folder / "mine.toml"))
        if recipe.data.crossed:
            recipe = half_recipe(recipe, self.out)
        run.mkdir(parents=True)
        mark = {"recipe_sha256": recipe.sha256, "data_sha256": "d" * 64}
        save_checkpoint(run / CHECKPOINT, {"step": 1, "w": torch.zeros(2000)}, mark)
        return run / CHECKPOINT


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Nothing may be read or drawn, and nothing is left where a run would be."""

    def prepared(*_arguments: object, **_more: object) -> NoReturn:
        raise AssertionError("a study was read or drawn")

    for name in ("fill_levels", "fill_cache"):
        monkeypatch.setattr(preparing, name, prepared)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Run(tmp_path)


def leaking(run: Run) -> None:
    run.label([patient(1, "train"), patient(1, "validation"), patient(2, "validation")])


def newer(run: Run) -> None:
    change(run.manifest, lambda record: record | {"manifest_schema": "2"})


def without_a_column(run: Run) -> None:
    change(run.manifest, lambda record: {k: v for k, v in record.items() if k != "split"})


def change(path: Path, how: Callable[[dict[str, str]], dict[str, str]]) -> None:
    with path.open(newline="") as file:
        records = [how(record) for record in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def without_studies(_run: Run) -> None:
    """As it is: the rows speak of a study that is not there."""


def without_validation(run: Run) -> None:
    run.label([patient(1, "train"), patient(2, "test")])


def without_a_manifest(run: Run) -> None:
    run.manifest.unlink()


def damaged_bundle(run: Run) -> None:
    served = resolve("scorer")
    copy = run.folder / "bundles" / "scorer" / served.version
    shutil.copytree(served.path, copy)
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    run.write(start=str(copy))


def bundle_of_another_kind(run: Run) -> None:
    run.write(start=str(resolve("localiser").path))


def truncated_checkpoint(run: Run) -> None:
    path = run.checkpoint(run.out)
    path.write_bytes(path.read_bytes()[:-100])


def truncated_checkpoint_of_the_second_half(run: Run) -> None:
    run.write(crossed="true")
    first, second = (run.checkpoint(half_run(run.out, part)) for part in PARTS)
    assert first.stat().st_size == second.stat().st_size
    second.write_bytes(second.read_bytes()[:-100])


def checkpoint_of_another_recipe(run: Run) -> None:
    run.checkpoint(run.out)
    run.write(phantom="rare")


def misspelt_phantom(run: Run) -> None:
    run.write(phantom="trian")


def phantom_for_judging_only(run: Run) -> None:
    run.write(phantom="low_field")


def taught_before(run: Run, *rows: LabelRow) -> None:
    """Start from a bundle that learned from these rows."""
    served = resolve("scorer")
    copy = run.folder / "bundles" / "scorer" / served.version
    shutil.copytree(served.path, copy)
    told = json.loads((copy / METADATA).read_bytes())
    sets = [noted(rows, "ab" * 16)]
    told[SECTION]["trained"] = {"learned_parts": ["train"], LEARNED_FROM: sets}
    (copy / METADATA).write_bytes(seal(told))
    read_bundle(copy)
    run.write(start=str(copy))


def learned_from_what_validates(run: Run) -> None:
    taught_before(run, patient(2, "train"))


@pytest.mark.parametrize(
    ("wrong", "code", "told"),
    [
        (leaking, "manifest_checks_failed", "leaking_patient: 1 patient"),
        (newer, "manifest_newer_version", "schema 2"),
        (without_a_column, "manifest_columns", "missing: split"),
        (without_studies, "manifest_checks_failed", "file_missing"),
        (without_validation, "nothing_chosen", "validation"),
        (without_a_manifest, "manifest_missing", "no manifest"),
        (damaged_bundle, "bundle_invalid", "SHA-256 does not match"),
        (bundle_of_another_kind, "bundle_invalid", "the bundle is a localiser"),
        (truncated_checkpoint, "checkpoint_damaged", "cut short"),
        (truncated_checkpoint_of_the_second_half, "checkpoint_damaged", "cut short"),
        (checkpoint_of_another_recipe, "run_of_another_recipe", "another recipe"),
        (misspelt_phantom, None, "no recipe trian"),
        (phantom_for_judging_only, None, "for judging only"),
        (
            learned_from_what_validates,
            "cases_learned_from",
            "that are to validate it",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_it_is_refused_at_once(
    run: Run, wrong: Callable[[Run], None], code: str | None, told: str
) -> None:
    wrong(run)
    before = sorted(run.folder.rglob("*"))
    with pytest.raises(AcuityError, match=told) as caught:
        run.fit()
    assert code in (None, caught.value.code)
    assert sorted(run.folder.rglob("*")) == before


def test_what_a_run_goes_on_learning_from_is_no_fault(run: Run) -> None:
    """Of a run that is not crossed: the part it learns from, not the one that validates."""
    taught_before(run, patient(1, "train"))
    with pytest.raises(AcuityError, match="file_missing"):
        run.fit()
    run.folder.joinpath("mine.toml").write_text(
        run.folder.joinpath("mine.toml").read_text().replace("crossed = false", "crossed = true")
    )
    with pytest.raises(AcuityError, match="that are to validate it"):
        run.fit()


def test_a_tracking_server_without_what_speaks_to_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr("training.fit.records.find_spec", lambda _name: None)
    with pytest.raises(AcuityError, match="install mlflow-skinny") as caught:
        run.fit()
    assert caught.value.code == "tracker_missing"
    assert not run.out.exists()
