"""One process or several: what `torchrun` says of this one, and how they share a network."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn

from training.fit.errors import FitError


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of a run.

    Attributes:
        device: Where it computes.
        rank, world: Which it is, of how many.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @classmethod
    def alone(cls, device: str) -> Processes:
        """The only process."""
        return cls(_device(device, 0))

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def shared(self, network: nn.Module) -> nn.Module:
        """The network as all processes train it together."""
        if self.world == 1:
            return network
        if self.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
            return nn.parallel.DistributedDataParallel(network, device_ids=[self.device.index])
        return nn.parallel.DistributedDataParallel(network)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined(device: str, environment: Mapping[str, str] | None = None) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, or be alone.

    Args:
        device: Of the recipe.
        environment: WORLD_SIZE, RANK and LOCAL_RANK as torchrun sets them; the real one by default.
    """
    given = os.environ if environment is None else environment
    world = int(given.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes.alone(device)
        return
    own = _device(device, int(given["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield Processes(own, int(given["RANK"]), world)
    finally:
        distributed.destroy_process_group()


def _device(wanted: str, index: int) -> torch.device:
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise FitError("the recipe asks for a GPU and torch sees none")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device
