"""The localiser as a trainee: synthetic patients without end, a site's masks, or both.

A mask of vertebrae says nothing of discs, canal and sacrum. There the network it starts from is the
teacher: what it sees outside the masked bodies stays what is asked of the trained one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from models.localiser.classes import Structure
from models.localiser.network import LocaliserNetwork, most_probable
from training.datasets.manifest import Manifest
from training.datasets.rows import Split
from training.datasets.selection import chosen, data_digest
from training.fit.errors import FitRecipeError, TooFewLevelsError
from training.fit.masks import masked_scans
from training.fit.recipe import FitRecipe
from training.fit.trainee import Tensors, Turn
from training.localiser.crops import Crop, CropSettings, Scan, cut, scan_scene
from training.localiser.loss import localiser_loss
from training.phantom.recipe import PhantomRecipe, load_teaching_recipe
from training.phantom.recipe import load_recipe as load_phantom
from training.phantom.stamp import PHANTOM_VERSION

ROUND_SCANS: Final = 4
"""Scans whose crops are mixed: neighbours in a batch should not be of one patient."""

VALIDATION_CROPS: Final = 8
VALIDATION_SEED: Final = 20_000


@dataclass(slots=True)
class LocaliserTrainee:
    """A localiser network with its scans.

    Attributes:
        network: To train.
        phantom: Where synthetic patients are drawn from, None for labelled scans only.
        scans: The site's scans with masks, ready to be cut.
        validation: Crops that are never trained on.
        crops: What a crop looks like.
        synthetic_share: Part of the crops, where there are both.
        digest: Of recipe and masks.
    """

    network: nn.Module
    phantom: PhantomRecipe | None
    scans: Sequence[Scan]
    validation: Sequence[Crop]
    crops: CropSettings
    synthetic_share: float
    digest: str
    _round: tuple[tuple[int, int], list[Crop]] | None = field(default=None)

    @property
    def encoder(self) -> tuple[str, ...]:
        """Stem, blocks on the way down and the strided convolutions between them."""
        return ("stem", "encoder", "shrink")

    @property
    def data_sha256(self) -> str:
        """Over the masks' rows and the name of the phantom recipe."""
        return self.digest

    def batch(self, turn: Turn) -> Tensors:
        """Crops of this process; of synthetic scans, of masked ones, or of both."""
        rng = np.random.default_rng([turn.seed, turn.step, turn.rank])
        share = self.synthetic_share if self.scans else 1.0
        drawn = round(share * turn.own) if self.phantom is not None else 0
        picked = [self._drawn(turn, number, drawn) for number in range(drawn)]
        picked += [self._masked(rng) for _ in range(turn.own - drawn)]
        return {name: torch.stack([crop[name] for crop in picked]) for name in picked[0]}

    def _masked(self, rng: np.random.Generator) -> Crop:
        while True:
            found = cut(self.scans[int(rng.integers(len(self.scans)))], self.crops, rng)
            if found is not None:
                return found

    def _drawn(self, turn: Turn, number: int, per_step: int) -> Crop:
        """The next synthetic crop; rounds of scans are drawn anew from (seed, rank, round)."""
        place = turn.step * per_step + number
        size = ROUND_SCANS * self.crops.per_volume
        key = (turn.rank, place // size)
        if self._round is None or self._round[0] != key:
            self._round = (key, self._scan_round(turn.seed, key))
        return self._round[1][place % size]

    def _scan_round(self, seed: int, key: tuple[int, int]) -> list[Crop]:
        rng = np.random.default_rng([seed, 11, *key])
        crops = _synthetic_crops(self.phantom, self.crops, rng, ROUND_SCANS * self.crops.per_volume)
        return [crops[place] for place in rng.permutation(len(crops))]

    def losses(self, network: nn.Module, batch: Tensors) -> Mapping[str, Tensor]:
        """Loss of a batch and its parts."""
        logits, offsets = network(batch["image"])
        found = localiser_loss(logits, offsets, batch["structure"], batch["offsets"])
        parts = ("cross_entropy", "dice", "offsets")
        told = {name: logits.new_tensor(getattr(found, name)) for name in parts}
        return {"total": found.total, **told}

    def validate(self, network: nn.Module, device: torch.device) -> Mapping[str, float]:
        """Loss and Dice of bodies over the validation crops."""
        network.eval()
        losses, shared, both = [], 0, 0
        with torch.inference_mode():
            for crop in self.validation:
                batch = {name: value[None].to(device) for name, value in crop.items()}
                losses.append(float(self.losses(network, batch)["total"]))
                said = most_probable(network(batch["image"])[0]) == Structure.BODY
                truth = batch["structure"] == Structure.BODY
                shared += int((said & truth).sum())
                both += int(said.sum()) + int(truth.sum())
        return {"total": float(np.mean(losses)), "dice_bodies": 2 * shared / max(1, both)}

    def picture(self, network: nn.Module, device: torch.device, path: Path) -> None:
        """Draw validation crops with their true and predicted structures."""
        from training.fit.pictures import draw_slices  # noqa: PLC0415  matplotlib is slow to import

        shown = list(self.validation[:4])
        images = torch.stack([crop["image"] for crop in shown])
        network.eval()
        with torch.inference_mode():
            said = most_probable(network(images.to(device))[0]).to(torch.uint8).cpu().numpy()
        truth = torch.stack([crop["structure"] for crop in shown]).numpy()
        draw_slices(path, images[:, 0].numpy(), truth, said)

    def about(self) -> Mapping[str, Any]:
        """Counts of scans."""
        phantom = None if self.phantom is None else self.phantom.name
        return {"phantom": phantom, "masked_scans": len(self.scans)}


def localiser_trainee(
    recipe: FitRecipe,
    network: LocaliserNetwork,
    manifest: Manifest | None,
    crops: CropSettings | None = None,
) -> LocaliserTrainee:
    """Make a localiser ready to be trained.

    Args:
        recipe: Of the run.
        network: As the run starts from it; the teacher where there are masks.
        manifest: Rows with masks, None for synthetic patients only.
        crops: What a crop looks like.

    Raises:
        FitRecipeError: Masks are given without a network that could be the teacher.
        TooFewLevelsError: No masked scan could be used for training or validation.
        MaskError: A mask cannot be read.
    """
    crops = crops or CropSettings()
    phantom = load_teaching_recipe(recipe.data.phantom) if recipe.data.phantom else None
    told = f"{phantom} {PHANTOM_VERSION}"
    scans: list[Scan] = []
    rng = np.random.default_rng(VALIDATION_SEED)
    if manifest is not None:
        if recipe.model.start == "scratch":
            raise FitRecipeError("model: masks need a trained network to start from as a teacher")
        told += data_digest(manifest)
        scans = masked_scans(chosen(manifest, [Split.TRAIN]), network)
        held = masked_scans(chosen(manifest, [Split.VALIDATION]), network)
        cuts = [cut(held[i % len(held)], crops, rng) for i in range(VALIDATION_CROPS) if held]
        validation = [crop for crop in cuts if crop is not None]
        if not scans or not validation:
            raise TooFewLevelsError("no masked scan can be used for training or for validation")
    else:
        validation = _synthetic_crops(load_phantom("validate"), crops, rng, VALIDATION_CROPS)
    digest = hashlib.sha256(told.encode()).hexdigest()
    return LocaliserTrainee(
        network, phantom, scans, validation, crops, recipe.data.phantom_share, digest
    )


def _synthetic_crops(
    phantom: PhantomRecipe | None, crops: CropSettings, rng: np.random.Generator, count: int
) -> list[Crop]:
    if phantom is None:
        raise FitRecipeError("data: no phantom recipe to draw from")
    found: list[Crop] = []
    while len(found) < count:
        scene = phantom.scene(int(rng.integers(phantom.seeds)))
        scan = scan_scene(scene, rng, phantom.acquisition)
        cuts = (cut(scan, crops, rng) for _ in range(crops.per_volume))
        found.extend(crop for crop in cuts if crop is not None)
    return found[:count]
