from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from models.findings import Acuity, Coverage, Shape
from models.registry import resolve
from models.scorer.calibration import Platt, read_calibration
from models.scorer.calls import (
    LIMIT_CEMENT,
    call_acuity,
    call_edema,
    call_fracture,
    weigh_contrast,
)
from models.scorer.crops import CHANNELS, CROP_SHAPE, PRESENCE
from models.scorer.extent import Extent
from models.scorer.heads import BINARY_HEADS, HEADS, NEEDS_FLUID
from models.scorer.network import ScorerNetwork
from models.volume import Role
from tests.unit.scorer.test_scorer import METADATA
from training.phantom.disease.fracture import sample_fracture
from training.phantom.painting.tissues import LevelTruth
from training.phantom.recipe import load_recipe, recipe_of
from training.phantom.scene import Scene, SceneRequest, sample_scene
from training.scorer.augment import augmented
from training.scorer.cache import LevelSet, level_set, load_levels, packed, save_levels, unpacked
from training.scorer.calibrate import (
    AcceptedErrors,
    choose_flag,
    choose_point,
    drawn_from,
    fit_platt,
    supports_unhealed,
)
from training.scorer.conformal import conformal_quantile, etiology_quantiles
from training.scorer.evaluate import judge, network_of
from training.scorer.evaluate import told as judged_as_text
from training.scorer.export import Crops, draft_of, finish
from training.scorer.loop import Recipe, prepared_batches, train
from training.scorer.losses import batch_losses, matched_weights, positive_weights
from training.scorer.page import page
from training.scorer.pool import LevelPool
from training.scorer.predict import MAP_LEVELS, Predictions
from training.scorer.studies import synthesise
from training.scorer.targets import level_targets, without_fluid
from training.statistics.probabilities import calibration_curve

pytestmark = pytest.mark.train

SHAPE = (5, len(CHANNELS), *CROP_SHAPE)


@pytest.fixture(scope="module")
def scene() -> Scene:
    rng = np.random.default_rng(5)
    fracture = sample_fracture(rng, stage="acute", shape="wedge")
    return sample_scene(77, SceneRequest(region="lumbar", diseases={"L2": fracture}))


@pytest.fixture(scope="module")
def levels(scene: Scene) -> LevelSet:
    made = synthesise(scene, np.random.default_rng(2), roles=(Role.STIR, Role.T1))
    found = level_set(made, "case-0000077")
    assert found is not None
    return found


def truth(**changes: object) -> LevelTruth:
    plain: dict[str, object] = {
        "index": 1,
        "level": "L1",
        "visible": "complete",
        "centroid_lps_mm": np.zeros(3),
        "axes_lps": np.eye(3),
        "heights_mm": (25.0, 24.0, 26.0),
        "intact_heights_mm": (25.0, 24.0, 26.0),
        "depth_mm": 34.0,
        "width_mm": 44.0,
    }
    return LevelTruth(**(plain | changes))  # type: ignore[arg-type]


def answer(targets: np.ndarray, name: str) -> float:
    return float(targets[HEADS.index(name)])


def test_targets_of_an_unhealed_fracture() -> None:
    drawn = truth(fracture="wedge", stage="acute", etiology="benign", height_loss_percent=30.0)
    targets = level_targets(drawn, 0.4)
    assert [answer(targets, name) for name in ("edema", "fracture", "unhealed")] == [1, 1, 1]
    assert answer(targets, "pathological") == 0.0
    assert answer(targets, "shape_wedge") == 1.0
    assert answer(targets, "height_loss") == pytest.approx(0.3)


def test_etiology_is_asked_only_where_something_is_to_be_explained() -> None:
    assert np.isnan(answer(level_targets(truth(), 0.0), "pathological"))
    assert answer(level_targets(truth(mimics=("modic_1",)), 0.2), "pathological") == 0.0
    assert answer(level_targets(truth(etiology="pathological"), 0.0), "pathological") == 1.0


def test_doubtful_edema_is_not_asked() -> None:
    targets = level_targets(truth(fracture="wedge", stage="subacute"), 0.015)
    assert np.isnan(answer(targets, "edema"))
    assert np.isnan(answer(targets, "unhealed"))


def test_without_fluid_only_shape_and_cement_remain() -> None:
    targets = without_fluid(level_targets(truth(), 0.0))
    for name in BINARY_HEADS:
        assert np.isnan(answer(targets, name)) == (name in NEEDS_FLUID)
    assert answer(targets, "height_loss") == 0.0


