from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from tests.unit.fit.made import ToyTrainee, recipe
from training.fit.checkpoint import load_checkpoint
from training.fit.errors import (
    CheckpointError,
    FitRecipeError,
    OtherRunError,
    TrackerMissingError,
)
from training.fit.loop import CHECKPOINT, Told, _lowered, fit, learning_rate
from training.fit.recipe import FOLDER, Overrides, load_recipe
from training.fit.trainee import Turn

pytestmark = pytest.mark.train


def pull_the_plug_at(last: int) -> Told:
    def on_step(step: int, _losses: Mapping[str, float]) -> None:
        if step == last:
            raise InterruptedError

    return on_step


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns(tmp_path: Path) -> None:
    trainee = ToyTrainee()
    fit(trainee, recipe(schedule={"steps": 60}), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row for row in rows if row["part"] == "validation"][-1]["right"] > 0.9


def states(run: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint: weights, averages, and the optimiser's moments."""
    mark = {"recipe_sha256": recipe().sha256, "data_sha256": ToyTrainee().data_sha256}
    stored = load_checkpoint(run / CHECKPOINT, mark, torch.device("cpu"))
    moments = {
        f"moment {number} {name}": torch.as_tensor(value)
        for number, values in stored["optimiser"]["state"].items()
        for name, value in values.items()
    }
    return {**stored["network"], **moments, "n": torch.tensor(stored["step"])} | {
        f"average {name}": value for name, value in stored["average"].items()
    }


@pytest.mark.parametrize("last", [1, 4, 5])
def test_interrupted_and_resumed_ends_in_the_same_bits(tmp_path: Path, last: int) -> None:
    whole = fit(ToyTrainee(), recipe(), tmp_path / "whole")
    with pytest.raises(InterruptedError):
        fit(ToyTrainee(), recipe(), tmp_path / "run", on_step=pull_the_plug_at(last))
    resumed = fit(ToyTrainee(), recipe(), tmp_path / "run")
    assert same(whole, resumed)
    whole_state, run_state = (states(tmp_path / name) for name in ("whole", "run"))
    assert whole_state.keys() == run_state.keys()
    assert all(torch.equal(value, run_state[name]) for name, value in whole_state.items())


def test_another_seed_ends_elsewhere(tmp_path: Path) -> None:
    first = fit(ToyTrainee(), recipe(), tmp_path / "a")
    assert not same(first, fit(ToyTrainee(), recipe(schedule={"seed": 2}), tmp_path / "b"))


def test_a_frozen_encoder_does_not_move_and_a_slow_one_moves_less(tmp_path: Path) -> None:
    moved = {}
    for how in ("frozen", "low_rate", "full"):
        trainee = ToyTrainee()
        before = {name: value.clone() for name, value in trainee.network.state_dict().items()}
        model = {"start": "served", "encoder": how}
        fit(trainee, recipe(model=model, schedule={"average": 0.0}), tmp_path / how)
        after = trainee.network.state_dict()
        moved[how] = sum(
            float((after[name].float() - value.float()).abs().sum())
            for name, value in before.items()
            if name.startswith("encoder.0")
        )
        head = float((after["head.1.weight"] - before["head.1.weight"]).abs().sum())
        assert head > 0
        if how == "frozen":
            assert torch.equal(after["encoder.1.running_mean"], before["encoder.1.running_mean"])
    assert moved["frozen"] == 0
    assert 0 < moved["low_rate"] < moved["full"]


def test_validation_chooses_how_far_a_run_goes(tmp_path: Path) -> None:
    def ended(trainee: ToyTrainee, run: Path, *kept: float) -> dict[str, float]:
        fit(trainee, recipe(model={"start": "served"}, schedule={"steps": 60, "kept": kept}), run)
        rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        tried = {row["kept"]: row["total"] for row in rows if row["part"] == "blended"}
        last = rows[-1]
        assert set(tried) == set(kept)
        assert (last["part"], last["total"]) == ("validation", min(tried.values()))
        return last

    begun = ToyTrainee().network.state_dict()
    assert ended(ToyTrainee(), tmp_path / "led", 0.0, 0.5, 1.0)["kept"] == 1.0
    assert ended(ToyTrainee(), tmp_path / "part", 0.0, 0.5)["kept"] == 0.5
    misled = ToyTrainee(misled=True)
    assert ended(misled, tmp_path / "misled", 0.0, 0.5, 1.0)["kept"] == 0.0
    # `fit` averages into a network of its own; what it returns is what is compared.
    kept = fit(
        ToyTrainee(misled=True),
        recipe(model={"start": "served"}, schedule={"kept": (0.0, 1.0)}),
        tmp_path / "kept",
    ).state_dict()
    assert all(
        torch.equal(kept[name], begun[name]) for name, _ in ToyTrainee().network.named_parameters()
    )


def test_a_truncated_checkpoint_is_an_error_before_anything_is_trained(tmp_path: Path) -> None:
    fit(ToyTrainee(), recipe(), tmp_path)
    whole = (tmp_path / CHECKPOINT).read_bytes()
    for damaged in (whole[:-7], whole[:50], whole[:60] + b"x" + whole[61:]):
        (tmp_path / CHECKPOINT).write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cut short or was changed") as caught:
            fit(ToyTrainee(), recipe(schedule={"steps": 6}), tmp_path)
        assert caught.value.code == "checkpoint_damaged"
    (tmp_path / CHECKPOINT).write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        fit(ToyTrainee(), recipe(), tmp_path)


def test_a_run_folder_belongs_to_one_recipe_and_its_data(tmp_path: Path) -> None:
    fit(ToyTrainee(), recipe(), tmp_path)
    with pytest.raises(OtherRunError, match="another recipe"):
        fit(ToyTrainee(), recipe(schedule={"rate": 0.01}), tmp_path)
    with pytest.raises(OtherRunError, match="another data"):
        fit(ToyTrainee(data="other points"), recipe(), tmp_path)
    fit(ToyTrainee(), recipe(run={"threads": 2}), tmp_path)


def test_the_run_folder_holds_all_there_is_to_know(tmp_path: Path) -> None:
    fit(ToyTrainee(), recipe(), tmp_path)
    told = json.loads((tmp_path / "recipe.json").read_text())
    assert told["schedule"]["steps"] == 6
    assert json.loads((tmp_path / "environment.json").read_text())["packages"]["torch"]
    assert json.loads((tmp_path / "data.json").read_text())["sha256"] == ToyTrainee().data_sha256
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "step-000003.png", "step-000006.png",
    ]  # fmt: skip
    (events,) = (tmp_path / "curves").iterdir()
    assert b"validation/right" in events.read_bytes()


