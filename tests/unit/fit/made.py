"""A trainee small enough to be trained in milliseconds, and level files of noise."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.scorer.crops import CHANNELS, CROP_SHAPE, PRESENCE
from models.scorer.heads import HEADS, SHAPES
from tests.unit.datasets.made import row
from training.datasets.rows import LabelRow
from training.fit.levels import MAP_UNKNOWN
from training.fit.recipe import FitRecipe
from training.fit.trainee import Turn
from training.scorer.cache import LevelSet, packed, save_levels


class Toy(nn.Module):
    """An encoder with batch normalisation, dropout, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, points: Tensor) -> Tensor:
        answer: Tensor = self.head(self.encoder(points))
        return answer


@dataclass
class ToyTrainee:
    """Tells points by the sign of their sum; the opposite is asked at validation if `misled`."""

    network: nn.Module = field(default_factory=Toy)
    data: str = "points"
    encoder: tuple[str, ...] = ("encoder",)
    misled: bool = False

    def __post_init__(self) -> None:
        torch.manual_seed(3)
        for part in self.network.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()

    @property
    def data_sha256(self) -> str:
        return hashlib.sha256(self.data.encode()).hexdigest()

    def batch(self, turn: Turn) -> dict[str, Tensor]:
        rng = np.random.default_rng([turn.seed, turn.step, turn.rank])
        points = rng.normal(size=(turn.own, 4)).astype(np.float32)
        return {
            "points": torch.from_numpy(points),
            "truth": torch.from_numpy((points.sum(1) > 0)[:, None].astype(np.float32)),
        }

    def losses(self, network: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        said = network(batch["points"])
        return {"total": nn.functional.binary_cross_entropy_with_logits(said, batch["truth"])}

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        batch = self.batch(Turn(99, 0, 0, 1, 256))
        if self.misled:
            batch["truth"] = 1.0 - batch["truth"]
        network.eval()
        with torch.inference_mode():
            right = (network(batch["points"].to(device)).cpu() > 0) == (batch["truth"] > 0.5)
            total = self.losses(network, {name: one.to(device) for name, one in batch.items()})
        return {"right": float(right.float().mean()), "total": float(total["total"])}

    def picture(self, _network: nn.Module, _device: torch.device, path: Path) -> None:
        path.write_bytes(b"picture")

    def about(self) -> dict[str, int]:
        return {"points": 4}


def recipe(**changes: Mapping[str, object]) -> FitRecipe:
    """A short run on the CPU."""
    parts: dict[str, dict[str, object]] = {
        "model": {"kind": "scorer", "start": "scratch"},
        "data": {"phantom": "train"},
        "schedule": {
            "steps": 6, "batch": 16, "rate": 0.05, "checkpoint_every": 2, "validate_every": 3,
        },
        "run": {"device": "cpu"},
    }  # fmt: skip
    for name, values in changes.items():
        parts[name] = parts[name] | dict(values)
    return FitRecipe.model_validate(parts)


def patient(number: int, split: str) -> LabelRow:
    """A row of a patient's only study, whose pictures are like no other's."""
    own = {"patient_key": f"p{number}", "study_instance_uid": f"1.2.{number}"}
    return row(**own, split=split, pixel_sha256=f"{number:064d}")


def write_levels(folder: Path, files: int, *, seed: int = 0, map_known: bool = False) -> None:
    """Files of three levels of noise each; what is edematous is brighter in its own body."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(files):
        crops = rng.normal(0.0, 0.1, (3, len(CHANNELS), *CROP_SHAPE)).astype(np.float32)
        crops[:, 1:-2] = 0.0
        crops[:, -2:] = 0.0
        crops[:, -2:, 3:9, 26:46, 14:34] = 1.0
        targets = np.full((3, len(HEADS)), np.nan, np.float32)
        for level in range(3):
            wet = (number + level) % 2 == 0
            crops[level, 0, 3:9, 26:46, 14:34] += 0.8 * wet
            targets[level, HEADS.index("edema")] = float(wet)
            targets[level, HEADS.index("fracture")] = float(level == 1)
        if map_known:
            targets[:, HEADS.index(f"shape_{SHAPES[0]}") :] = 0.0
            targets[:, HEADS.index(f"shape_{SHAPES[0]}")] = 1.0
        presence = np.zeros((3, len(PRESENCE)), np.float32)
        presence[:, PRESENCE.index("stir")] = 1.0
        slices, rows, columns = CROP_SHAPE
        about = {"level": "L1", "sequence_set": "stir", MAP_UNKNOWN: not map_known}
        save_levels(
            folder / f"case-{seed}{number:03d}.npz",
            LevelSet(
                packed(crops),
                presence,
                np.zeros((3, slices, rows // 2, columns // 2), np.uint8),
                targets,
                (about,) * 3,
            ),
        )