def test_the_fractured_level_is_edematous_in_crop_and_target(levels: LevelSet) -> None:
    broken = [about["level"] for about in levels.about].index("L2")
    others = [i for i in range(len(levels.about)) if i != broken]
    assert answer(levels.targets[broken], "fracture") == 1.0
    assert all(answer(levels.targets[i], "fracture") == 0.0 for i in others)
    assert levels.about[broken]["edema_fraction"] > 0.05  # type: ignore[operator]
    crops = unpacked(levels.crops)
    wet = levels.edema_map[broken] > 200
    own = crops[broken, -2, :, ::2, ::2] > 0.9
    fluid = crops[broken, 0, :, ::2, ::2]
    assert fluid[wet & own].mean() > fluid[~wet & own].mean() + 0.1


def test_packing_loses_half_a_step(levels: LevelSet, tmp_path: Path) -> None:
    crops = unpacked(levels.crops)
    assert np.abs(unpacked(packed(crops)) - crops).max() < 1e-6
    path = tmp_path / "case-0000077.npz"
    save_levels(path, levels)
    again = load_levels(path)
    np.testing.assert_array_equal(again.crops, levels.crops)
    assert [about["level"] for about in again.about] == [about["level"] for about in levels.about]


def test_localisation_errs_but_little(scene: Scene) -> None:
    made = synthesise(scene, np.random.default_rng(2), roles=(Role.STIR,))
    truths = {level.index: level for level in made.levels}
    whole = [v for v in made.localisation.vertebrae if v.coverage is Coverage.COMPLETE]
    assert len(whole) >= 4
    for vertebra in whole:
        drawn = truths[vertebra.index]
        assert np.linalg.norm(vertebra.centroid_lps_mm - drawn.centroid_lps_mm) < 6.0
        assert vertebra.axes_lps[2] @ drawn.axes_lps[2] > np.cos(np.radians(20))


def test_network_gives_a_map_and_heads_and_hears_the_mask() -> None:
    torch.manual_seed(0)
    network = ScorerNetwork().eval()
    crops = torch.zeros(SHAPE)
    crops[:, 0] = torch.randn(SHAPE[0], *CROP_SHAPE)
    crops[:, -2, 4:8, 25:45, 12:32] = 1.0
    crops[:, -1] = crops[:, -2]
    presence = torch.zeros(SHAPE[0], len(PRESENCE))
    with torch.no_grad():
        edema_map, heads = network(crops, presence)
        moved = crops.clone()
        moved[:, -2:] = moved[:, -2:].roll(10, dims=3)
        _, other = network(moved, presence)
    assert edema_map.shape == (SHAPE[0], 1, 12, 36, 24)
    assert heads.shape == (SHAPE[0], len(HEADS))
    assert not torch.allclose(heads, other)


@pytest.fixture(scope="module")
def cache(levels: LevelSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    for name in ("case-1", "case-2"):
        save_levels(folder / f"{name}.npz", levels)
    return folder


def test_threads_that_make_batches_change_nothing_about_them(cache: Path) -> None:
    drawn = []
    for preparing in (1, 3):
        batches = prepared_batches(
            LevelPool(cache, "train"), Recipe(batch=2, preparing=preparing), first=0
        )
        drawn.append([next(batches) for _ in range(6)])
        batches.close()
    for (one, its), (other, weights) in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one.crops, other.crops)
        np.testing.assert_array_equal(one.targets, other.targets)
        assert torch.equal(its, weights)
    # Another start of a run that was stopped draws others.
    later = prepared_batches(LevelPool(cache, "train"), Recipe(batch=2), first=5)
    assert not np.array_equal(next(later)[0].crops, drawn[0][0][0].crops)
    later.close()


def test_a_schedule_may_end_by_time(cache: Path, tmp_path: Path) -> None:
    train(cache, tmp_path, Recipe(steps=10_000, batch=2, minutes=1e-6))
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1]
    # Its time is up: taken up again it learns nothing more.
    train(cache, tmp_path, Recipe(steps=10_000, batch=2, minutes=1e-6), resume=True)
    assert (tmp_path / "log.jsonl").read_text().splitlines() == rows