def test_tracking_that_is_asked_for_and_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr("training.fit.records.find_spec", lambda _name: None)
    with pytest.raises(TrackerMissingError, match="install mlflow-skinny"):
        fit(ToyTrainee(), recipe(), tmp_path)


class Tracker(ModuleType):
    """Stands in for mlflow, whose functions it has as far as we call them."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = ModuleSpec("mlflow", None)
        self.experiment, self.begun, self.ended = "", 0, list[str]()
        self.params: dict[str, object] = {}
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def set_experiment(self, name: str) -> None:
        self.experiment = name

    def start_run(self) -> None:
        self.begun += 1

    def log_params(self, params: dict[str, object]) -> None:
        assert self.begun
        self.params |= params

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))

    def end_run(self, status: str) -> None:
        self.ended.append(status)


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    made = Tracker()
    monkeypatch.setitem(sys.modules, "mlflow", made)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    return made


def test_parameters_and_curves_go_to_the_tracking_server(tmp_path: Path, tracker: Tracker) -> None:
    fit(ToyTrainee(), recipe(schedule={"steps": 20, "validate_every": 10}), tmp_path)
    assert (tracker.experiment, tracker.begun, tracker.ended) == ("acuity-scorer", 1, ["FINISHED"])
    assert tracker.params["schedule.steps"] == 20
    assert tracker.params["model.kind"] == "scorer"
    assert tracker.params["data_sha256"] == ToyTrainee().data_sha256
    steps = {(step, name) for step, metrics in tracker.metrics for name in metrics}
    assert {(10, "training.total"), (20, "training.total")} <= steps
    assert {(10, "validation.right"), (20, "validation.right")} <= steps
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    kept = [row["right"] for row in rows if row["part"] == "validation"]
    told = [m["validation.right"] for _, m in tracker.metrics if "validation.right" in m]
    assert told == pytest.approx(kept, abs=1e-6)


def test_a_run_that_breaks_is_told_as_failed(tmp_path: Path, tracker: Tracker) -> None:
    with pytest.raises(InterruptedError):
        fit(ToyTrainee(), recipe(), tmp_path, on_step=pull_the_plug_at(2))
    assert tracker.ended == ["FAILED"]


def test_without_a_tracking_server_nothing_is_told(
    tmp_path: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    fit(ToyTrainee(), recipe(), tmp_path)
    assert (tracker.begun, tracker.metrics) == (0, [])


def test_the_same_run_twice_gives_the_same_bits(tmp_path: Path) -> None:
    first, second = (fit(ToyTrainee(), recipe(), tmp_path / name) for name in "ab")
    assert same(first, second)
    one, other = (states(tmp_path / name) for name in "ab")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("deterministic", [True, False])
def test_what_the_platform_leaves_open_is_fixed_for_the_run_and_no_longer(
    tmp_path: Path, *, deterministic: bool
) -> None:
    seen: list[tuple[bool, bool, int]] = []

    def look() -> tuple[bool, bool, int]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.get_num_threads(),
        )

    before = look()
    plan = recipe(run={"deterministic": deterministic, "threads": 2})
    fit(ToyTrainee(), plan, tmp_path / "a", on_step=lambda *_: seen.append(look()))
    assert set(seen) == {(deterministic, not deterministic, 2)}
    assert look() == before
    with pytest.raises(InterruptedError):
        fit(ToyTrainee(), plan, tmp_path / "b", on_step=pull_the_plug_at(1))
    assert look() == before


@pytest.mark.parametrize(
    ("device", "precision", "taken"),
    [
        ("cuda", "bfloat16", torch.bfloat16),
        ("cuda", "float16", torch.float16),
        ("cuda", "float32", None),
        ("cpu", "bfloat16", None),
        ("cpu", "float16", None),
    ],
)
def test_half_precision_is_for_gpus_that_are_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: str, taken: torch.dtype | None
) -> None:
    asked: list[tuple[str, torch.dtype]] = []

    def autocast(kind: str, *, dtype: torch.dtype) -> nullcontext[None]:
        asked.append((kind, dtype))
        return nullcontext()

    monkeypatch.setattr(torch, "autocast", autocast)
    with _lowered(recipe(run={"precision": precision}), torch.device(device)):
        pass
    assert asked == ([] if taken is None else [("cuda", taken)])


def test_products_in_half_precision_leave_weights_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a GPU would, by the CPU's bfloat16."""
    plan = recipe(schedule={"steps": 60}, run={"precision": "bfloat16"})
    whole = fit(ToyTrainee(), plan, tmp_path / "whole")
    kinds: set[torch.dtype] = set()

    class Watched(ToyTrainee):
        def losses(
            self, network: torch.nn.Module, batch: Mapping[str, torch.Tensor]
        ) -> dict[str, torch.Tensor]:
            if network.training:
                kinds.add(network(batch["points"]).dtype)
            return super().losses(network, batch)

    monkeypatch.setattr(
        "training.fit.loop._lowered", lambda *_: torch.autocast("cpu", dtype=torch.bfloat16)
    )
    lowered = fit(Watched(), plan, tmp_path / "lowered")
    assert kinds == {torch.bfloat16}
    floats = [v for v in lowered.state_dict().values() if v.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float32}
    assert not same(whole, lowered)
    rows = [
        json.loads(line) for line in (tmp_path / "lowered" / "log.jsonl").read_text().splitlines()
    ]
    assert [row for row in rows if row["part"] == "validation"][-1]["right"] > 0.9


