"""Trees are taught on levels, become plain arrays, and see no more than the series shown."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch
from sklearn.ensemble import GradientBoostingClassifier

from models.scorer.combination import COLUMNS, Combination, read_combination
from models.scorer.crops import CHANNELS, CROP_SHAPE, PRESENCE
from models.scorer.extent import LINES
from models.scorer.heads import HEADS
from models.scorer.network import ScorerNetwork
from models.scorer.signs import SHOWN_BY, UNITS
from models.scorer.trees import MISSING
from training.scorer.cache import LevelSet, packed, save_levels
from training.scorer.combine import TREES, _plain, fit_combination, weighed
from training.scorer.pool import LevelPool
from training.scorer.predict import predict
from training.statistics.roc import auroc

pytestmark = pytest.mark.train

HEIGHTS = {"L1": (25.0, 24.0, 26.0)}


def test_plain_arrays_say_what_the_library_says() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(600, len(COLUMNS))).astype(np.float32)
    table[rng.random(table.shape) < 0.2] = np.nan
    known = np.where(np.isfinite(table), table, MISSING)
    truth = known[:, 3] + known[:, 40] / 1e3 + rng.normal(0, 0.3, 600) > 0
    model = GradientBoostingClassifier(**TREES).fit(known, truth)
    trees = _plain(model, known, model.decision_function(known[:1]), np.arange(len(COLUMNS)))
    assert np.allclose(trees(table), model.decision_function(known), atol=1e-4)
    assert np.ptp(trees(table)) > 1.0


def test_signs_are_told_by_the_channel_that_shows_them() -> None:
    of_one = [start for starts in SHOWN_BY.values() for start in starts]
    shown = {name: sum(name.startswith(start) for start in of_one) for name in UNITS}
    by_none = {name for name, count in shown.items() if not count}
    assert by_none == {
        "posterior_wall",
        "void_fraction",  # of every series that is shown
        *(f"height_loss_{p}" for p in ("anterior", "middle", "posterior")),
    }
    assert max(shown.values()) == 1


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> LevelPool:
    """Noise, in which only a measured T1 sign tells pathological and only brightness tells wet.

    Every sixth body is dry.
    """
    folder = tmp_path_factory.mktemp("levels")
    rng = np.random.default_rng(1)
    for number in range(40):
        crops = rng.normal(0.0, 0.1, (3, len(CHANNELS), *CROP_SHAPE)).astype(np.float32)
        crops[:, -2:] = 0.0
        crops[:, -2:, 3:9, 26:46, 14:34] = 1.0
        targets = np.zeros((3, len(HEADS)), np.float32)
        slices, rows, columns = CROP_SHAPE
        wet = np.zeros((3, slices, rows // 2, columns // 2), np.uint8)
        abouts = []
        for level in range(3):
            ill, part = bool(rng.integers(2)), float(rng.uniform(0.1, 0.9))
            part *= float(level != 2 or number % 2)
            targets[level, HEADS.index("edema")] = float(part > 0.0)
            targets[level, HEADS.index("fracture")] = float(level == 1)
            targets[level, HEADS.index("unhealed")] = float(level == 1)
            targets[level, HEADS.index("pathological")] = float(ill)
            targets[level, HEADS.index("height_loss")] = 0.4 * float(level == 1)
            wet[level, :, 13 : 13 + round(10 * part)] = 255
            crops[level, 0] += np.repeat(np.repeat(wet[level], 2, 1), 2, 2) / 255.0
            abouts.append(
                {
                    "case": f"case-{number}", "level": "L1", "sequence_set": "stir+t1",
                    "fracture": "wedge" if level == 1 else "none",
                    "heights": (15.0 if level == 1 else 25.0, 24.0, 26.0),
                    "measured": {
                        "t1_replaced_fraction": 0.8 * ill + float(rng.uniform(0, 0.2)),
                        "bright_fraction": part,
                    },
                }
            )  # fmt: skip
        presence = np.zeros((3, len(PRESENCE)), np.float32)
        presence[:, [PRESENCE.index("stir"), PRESENCE.index("t1")]] = 1.0
        found = LevelSet(packed(crops), presence, wet, targets, tuple(abouts))
        save_levels(folder / f"case-{number}.npz", found)
    pool = LevelPool(folder)
    pool.refresh()
    return pool


@pytest.fixture(scope="module")
def network() -> ScorerNetwork:
    torch.manual_seed(0)
    return ScorerNetwork().eval()


@pytest.fixture(scope="module")
def combination(network: ScorerNetwork, pool: LevelPool) -> Combination:
    found = read_combination(fit_combination(network, pool, HEIGHTS), LINES)
    assert found is not None
    return found


def test_what_the_network_cannot_tell_is_told_by_the_signs_that_are_shown(
    network: ScorerNetwork, pool: LevelPool, combination: Combination
) -> None:
    column = HEADS.index("pathological")
    truth = np.stack(pool.targets)[:, column] > 0.5

    def area(hide: tuple[str, ...]) -> tuple[float, float]:
        alone = predict(network, pool, hide)
        seen = weighed(alone, pool, combination, HEIGHTS, hide)
        for name in set(HEADS) - set(combination.questions):
            assert np.array_equal(
                seen.heads[:, HEADS.index(name)], alone.heads[:, HEADS.index(name)]
            )
        assert seen.extent_lines is not None
        both = (auroc(one.heads[:, column], truth) for one in (alone, seen))
        return tuple(value or 0.0 for value in both)  # type: ignore[return-value]

    before, after = area(())
    # Nobody has a mimic here: nothing is learned of one.
    assert set(combination.questions) == {"edema", "fracture", "unhealed", "pathological"}
    assert before < 0.7
    assert after > 0.98
    # Without T1 the sign that tells them apart is not there.
    assert area(("t1", "t2", "dixon_fat"))[1] < 0.9


def test_extents_follow_the_brightness_and_their_lines_are_in_order(
    network: ScorerNetwork, pool: LevelPool, combination: Combination
) -> None:
    seen = weighed(predict(network, pool), pool, combination, HEIGHTS)
    assert seen.extent_lines is not None
    # They learn from edematous bodies alone, and of no others is an extent said.
    wet = np.stack(pool.targets)[:, HEADS.index("edema")] > 0.5
    assert 0 < wet.sum() < len(wet)
    truth, lines = seen.extent_truth[wet], seen.extent_lines[wet]
    assert np.abs(lines[:, 1] - truth).mean() < 0.08
    assert ((lines[:, 0] <= truth) & (truth <= lines[:, 2])).mean() > 0.7


def test_edema_is_weighed_with_measured_brightness(
    network: ScorerNetwork, pool: LevelPool, combination: Combination
) -> None:
    wet = np.stack(pool.targets)[:, HEADS.index("edema")] > 0.5
    alone = predict(network, pool)
    seen = weighed(alone, pool, combination, HEIGHTS)
    areas = [auroc(one.heads[:, HEADS.index("edema")], wet) or 0.0 for one in (alone, seen)]
    assert areas[0] < 0.9
    assert areas[1] > 0.98


def test_a_height_loss_is_learned_from_shape_alone(
    network: ScorerNetwork, pool: LevelPool, combination: Combination
) -> None:
    seen = weighed(predict(network, pool), pool, combination, HEIGHTS)
    truth = 100.0 * np.stack(pool.targets)[:, HEADS.index("height_loss")]
    assert seen.height_loss is not None
    assert np.abs(seen.height_loss - truth).mean() < 2.0
    assert combination.height_loss is not None
    asked = combination.height_loss.nodes["column"]
    names = {COLUMNS[column] for column in asked[asked >= 0]}
    assert names <= {name for name in COLUMNS if "height" in name or name.startswith("head_")}
    assert not names & {"head_edema", "head_unhealed", "head_pathological"}