def test_unasked_questions_do_not_move_the_loss() -> None:
    torch.manual_seed(1)
    heads = torch.randn(4, len(HEADS))
    outputs = (torch.randn(4, 1, 2, 4, 4), heads)
    targets = torch.zeros(4, len(HEADS))
    targets[:, HEADS.index("shape_none")] = 1.0
    targets[2:, : len(BINARY_HEADS)] = torch.nan
    edema = (torch.zeros(4, 1, 2, 4, 4), torch.ones(4, 1, 2, 4, 4))
    weights = positive_weights(targets)
    before = batch_losses(outputs, targets, edema, weights)
    changed = heads.clone()
    changed[2:, : len(BINARY_HEADS)] += 5.0
    after = batch_losses((outputs[0], changed), targets, edema, weights)
    assert torch.isfinite(before.total)
    assert before.total == after.total
    asked = heads.clone()
    asked[0, 0] += 5.0
    assert batch_losses((outputs[0], asked), targets, edema, weights).total > before.total


def test_a_sites_levels_are_weighed_to_the_odds_of_those_they_are_mixed_with() -> None:
    reference, own = torch.zeros(100, len(HEADS)), torch.zeros(50, len(HEADS))
    edema, fracture, healing, etiology = (
        BINARY_HEADS.index(name) for name in ("edema", "fracture", "unhealed", "pathological")
    )
    reference[:20, edema] = own[:8, edema] = 1.0
    reference[:20, fracture] = own[:25, fracture] = 1.0
    reference[:20, healing] = own[:1, healing] = 1.0
    reference[:20, etiology] = 1.0  # the site has none
    own[30:, fracture] = torch.nan
    weights = positive_weights(reference)

    found = matched_weights(own, reference, weights)

    # Odds as weighed: 2 x 20 to 80 in the reference.
    assert float(weights[edema]) == pytest.approx(2.0)
    assert float(found[edema]) * 8 / 42 == pytest.approx(2.0 * 20 / 80)
    assert float(found[fracture]) == 0.25  # 25 to 5 would ask for a tenth
    assert float(found[healing]) == 4.0
    assert float(found[etiology]) == 1.0


def test_each_level_may_have_weights_of_its_own() -> None:
    torch.manual_seed(3)
    outputs = (torch.zeros(2, 1, 1, 2, 2), torch.randn(2, len(HEADS)))
    targets = torch.ones(2, len(HEADS))
    targets[:, len(BINARY_HEADS) :] = torch.nan
    edema = (torch.zeros(2, 1, 1, 2, 2), torch.zeros(2, 1, 1, 2, 2))
    one, two = torch.ones(len(BINARY_HEADS)), torch.full((len(BINARY_HEADS),), 2.0)
    rows = [
        float(batch_losses(outputs, targets, edema, weights).heads)
        for weights in (one, two, torch.stack([one, one]), torch.stack([one, two]))
    ]
    assert rows[0] == pytest.approx(rows[2])
    assert rows[0] < rows[3] < rows[1]


def test_a_few_steps_lower_the_loss(levels: LevelSet, tmp_path: Path) -> None:
    save_levels(tmp_path / "case-0000077.npz", levels)
    pool = LevelPool(tmp_path)
    count = pool.refresh()
    torch.manual_seed(0)
    network = ScorerNetwork(dropout=0.0)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    batch = pool.batch(np.arange(count))
    weights = positive_weights(torch.from_numpy(batch.targets))
    seen = []
    for _ in range(8):
        outputs = network(torch.from_numpy(batch.crops), torch.from_numpy(batch.presence))
        losses = batch_losses(
            outputs,
            torch.from_numpy(batch.targets),
            (torch.from_numpy(batch.edema_map), torch.from_numpy(batch.counts)),
            weights,
        )
        optimiser.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        seen.append(float(losses.total.detach()))
    assert seen[-1] < 0.7 * seen[0]


def test_augmentation_hides_channels_and_says_so(levels: LevelSet, tmp_path: Path) -> None:
    save_levels(tmp_path / "case-0000077.npz", levels)
    pool = LevelPool(tmp_path)
    batch = pool.batch(np.arange(pool.refresh()))
    rng = np.random.default_rng(0)
    hidden = 0
    for _ in range(12):
        changed = augmented(batch, rng)
        for crop, presence, counts in zip(
            changed.crops, changed.presence, changed.counts, strict=True
        ):
            there = bool(np.any(crop[1]))
            assert there == bool(presence[PRESENCE.index("t1")])
            fluid = bool(np.any(crop[0]))
            assert fluid == bool(presence[:3].max())
            assert fluid == bool(counts.any())
            hidden += not there
            assert fluid or there
    assert hidden > 0


