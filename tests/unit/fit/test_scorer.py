from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from models.findings import Acuity, Call, Etiology, Shape
from models.registry import Bundle
from models.scorer.heads import HEADS
from models.scorer.network import ScorerNetwork
from tests.unit.datasets.made import row
from tests.unit.fit.made import recipe, write_levels
from training.datasets.manifest import Manifest
from training.datasets.rows import Labels, Split
from training.fit import prepare as preparing
from training.fit.errors import TooFewLevelsError
from training.fit.levels import label_targets
from training.fit.loop import fit
from training.fit.prepare import CALIBRATION
from training.fit.scorer import ScorerTrainee, _part, known_maps
from training.fit.trainee import Turn
from training.phantom.recipe import PhantomRecipe
from training.scorer.pool import LevelPool

pytestmark = pytest.mark.train

SHORT = {"steps": 3, "batch": 4, "checkpoint_every": 1, "validate_every": 3}


def trainee(folder: Path) -> ScorerTrainee:
    torch.manual_seed(0)
    pools = [LevelPool(folder / name) for name in ("labelled", "synthetic", "validation")]
    return ScorerTrainee(ScorerNetwork(), *pools)


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    write_levels(tmp_path / "labelled", 5, seed=1)
    write_levels(tmp_path / "synthetic", 3, seed=2, map_known=True)
    write_levels(tmp_path / "validation", 2, seed=3)
    return tmp_path


def test_an_interrupted_scorer_run_ends_in_the_same_bits(levels: Path) -> None:
    whole = fit(trainee(levels), recipe(schedule=SHORT), levels / "a")

    def pull_the_plug(step: int, _losses: object) -> None:
        if step == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(trainee(levels), recipe(schedule=SHORT), levels / "b", on_step=pull_the_plug)
    resumed = fit(trainee(levels), recipe(schedule=SHORT), levels / "b")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert (levels / "a" / "pictures" / "step-000003.png").read_bytes().startswith(b"\x89PNG")


def test_every_batch_holds_both_kinds_and_a_pass_holds_every_level_once(levels: Path) -> None:
    made = trainee(levels)
    batch = made.batch(Turn(1, 0, 0, 1, 4))
    assert batch["crops"].shape[0] == 4
    # Of labelled levels nobody outlined the edema: its map is not judged.
    judged = batch["counts"].sum(dim=(1, 2, 3, 4)) > 0
    assert judged.tolist()[:2] == [False, False]
    seen = np.concatenate([_part(made.labelled, Turn(1, step, 0, 1, 5), 5)[1] for step in range(3)])
    assert sorted(seen.tolist()) == list(range(15))


def test_labels_without_shape_height_and_map_still_train(levels: Path) -> None:
    made = trainee(levels)
    batch = made.batch(Turn(1, 0, 0, 1, 4))
    losses = made.losses(made.network, batch)
    assert all(bool(torch.isfinite(value)) for value in losses.values())
    only = known_maps(made.labelled, np.arange(3))
    assert only.counts.sum() == 0


def test_too_few_levels_to_train_on(tmp_path: Path) -> None:
    write_levels(tmp_path / "labelled", 1)
    write_levels(tmp_path / "validation", 1, seed=4)
    with pytest.raises(TooFewLevelsError, match="3 levels to train on"):
        trainee(tmp_path)


def test_levels_of_which_nothing_is_said_teach_nothing(levels: Path) -> None:
    for path in (levels / "labelled").glob("*.npz"):
        with np.load(path, allow_pickle=False) as stored:
            content = {name: stored[name] for name in stored.files}
        content["targets"] = np.full_like(content["targets"], np.nan)
        np.savez(path, **content)
    with pytest.raises(TooFewLevelsError, match="none of the 15 labelled levels says anything"):
        trainee(levels)


@pytest.mark.parametrize(
    ("start", "labelled", "drawn"),
    [
        ("scratch", True, {"synthetic": "train", CALIBRATION: "validate"}),
        ("scratch", False, {"synthetic": "train", "validation": "validate"}),
        ("served", True, {"synthetic": "train"}),
    ],
)
def test_a_scorer_from_nothing_has_synthetic_levels_for_its_thresholds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: str,
    labelled: bool,
    drawn: dict[str, str],
) -> None:
    made: dict[str, str] = {}

    def fill_cache(phantom: PhantomRecipe, cache: Path, _count: int) -> None:
        made[cache.name] = phantom.name
        write_levels(cache, 3)

    def fill_levels(_rows: Manifest, _by: Bundle, cache: Path, _told: object) -> dict[str, int]:
        write_levels(cache, 3)
        return {}

    monkeypatch.setattr(preparing, "fill_cache", fill_cache)
    monkeypatch.setattr(preparing, "fill_levels", fill_levels)
    own = {"study_instance_uid": "1.2", "patient_key": "p2", "pixel_sha256": "1" * 64}
    rows = (row(), row(split="validation", **own))
    plan = recipe(model={"start": start}, data={"manifest": "m.csv"} if labelled else {})
    manifest = Manifest(rows, tmp_path) if labelled else None
    preparing._scorer(plan, tmp_path, ScorerNetwork(), manifest, Split.TRAIN)
    assert made == drawn


def test_products_in_half_precision_still_teach(levels: Path) -> None:
    made = trainee(levels)
    batch = made.batch(Turn(1, 0, 0, 1, 4))
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = made.losses(made.network, batch)
    lowered["total"].backward()
    torch.manual_seed(1)
    whole = made.losses(made.network, batch)
    assert lowered["total"].item() == pytest.approx(whole["total"].item(), rel=0.02)
    slopes = [one.grad for one in made.network.parameters() if one.grad is not None]
    assert slopes
    assert all(one.dtype == torch.float32 and bool(torch.isfinite(one).all()) for one in slopes)


def test_labels_become_targets_and_open_questions_stay_open() -> None:
    labels = Labels(
        edema=Call.PRESENT,
        fracture=Call.PRESENT,
        acuity=Acuity.UNHEALED,
        etiology=Etiology.BENIGN,
        shape=Shape.WEDGE,
        height_loss_percent=30.0,
        mimic_modic_1=False,
    )
    targets = dict(zip(HEADS, label_targets(labels).tolist(), strict=True))
    asked = {name: value for name, value in targets.items() if not np.isnan(value)}
    assert asked == pytest.approx(
        {
            "edema": 1, "fracture": 1, "unhealed": 1, "pathological": 0, "mimic_modic_1": 0,
            "shape_none": 0, "shape_wedge": 1, "shape_biconcave": 0, "shape_crush": 0,
            "height_loss": 0.3,
        }
    )  # fmt: skip
    assert np.isnan(label_targets(Labels())).all()
    assert np.isnan(label_targets(Labels(acuity=Acuity.INDETERMINATE))).all()
