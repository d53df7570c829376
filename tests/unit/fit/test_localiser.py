"""The localiser as a trainee: masks of a site with the served network as teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from models.errors import BundleError
from models.localiser.classes import Structure
from models.localiser.network import LocaliserNetwork
from models.registry import resolve
from tests.unit.fit.made import recipe
from training.datasets.adapters.phantom import phantom_rows
from training.datasets.manifest import Manifest, write_manifest
from training.datasets.rows import Split
from training.datasets.split import SplitRule
from training.fit.errors import FitRecipeError, TooFewLevelsError
from training.fit.localiser import LocaliserTrainee, localiser_trainee
from training.fit.loop import fit
from training.fit.masks import masked_scans
from training.fit.prepare import load_weights
from training.fit.trainee import Turn
from training.localiser.crops import CropSettings

pytestmark = pytest.mark.train

SAMPLE = Path(__file__).resolve().parents[3] / "data_samples" / "healed"
SMALL = CropSettings(slices=6, rows=64, columns=64, per_volume=2)
MODEL = {"kind": "localiser", "start": "served", "encoder": "low_rate"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    rows = phantom_rows(SAMPLE, SplitRule(0.0, 0.0)).rows
    held = [row.model_copy(update={"split": Split.VALIDATION}) for row in rows]
    return write_manifest(tmp_path_factory.mktemp("m") / "m.parquet", [*rows, *held])


@pytest.fixture(scope="module")
def made(manifest: Manifest) -> LocaliserTrainee:
    plan = recipe(model=MODEL, data={"phantom": None, "manifest": "m.parquet"})
    torch.manual_seed(0)
    return localiser_trainee(plan, LocaliserNetwork(), manifest, SMALL)


def test_masked_bodies_are_bodies_with_their_own_centres(made: LocaliserTrainee) -> None:
    (scan,) = made.scans
    bodies = np.unique(scan.body[scan.structure == Structure.BODY])
    assert len(bodies) >= 5
    assert set(np.unique(scan.body)) - {0} == set(scan.centres)
    for index in bodies:
        place = np.argwhere(scan.body == index).mean(axis=0)[1:]
        np.testing.assert_allclose(place, scan.centres[int(index)])
    # Whatever the teacher takes for a body outside the mask is background, all else is its word.
    assert not ((scan.structure == Structure.BODY) & (scan.body == 0)).any()
    assert len(np.unique(scan.structure)) > 2


def test_a_batch_is_the_same_whenever_it_is_drawn(made: LocaliserTrainee) -> None:
    first, again = (made.batch(Turn(1, 3, 0, 1, 2)) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = made.batch(Turn(1, 4, 0, 1, 2))
    assert not torch.equal(first["image"], other["image"])


def test_a_short_run_moves_the_network_and_draws_it(made: LocaliserTrainee, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in made.network.state_dict().items()}
    schedule = {"steps": 1, "batch": 1, "average": 0.0, "validate_every": 1}
    plan = recipe(model=MODEL, data={"phantom": None, "manifest": "m.parquet"}, schedule=schedule)
    network = fit(made, plan, tmp_path)
    assert any(not torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert (tmp_path / "pictures" / "step-000001.png").read_bytes().startswith(b"\x89PNG")
    assert '"dice_bodies"' in (tmp_path / "log.jsonl").read_text()


def test_masks_without_a_teacher(manifest: Manifest) -> None:
    plan = recipe(model={"kind": "localiser"}, data={"manifest": "m.parquet"})
    with pytest.raises(FitRecipeError, match="as a teacher"):
        localiser_trainee(plan, LocaliserNetwork(), manifest, SMALL)


def test_labels_without_masks_train_no_localiser(manifest: Manifest) -> None:
    rows = tuple(
        row.model_copy(update={"mask_path": None, "mask_sha256": None}) for row in manifest.rows
    )
    bare = Manifest(rows, manifest.folder)
    assert masked_scans(bare, LocaliserNetwork()) == []
    plan = recipe(model=MODEL, data={"phantom": None, "manifest": "m.parquet"})
    with pytest.raises(TooFewLevelsError, match="no masked scan"):
        localiser_trainee(plan, LocaliserNetwork(), bare, SMALL)


def test_weights_of_another_network_are_said_at_once() -> None:
    with pytest.raises(BundleError, match="another network than this version trains"):
        load_weights(LocaliserNetwork((4, 6, 8, 8)), resolve("localiser"))