def test_platt_undoes_a_wrong_slope() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0.0, 2.0, 4000)
    positive = rng.random(4000) < 1 / (1 + np.exp(-honest))
    fitted = fit_platt((3.0 * honest + 1.0).astype(np.float32), positive)
    assert fitted.scale == pytest.approx(1 / 3, rel=0.1)
    assert fitted.bias == pytest.approx(-1 / 3, abs=0.12)
    probability = fitted.probability((3.0 * honest + 1.0).astype(np.float32))
    assert calibration_curve(probability, positive).expected_error < 0.03


@pytest.mark.parametrize("seed", [234, 294, 390])
def test_a_slope_and_bias_are_those_of_the_least_loss(seed: int) -> None:
    """Draws on which a simplex stopped far above the minimum: the slopes there must vanish."""
    rng = np.random.default_rng(seed)
    positive = rng.random(int(rng.integers(100, 2500))) < rng.uniform(0.03, 0.4)
    middle = np.where(positive, rng.uniform(0, 3), rng.uniform(-6, -1))
    logits = rng.normal(middle, rng.uniform(0.5, 2.5)).astype(np.float32)
    fitted = fit_platt(logits, positive)
    excess = fitted.probability(logits) - positive
    assert (excess * logits).sum() + 4 * (fitted.scale - 1) == pytest.approx(0.0, abs=0.02)
    assert excess.sum() + 0.02 * fitted.bias == pytest.approx(0.0, abs=0.02)


def test_few_answers_keep_the_slope() -> None:
    fitted = fit_platt(np.zeros(50, np.float32), np.arange(50) < 3)
    assert fitted == Platt(1.0, pytest.approx(np.log(3 / 47), abs=0.15))


def test_operating_point_of_overlapping_and_of_separate_classes() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(2000) < 500
    overlapping = np.clip(np.where(positive, 0.6, 0.4) + rng.normal(0, 0.15, 2000), 0, 1)
    accepted = AcceptedErrors(missed=0.03, false=0.01)
    point = choose_point(overlapping, positive, accepted, "toy")
    assert point.low < point.high
    assert (overlapping[positive] < point.low).mean() == pytest.approx(0.03, abs=0.01)
    assert (overlapping[~positive] >= point.high).mean() == pytest.approx(0.01, abs=0.004)
    rare = choose_point(overlapping * 0.5, positive, accepted, "toy")
    assert rare.high == 0.5  # never called present below an even chance
    with pytest.raises(ValueError, match="positives and negatives"):
        choose_point(overlapping[:10], np.ones(10, bool), accepted, "toy")
    apart = choose_point(np.where(positive, 0.9, 0.1), positive, accepted, "toy")
    assert (apart.low, apart.high) == (0.5, 0.5)
    assert (apart.sensitivity, apart.specificity) == (1.0, 1.0)


def test_what_may_not_be_called_does_not_raise_the_threshold() -> None:
    probability = np.concatenate([np.linspace(0, 0.95, 1000), np.linspace(0.4, 1, 100)])
    positive = np.arange(1100) >= 1000
    accepted = AcceptedErrors(missed=0.05, false=0.02)
    plain = choose_point(probability, positive, accepted, "toy")
    # No negative above 0.6 may be called: the threshold needs to keep out those below only.
    supported = positive | (probability < 0.6)
    rule = choose_point(probability, positive, accepted, "toy", supported)
    assert plain.high == pytest.approx(0.93, abs=0.01)
    assert rule.high == pytest.approx(0.58, abs=0.02)
    assert (supported & (probability >= rule.high))[~positive].mean() <= 0.021
    assert rule.low == plain.low
    assert rule.sensitivity > plain.sensitivity


def test_a_safety_flag_is_bounded_by_its_false_alarms() -> None:
    rng = np.random.default_rng(0)
    positive = np.arange(1000) < 40
    point = choose_flag(np.where(positive, 0.3, 0.1) + rng.uniform(0, 0.3, 1000), positive, "toy")
    assert point.low == point.high
    assert point.specificity == pytest.approx(0.95, abs=0.005)
    assert 0.5 < point.sensitivity < 1.0


def test_conformal_quantile_covers() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(400)
    quantile = conformal_quantile(scores, 0.9)
    assert (rng.random(20000) <= quantile).mean() == pytest.approx(0.9, abs=0.03)
    assert conformal_quantile(scores[:5], 0.9) == 1.0


