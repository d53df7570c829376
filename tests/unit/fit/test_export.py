"""From a finished run to a bundle: what it holds, and what is refused before anything is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch
from safetensors.torch import save, save_file
from torch import nn

from models.errors import VersionTakenError
from models.localiser.network import LocaliserNetwork, ServedLocaliser
from models.manifest import (
    CARD,
    METADATA,
    MODEL_ONNX,
    MODEL_SAFETENSORS,
    SECTION,
    NetworkSpec,
)
from models.registry import Bundle, install, open_verified, read_bundle, resolve, verify
from models.runtime import Tensors, load_network
from models.scorer.calibration import read_calibration
from models.scorer.crops import CHANNELS, CROP_SHAPE, PRESENCE
from models.scorer.heads import HEADS, SHAPES
from models.scorer.network import ScorerNetwork
from tests.unit.fit.made import patient, recipe
from training.crossing import PARTS, half_bundle, half_run
from training.datasets.manifest import write_manifest
from training.export import BundleDraft, Parity, _metadata, render_card
from training.fit import export as exporting
from training.fit.__main__ import half_recipe
from training.fit.errors import FitError
from training.fit.export import export_run
from training.fit.prepare import CALIBRATION
from training.fit.recipe import FitRecipe
from training.fit.records import LEARNED, learned_of, write_learned, write_start
from training.fit.timings import read_timings
from training.judging.errors import SeenCasesError
from training.judging.learned import CALIBRATED_ON, LEARNED_FROM, require_unseen
from training.scorer.cache import LevelSet, packed, save_levels

pytestmark = pytest.mark.train

SMALL = (4, 6, 8, 8)


def without_a_graph(
    network: nn.Module, draft: BundleDraft, store: Path, *, eight_bit: Sequence[Tensors] = ()
) -> tuple[Bundle, Parity]:
    """All of `export_bundle` but the ONNX graph, whose making takes most of a minute."""
    # A localiser is served in eight bits, a scorer in float.
    assert bool(eight_bit) == (draft.name == "localiser")
    weights = save({name: value.contiguous() for name, value in network.state_dict().items()})
    load_network(draft.network, weights)
    files = {MODEL_SAFETENSORS: weights, CARD: render_card(draft).encode(), MODEL_ONNX: b"none"}
    return install({**files, METADATA: _metadata(draft, files)}, store), Parity(0.0, "", 0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "export_bundle", without_a_graph)


def finish(run: Path, plan: FitRecipe, network: nn.Module, data: str = "d" * 64) -> Path:
    """A run folder as a finished run leaves it."""
    write_start(run, plan, {"sha256": data, "labelled": {"levels": 9}})
    (run / "log.jsonl").write_text('{"step": 2, "part": "validation", "auroc_edema": 0.75}\n')
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, run / "network.safetensors")
    return run


def write_drawn(folder: Path, cases: int, *, seed: int) -> None:
    """Synthetic levels as the phantom's cache has them, with all that thresholds are chosen on."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    slices, rows, columns = CROP_SHAPE
    for case in range(cases):
        crops = rng.normal(0.0, 0.1, (5, len(CHANNELS), *CROP_SHAPE)).astype(np.float32)
        crops[:, -2:] = 0.0
        crops[:, -2:, 3:9, 26:46, 14:34] = 1.0
        targets = rng.integers(0, 2, (5, len(HEADS))).astype(np.float32)
        targets[:, [HEADS.index(f"shape_{shape}") for shape in SHAPES]] = [1.0, 0.0, 0.0, 0.0]
        presence = np.zeros((5, len(PRESENCE)), np.float32)
        presence[:, [PRESENCE.index("stir"), PRESENCE.index("t1")]] = 1.0
        abouts = tuple(
            {
                "case": case, "level": level, "sequence_set": "stir+t1", "fracture": "none",
                "heights": [24.0, 23.0, 25.0], "height_loss_percent": 0.0,
                "measured": {"bright_fraction": float(rng.random())},
            }
            for level in ("L1", "L2", "L3", "L4", "L5")
        )  # fmt: skip
        maps = np.zeros((5, slices, rows // 2, columns // 2), np.uint8)
        levels = LevelSet(packed(crops), presence, maps, targets, abouts)
        save_levels(folder / f"case-{seed}{case:03d}.npz", levels)


SCRATCH = {"kind": "scorer", "start": "scratch"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("labelled", [False, True])
def test_a_scorer_from_nothing_is_calibrated_on_synthetic_levels(
    tmp_path: Path, *, labelled: bool
) -> None:
    torch.manual_seed(0)
    data = {"manifest": str(tmp_path / "m.csv")} if labelled else {}
    plan = recipe(model=SCRATCH, data={"phantom": "train"} | data)
    run = finish(tmp_path / "run", plan, ScorerNetwork())
    write_drawn(run / "cache" / "synthetic", 9, seed=1)
    write_drawn(run / "cache" / (CALIBRATION if labelled else "validation"), 9, seed=2)
    bundle = read_bundle(export_run(run, "9.0.0-site.1", tmp_path / "out").path)
    verify(bundle)
    assert list(bundle.metadata["changelog"]) == ["9.0.0-site.1"]
    assert bundle.metadata["changelog"]["9.0.0-site.1"].startswith("Trained from nothing")
    known = read_calibration(bundle.metadata)
    assert known.operating_points["edema"].chosen_on == "synthetic validation levels"
    shipped = read_calibration(resolve("scorer").metadata)
    assert known.platt["edema"] != shipped.platt["edema"]
    assert known.operating_points["edema"] != shipped.operating_points["edema"]
    assert set(known.reference_heights_mm) == {"L1", "L2", "L3", "L4", "L5"}


@pytest.mark.usefixtures("quick")
def test_a_scorer_from_nothing_whose_levels_are_gone(tmp_path: Path) -> None:
    run = finish(tmp_path / "run", recipe(model=SCRATCH), ScorerNetwork())
    with pytest.raises(FitError, match="no levels in validation"):
        export_run(run, "9.0.0-site.1", tmp_path / "out")
    write_drawn(run / "cache" / "validation", 1, seed=2)
    with pytest.raises(FitError, match="no levels in synthetic"):
        export_run(run, "9.0.0-site.1", tmp_path / "out")


@pytest.mark.usefixtures("quick")
def test_a_localiser_from_nothing_takes_all_but_its_weights_from_the_code(tmp_path: Path) -> None:
    plan = recipe(model={"kind": "localiser", "start": "scratch"})
    network = LocaliserNetwork()
    run = finish(tmp_path / "run", plan, network)
    bundle = export_run(run, "9.0.0", tmp_path / "out")
    shipped = resolve("localiser")
    assert bundle.network == shipped.network
    assert bundle.metadata["network_data_format"] == shipped.metadata["network_data_format"]
    assert bundle.preprocessing == shipped.preprocessing
    assert "learned_from" not in bundle.metadata[SECTION]["trained"]
    weights = open_verified(bundle)[MODEL_SAFETENSORS]
    served = load_network(bundle.network, weights)
    inner = ServedLocaliser(network).state_dict()
    assert all(torch.equal(value, inner[name]) for name, value in served.state_dict().items())
    assert "auroc edema | 0.750" in open_verified(bundle)[CARD].decode()


@pytest.mark.soak  # torch takes a minute to trace it, however narrow it is
def test_a_localiser_is_exported_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow one, with its graph, from a bundle to the next."""
    shipped = resolve("localiser")
    spec = NetworkSpec(shipped.network.builder, {"widths": list(SMALL)})
    torch.manual_seed(0)
    narrow = LocaliserNetwork(SMALL)
    card = exporting._card(recipe(), {"sha256": "d" * 64}, {}, None)
    draft = exporting._draft_from(shipped, "1.0.0", card, "narrow")
    draft = exporting.replace(draft, network=spec)
    served = ServedLocaliser(narrow)
    start, _ = without_a_graph(served, draft, tmp_path / "bundles", eight_bit=[{}])
    plan = recipe(model={"kind": "localiser", "start": str(start.path)})
    run = finish(tmp_path / "run", plan, narrow)
    monkeypatch.setattr("training.export._TRIED_STEPS", (2,))
    bundle = export_run(run, "1.1.0", tmp_path / "out")
    verify(read_bundle(bundle.path))
    assert bundle.network == start.network
    assert b"QuantizeLinear" in open_verified(bundle)[MODEL_ONNX]
    assert bundle.metadata[SECTION]["arithmetic"] == "int8"


@pytest.mark.usefixtures("quick")
def test_a_bundle_carries_what_it_and_its_forerunners_learned_from(tmp_path: Path) -> None:
    rows = [patient(1, "train"), patient(2, "validation"), patient(3, "test")]
    path = tmp_path / "m.csv"
    manifest = write_manifest(path, rows)
    served = resolve("scorer")
    network = load_network(served.network, open_verified(served)[MODEL_SAFETENSORS])
    first = recipe(
        model={"start": "served"}, data={"manifest": path, "phantom": None, "crossed": True}
    )
    run = tmp_path / "run"
    alone = half_recipe(first, run)
    for part in PARTS:
        finish(half_run(run, part), alone, network)
        write_learned(half_run(run, part), learned_of(alone, [part]))
    finish(run, first, network)
    write_learned(run, learned_of(first, PARTS))
    candidate = export_run(run, "9.0.0-site.1", tmp_path / "out")
    assert list(read_timings(run)) == ["exporting"]
    told = candidate.metadata[SECTION]["trained"]
    assert set(told["learned_parts"]) == {"train", "validation"}
    assert told["data_sha256"] == "d" * 64

    def learned(bundle: Bundle) -> list[int]:
        found = []
        for number in (1, 2, 3, 4):
            own = type(manifest)((patient(number, "test"),), tmp_path)
            try:
                require_unseen(bundle, own)
            except SeenCasesError:
                found.append(number)
        return found

    assert learned(candidate) == [1, 2]
    halves = {part: read_bundle(half_bundle(run, "scorer", part)) for part in PARTS}
    assert [learned(half) for half in halves.values()] == [[1], [2]]
    parts = [half.metadata[SECTION]["trained"]["learned_parts"] for half in halves.values()]
    assert parts == [("train",), ("validation",)]
    assert told[LEARNED_FROM][0]["digests"] not in open_verified(candidate)[CARD].decode()
    # The next one starts from it, on other patients.
    write_manifest(path, [patient(4, "train"), patient(5, "validation")])
    second = recipe(model={"start": str(candidate.path)}, data={"manifest": path, "phantom": None})
    again = finish(tmp_path / "again", second, network)
    write_learned(again, learned_of(second, PARTS[:1]))
    assert learned(export_run(again, "9.0.0-site.2", tmp_path / "out")) == [1, 2, 4]


@pytest.mark.usefixtures("quick")
def test_a_run_from_before_goes_by_its_parts(tmp_path: Path) -> None:
    plan = recipe(model={"start": "served"}, data={"manifest": tmp_path / "m.csv", "phantom": None})
    run = finish(tmp_path / "run", plan, ScorerNetwork())
    assert not (run / LEARNED).exists()
    told = export_run(run, "9.0.0-site.1", tmp_path / "out").metadata[SECTION]["trained"]
    assert told["learned_parts"] == ("train",)
    assert LEARNED_FROM not in told
    assert CALIBRATED_ON not in told


def test_synthetic_runs_write_no_digests(tmp_path: Path) -> None:
    write_learned(tmp_path, learned_of(recipe(), PARTS[:1]))
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_taken_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finish(tmp_path / "run", recipe(model={"start": "served"}), ScorerNetwork())
    (tmp_path / "out" / "scorer" / "9.0.0").mkdir(parents=True)
    monkeypatch.setattr(exporting, "_export", lambda *_: pytest.fail("something was made"))
    with pytest.raises(VersionTakenError, match=r"scorer 9\.0\.0 is already there") as caught:
        export_run(run, "9.0.0", tmp_path / "out")
    assert caught.value.code == "bundle_version_taken"


def test_a_run_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FitError, match=r"no readable recipe\.json"):
        export_run(tmp_path, "9.0.0", tmp_path / "out")
    (tmp_path / "recipe.json").write_text(json.dumps({"model": {"kind": "x"}, "sha256": ""}))
    with pytest.raises(FitError, match="not one that this version exports"):
        export_run(tmp_path, "9.0.0", tmp_path / "out")
