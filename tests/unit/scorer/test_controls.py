from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs the [train] extra")

import torch
from torch import Tensor, nn

from models.scorer.calibration import OperatingPoint, Platt, ScorerCalibration
from models.scorer.crops import CHANNELS, CROP_SHAPE, PRESENCE
from models.scorer.heads import BINARY_HEADS, HEADS
from training.evaluate_real.networks import open_localiser
from training.scorer.controls import (
    FLUID,
    T1,
    controls,
    flagged,
    inverted,
    mirrored,
    of_another,
    of_studies,
    swapped,
)
from training.scorer.pool import Batch

pytestmark = pytest.mark.train

COUNT = 40
SAMPLES = ("benign_unhealed", "healed")
ASKED = ("edema", "fracture", "unhealed", "pathological")


def crops(rng: np.random.Generator) -> NDArray[np.float32]:
    """Bodies at 0, every second one bright on the left; T1 darker outside; canal bright."""
    array = rng.normal(0.0, 0.05, (COUNT, len(CHANNELS), *CROP_SHAPE)).astype(np.float32)
    array[:, FLUID, :, :, 36:] = 1.2
    array[:, T1, :, :, 36:] = -1.5
    array[:, -2:] = 0.0
    array[:, -2:, 3:9, 26:46, 6:32] = 1.0
    array[::2, FLUID, 3:9, 26:46, 6:32] += 0.5
    return array


@dataclass
class Pool:
    """As much of a `LevelPool` as the controls use."""

    array: NDArray[np.float32]
    presence: list[NDArray[np.float32]]

    def batch(self, chosen: NDArray[np.int64]) -> Batch:
        targets = np.zeros((len(chosen), len(HEADS)), np.float32)
        targets[::2] = 1.0
        nothing = np.zeros((len(chosen), 1, 1, 1, 1), np.float32)
        there = np.stack(self.presence)[chosen]
        return Batch(self.array[chosen], there, targets, nothing, nothing)


class BrightNetwork(nn.Module):
    """Edema is fluid above normal; etiology hangs on T1; optionally blind to one side."""

    def __init__(self, *, one_sided: bool = False) -> None:
        super().__init__()
        self.one_sided = one_sided

    def forward(self, crops: Tensor, presence: Tensor) -> tuple[Tensor, Tensor]:
        del presence
        half = crops[:, :, :6] if self.one_sided else crops
        own = half[:, -2] > 0.9
        bright = (half[:, FLUID] * own).sum(dim=(1, 2, 3)) / own.sum(dim=(1, 2, 3))
        dark = (half[:, T1] * own).sum(dim=(1, 2, 3)) / own.sum(dim=(1, 2, 3))
        heads = (bright[:, None] - 0.25).repeat(1, len(HEADS)) * 40.0
        heads[:, HEADS.index("pathological")] = -dark * 40.0
        return crops[:, :1], heads


def calibration() -> ScorerCalibration:
    rng = np.random.default_rng(0)
    point = OperatingPoint(0.4, 0.6, 0.9, 0.9, "toy")
    fitted = ScorerCalibration(
        platt={name: Platt(1.0, 0.0) for name in BINARY_HEADS},
        operating_points=dict.fromkeys(ASKED, point),
        etiology_quantile={},
        map_threshold=0.5,
        reference_heights_mm={},
        bounds={
            "stir.median": (-0.5, 1.0),
            "stir.spread": (-0.1, 1.0),
            "stir.outside_median": (-0.2, 2.0),
            "stir.outside_p90": (0.5, 2.0),
            "stir.roughness": (-0.1, 0.5),
            "t1.median": (-1.0, 0.5),
            "t1.spread": (-0.1, 1.0),
            "t1.outside_median": (-2.0, 0.5),
            "t1.outside_p90": (-2.0, 0.5),
            "t1.roughness": (-0.1, 0.5),
        },
    )
    assert flagged(crops(rng), _presence(), fitted) == 0.0
    return fitted


def _presence() -> NDArray[np.float32]:
    there = np.zeros((COUNT, len(PRESENCE)), np.float32)
    there[:, [PRESENCE.index("stir"), PRESENCE.index("t1")]] = 1.0
    return there


def outcome(network: nn.Module) -> dict[str, bool]:
    pool = Pool(crops(np.random.default_rng(1)), list(_presence()))
    found = controls(network, pool, calibration())  # type: ignore[arg-type]
    return {one.name: one.passed for one in found}


def test_an_honest_network_passes_what_rests_on_it() -> None:
    passed = outcome(BrightNetwork())
    assert passed["left and right mirrored, edema calls kept"]
    assert passed["T1 of another patient, edema calls kept"]
    assert passed["T1 and STIR swapped, flagged"]
    assert passed["inverted contrast, flagged"]
    assert passed["untouched, flagged as unlike training"]


def test_a_network_that_leans_on_t1_for_edema_fails() -> None:
    class Leaning(BrightNetwork):
        def forward(self, crops: Tensor, presence: Tensor) -> tuple[Tensor, Tensor]:
            shown, heads = super().forward(crops, presence)
            own = crops[:, -2] > 0.9
            heads[:, HEADS.index("edema")] = torch.where(own, crops[:, T1], 0.0).sum(dim=(1, 2, 3))
            return shown, heads

    assert not outcome(Leaning())["T1 of another patient, edema calls kept"]


def test_spoiling_does_what_its_name_says() -> None:
    plain = crops(np.random.default_rng(2))
    assert np.array_equal(mirrored(mirrored(plain)), plain)
    assert np.array_equal(swapped(plain)[:, T1], plain[:, FLUID])
    assert np.array_equal(of_another(plain)[0, T1], plain[COUNT // 2, T1])
    turned = inverted(plain)
    order = np.argsort(plain[0, FLUID].ravel()[:200])
    assert (np.diff(turned[0, FLUID].ravel()[:200][order]) <= 1e-6).all()
    assert np.array_equal(turned[:, 1:], plain[:, 1:])


def test_exchanged_and_turned_over_series_of_whole_studies_are_noticed() -> None:
    samples = [Path(__file__).parents[3] / "data_samples" / name for name in SAMPLES]
    found = of_studies(samples, open_localiser(None, None))
    assert [one.value for one in found] == [0.0, 1.0, 0.0, 1.0]
    assert all(one.passed and "2 studies" in one.name for one in found)
    assert of_studies([], open_localiser(None, None)) == []