def told_apart(logits: NDArray[np.float64]) -> Predictions:
    """Pathological causes, of which the network says so much."""
    count = len(logits)
    heads = np.zeros((count, len(HEADS)), np.float32)
    targets = np.full((count, len(HEADS)), np.nan, np.float32)
    heads[:, HEADS.index("pathological")] = logits
    targets[:, HEADS.index("pathological")] = 1.0
    presence = np.zeros((count, len(PRESENCE)), np.float32)
    presence[:, PRESENCE.index("t1")] = 1.0
    nothing = np.zeros(count, np.float32)
    extents = np.zeros((count, len(MAP_LEVELS)), np.float32)
    return Predictions(heads, targets, extents, nothing, nothing, presence)


def test_sets_keep_their_word_on_the_worst_kind_of_case() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.normal(4.0, 1.0, 900), rng.normal(1.0, 1.0, 200)
    seen = told_apart(np.concatenate([good, bad]))
    platt = Platt(1.0, 0.0)
    kinds = np.array(["good"] * 900 + ["bad"] * 200)
    found = etiology_quantiles(seen, platt, kinds)["fat_contrast"]
    together = etiology_quantiles(seen, platt, np.array(["any"] * 1100))["fat_contrast"]
    assert found > together
    assert found == conformal_quantile(1.0 - platt.probability(bad.astype(np.float32)), 0.95)
    few = told_apart(np.concatenate([good, bad[:50]]))
    alone = etiology_quantiles(few, platt, np.array(["good"] * 900 + ["bad"] * 50))
    assert alone == etiology_quantiles(few, platt, np.array(["any"] * 950))


def test_seeds_tell_what_a_case_was_drawn_from() -> None:
    assert [recipe_of(load_recipe(name).seed(7)) for name in ("rough", "train")] == [
        "rough",
        "train",
    ]
    assert recipe_of(-1) == ""
    pool = LevelPool(Path("nowhere"))
    seed = load_recipe("rough").seed(7)
    pool.about = [{"case": f"case-{seed}"}, {"case": "case-1"}, {"case": 3}, {}]
    assert drawn_from(pool).tolist() == ["rough", recipe_of(1), "", ""]


