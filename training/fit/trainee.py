"""What the loop asks of whatever it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Turn:
    """A step of a run, as one process sees it.

    Everything random in a step follows from these numbers, so that a run that was interrupted goes
    on to the same bits as one that was not.

    Attributes:
        seed: Of the run.
        step: From 0.
        rank, world: This process, of how many.
        batch: Crops in the step, over all processes.
    """

    seed: int
    step: int
    rank: int
    world: int
    batch: int

    @property
    def own(self) -> int:
        """Crops of this process."""
        return len(range(self.rank, self.batch, self.world))


class Trainee(Protocol):
    """A network with its data and its loss."""

    network: nn.Module

    @property
    def encoder(self) -> tuple[str, ...]:
        """Names of the network's parts that make up its encoder."""
        ...

    @property
    def data_sha256(self) -> str:
        """Stands for all it is trained and validated on."""
        ...

    def batch(self, turn: Turn) -> Tensors:
        """Input and truth of a step, on the CPU."""
        ...

    def losses(self, network: nn.Module, batch: Tensors) -> Mapping[str, Tensor]:
        """Run the network; "total" is minimised, the rest is told."""
        ...

    def validate(self, network: nn.Module, device: torch.device) -> Mapping[str, float]:
        """Figures on the validation part."""
        ...

    def picture(self, network: nn.Module, device: torch.device, path: Path) -> None:
        """Draw some predictions beside their truth."""
        ...

    def about(self) -> Mapping[str, Any]:
        """What a person wants to know of the data: counts by part and source."""
        ...