def test_the_rate_rises_then_falls_to_a_hundredth() -> None:
    schedule = recipe(schedule={"steps": 100, "warm_up": 0.1, "rate": 0.5}).schedule
    rates = [learning_rate(step, schedule) for step in range(100)]
    assert rates[9] == pytest.approx(0.5)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.005, rel=0.05)


def test_processes_share_a_batch() -> None:
    assert [Turn(1, 0, rank, 3, 8).own for rank in range(3)] == [3, 3, 2]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("fit_*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path, tmp_path: Path) -> None:
    found = load_recipe(path.stem.removeprefix("fit_"), Overrides(manifest=tmp_path / "m.csv"))
    assert found.model.kind in path.stem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[model", "not TOML"),
        ("[model]\nkind = 'scorer'\n[schedule]\nsteps = 5", "manifest, a phantom recipe, or both"),
        ("[model]\nkind = 'x'\n[data]\nphantom='train'\n[schedule]\nsteps=5", "model.kind"),
        ("[model]\nkind = 'scorer'\n[data]\nphantom='train'\n[schedule]\nstep=5", "schedule.step"),
        (
            "[model]\nkind='scorer'\nstart='scratch'\n[data]\nmanifest='m.csv'\n[schedule]\nsteps=5",
            "from nothing needs a phantom recipe",
        ),
        (
            "[model]\nkind='scorer'\nstart='scratch'\nencoder='frozen'\n[data]\nphantom='train'\n"
            "[schedule]\nsteps=5",
            "only be trained in full",
        ),
        (
            "[model]\nkind='scorer'\nstart='scratch'\n[data]\nphantom='train'\n"
            "[schedule]\nsteps=5\nkept=[0.5]",
            "no weights to keep a part of",
        ),
        (
            "[model]\nkind='scorer'\nstart='scratch'\n[data]\nmanifest='m.csv'\nphantom='train'\n"
            "crossed=true\n"
            "[schedule]\nsteps=5",
            "have no mean",
        ),
        (
            "[model]\nkind='localiser'\n[data]\nmanifest='m.csv'\ncrossed=true\n"
            "[schedule]\nsteps=5",
            "only the run of a scorer",
        ),
        (
            "[model]\nkind='scorer'\n[data]\nphantom='train'\ncrossed=true\n[schedule]\nsteps=5",
            "no parts to cross",
        ),
    ],
)
def test_recipes_that_cannot_be(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(FitRecipeError, match=told):
        load_recipe(str(tmp_path / "mine.toml"))


def test_no_such_recipe() -> None:
    with pytest.raises(FitRecipeError, match="there are localiser_fine_tune"):
        load_recipe("nothing_like_it")


def test_paths_start_from_the_recipes_folder_and_do_not_change_what_is_learnt(
    tmp_path: Path,
) -> None:
    text = "[model]\nkind='scorer'\n[data]\nmanifest='{}'\n[schedule]\nsteps=5"
    (tmp_path / "a.toml").write_text(text.format("m.csv"))
    (tmp_path / "b.toml").write_text(text.format("other/m.csv"))
    first, second = (load_recipe(str(tmp_path / name)) for name in ("a.toml", "b.toml"))
    assert first.data.manifest == tmp_path / "m.csv"
    assert first.sha256 == second.sha256
    assert first.sha256 != load_recipe(str(tmp_path / "a.toml"), Overrides(steps=6)).sha256