def test_a_run_becomes_metadata_the_scorer_reads(levels: LevelSet, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from models.scorer.calibration import SECTION

    run, cache, held_out = (tmp_path / name for name in ("run", "cache", "held_out"))
    for folder in (run, cache, held_out):
        folder.mkdir()
    save_levels(cache / "case-500000001.npz", levels)
    (run / "recipe.json").write_text(json.dumps(asdict(Recipe(steps=9))))
    answered = levels.targets.copy()
    answered[0, HEADS.index("pathological")] = 1.0
    for number in (2, 3):
        save_levels(held_out / f"case-000000{number}.npz", replace(levels, targets=answered))
    torch.manual_seed(0)
    save_file(ScorerNetwork().state_dict(), run / "last.safetensors")
    fitted, figures = finish(run, Crops(cache, held_out))
    calibrated = figures["calibration_levels"]
    anew = draft_of("0.0.1", fitted, figures, "Test.").card.training_data
    assert "studies), 9 steps; calibrated on" in anew
    begun = Recipe(steps=7, start="bundles/scorer/0.0.0/model.safetensors", kept=0.5)
    (run / "recipe.json").write_text(json.dumps(asdict(begun)))
    fitted, figures = finish(run, Crops(cache, held_out, calibrating=cache))
    draft = draft_of("0.0.1", fitted, figures, "Test.")
    assert draft.outputs["heads"]["num_channels"] == len(HEADS)
    learned = draft.card.training_data
    assert "(1 of the recipe `rare` studies), 7 steps, begun with the weights of 0.0.0" in learned
    assert figures["calibration_levels"] > calibrated
    assert "levels, those of 1 of the recipe `rare` studies among them. No" in learned
    assert draft.calibration["fitted_on"].endswith("calibration half, and cases of rare")
    read = read_calibration(
        {SECTION: {"calibration": draft.calibration, "operating_points": draft.operating_points}}
    )
    assert set(read.operating_points) == {"edema", "fracture", "unhealed", "pathological"}
    assert any(name.startswith("stir.") for name in read.bounds)
    assert figures["as_acquired"]["fracture"]["asked"] == len(levels.about)


def test_the_shipped_bundle_is_judged_on_a_page(levels: LevelSet, tmp_path: Path) -> None:
    for number in (1, 2):
        save_levels(tmp_path / f"case-{number}.npz", levels)
    pool = LevelPool(tmp_path)
    pool.refresh()
    bundle = resolve("scorer")
    network, calibration = network_of(bundle), read_calibration(bundle.metadata)
    pools = {"held out": pool}
    figures, beside = judge(network, calibration, pools, pool)
    served, alone = figures["held out"]["baselines"]["fracture"]
    assert (served["model"], alone["model"]) == ("served", "network alone")
    alone["served_minus_this"] = 0.1234
    assert f"held out: {len(pool.crops)} levels, synthetic" in judged_as_text(figures)
    text = page(figures, pools, beside, (network, calibration))
    assert "<svg" in text
    assert "network alone" in text
    assert "0.123" in text


def test_a_run_ends_part_of_the_way_from_where_it_began(tmp_path: Path, levels: LevelSet) -> None:
    from safetensors.torch import load_file, save_file

    torch.manual_seed(1)
    begun = ScorerNetwork().state_dict()
    save_file(begun, tmp_path / "begun.safetensors")
    (tmp_path / "cache").mkdir()
    # Not one of the validation cases, which are told by their name.
    save_levels(tmp_path / "cache" / "case-1.npz", levels)
    ended = {}
    for kept in (1.0, 0.25):
        recipe = Recipe(steps=1, batch=2, start=str(tmp_path / "begun.safetensors"), kept=kept)
        network = train(tmp_path / "cache", tmp_path / f"run-{kept}", recipe)
        ended[kept] = load_file(tmp_path / f"run-{kept}" / "last.safetensors")
        assert all(torch.equal(ended[kept][k], v) for k, v in network.state_dict().items())
    moved = 0.0
    for name, first in begun.items():
        if first.is_floating_point():
            whole = ended[1.0][name] - first
            assert torch.allclose(ended[0.25][name] - first, 0.25 * whole, atol=1e-6)
            moved += float(whole.abs().sum())
    assert moved > 0.0


def test_half_precision_of_filters_moves_weights_as_single_does(
    tmp_path: Path, levels: LevelSet
) -> None:
    (tmp_path / "cache").mkdir()
    save_levels(tmp_path / "cache" / "case-1.npz", levels)
    single, half = (
        train(
            tmp_path / "cache",
            tmp_path / str(bfloat16),
            Recipe(steps=1, batch=2, average=0.0, warm_up=1, rate=1e-3, bfloat16=bfloat16),
        ).state_dict()
        for bfloat16 in (False, True)
    )
    moved = [(single[name] - value).abs().max() for name, value in half.items()]
    assert all(value.dtype == single[name].dtype for name, value in half.items())
    # One step of AdamW moves a weight by its rate at most, so two steps by no more than twice that.
    assert 0.0 < max(moved) <= 2.2e-3


@pytest.mark.parametrize(
    ("edema", "fracture", "cement", "bright", "possible"),
    [
        (4.0, 4.0, -4.0, 0.5, True),
        (4.0, 4.0, -4.0, 0.0, False),  # the network's word alone is not enough
        (0.0, 4.0, -4.0, 0.0, True),  # nor does it claim an edema here
        (-4.0, 4.0, -4.0, 0.5, False),
        (4.0, -4.0, -4.0, 0.5, False),
        (4.0, 4.0, 4.0, 0.5, False),
    ],
)
def test_unhealed_is_counted_as_it_is_called(
    edema: float, fracture: float, cement: float, bright: float, possible: bool
) -> None:
    heads = np.full((1, len(HEADS)), 6.0, np.float32)
    asked = ("edema", "fracture", "mimic_cement")
    heads[0, [HEADS.index(name) for name in asked]] = edema, fracture, cement
    nothing = np.zeros((1, 1), np.float32)
    seen = Predictions(heads, heads, nothing, nothing, nothing, nothing)
    pool = LevelPool(Path("nowhere"))
    pool.about = [{"measured": {"bright_fraction": bright}}]
    calibration = read_calibration(METADATA)
    assert supports_unhealed(seen, pool, calibration).tolist() == [possible]
    thresholds = {name: calibration.operating_points[name] for name in ("edema", "unhealed")}
    call = call_acuity(
        0.99,
        weigh_contrast(
            call_edema(
                float(1 / (1 + np.exp(-edema))),
                Extent(0.5),
                thresholds["edema"],
                (LIMIT_CEMENT,) if cement > 0 else (),
            ),
            bright,
            calibration.contrast,
        ),
        call_fracture(
            float(1 / (1 + np.exp(-fracture))),
            {Shape.WEDGE: 1.0},
            20.0,
            calibration.operating_points["fracture"],
        ),
        thresholds["unhealed"],
    ).call
    assert (call is Acuity.UNHEALED) == possible
