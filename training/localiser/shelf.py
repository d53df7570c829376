"""Crops kept on the device that learns: a GPU takes steps faster than processors scan patients.

Each crop is shown a few times, mirrored or not and with other contrast and noise.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Queue
from typing import Final

import torch
from torch import Tensor

Batch = dict[str, Tensor]

CONTRAST: Final = 0.12
"""SD of the logarithm of the exponent that a shown crop's signal is raised to."""

MOST_NOISE: Final = 0.04
"""Largest SD of the noise added to a shown crop, in units of the prepared image."""

_KEPT_AS: Final = {
    "image": torch.float16,
    "structure": torch.uint8,
    "offsets": torch.float16,
}


def collated(crops: list[Batch]) -> Batch:
    """Crops as one batch in the precision they are kept in; done by whoever cut them."""
    return {
        name: torch.stack([crop[name] for crop in crops]).to(_KEPT_AS[name]) for name in crops[0]
    }


class Shelf:
    """The newest crops, and batches drawn from them at random.

    Args:
        batches: New crops as of `collated`, without end; read by a thread of its own.
        device: Where crops are kept.
        size: How many.
        shown: How often a crop is shown at most, in the mean.
    """

    def __init__(
        self, batches: Iterator[Batch], device: torch.device, size: int, shown: float
    ) -> None:
        self._new: Queue[Batch | BaseException] = Queue(maxsize=8)
        self._device, self._size, self._shown = device, size, shown
        self._kept: Batch = {}
        self._received = self._given = 0
        reader = threading.Thread(target=self._read, args=(batches,), daemon=True)
        reader.start()

    @property
    def received(self) -> int:
        """Crops that came so far."""
        return self._received

    def _read(self, batches: Iterator[Batch]) -> None:
        try:
            for batch in batches:
                self._new.put(batch)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that learns
            self._new.put(error)

    def _keep(self) -> None:
        """Wait for one batch of new crops and put it in the place of the oldest."""
        batch = self._new.get()
        if isinstance(batch, BaseException):
            raise batch
        if not self._kept:
            self._kept = {
                name: torch.empty((self._size, *value.shape[1:]), dtype=value.dtype).to(
                    self._device
                )
                for name, value in batch.items()
            }
        count = len(batch["image"])
        places = torch.arange(self._received, self._received + count) % self._size
        for name, value in batch.items():
            self._kept[name][places.to(self._device)] = value.to(self._device)
        self._received += count

    def batches(self, count: int) -> Iterator[Batch]:
        """Batches of `count` crops without end, see `draw`."""
        while True:
            yield self.draw(count)

    def draw(self, count: int) -> Batch:
        """(count, ...) crops as `training.localiser.crops.cut` gives them, on the device.

        Raises:
            ValueError: A batch is larger than the shelf.
        """
        if count > self._size:
            raise ValueError(f"a shelf of {self._size} crops gives no batch of {count}")
        for _ in range(self._new.qsize()):
            self._keep()
        while self._received < count or self._given + count > self._shown * self._received:
            self._keep()
        self._given += count
        held = min(self._received, self._size)
        chosen = torch.randperm(held)[:count].to(self._device)
        batch = {name: value[chosen] for name, value in self._kept.items()}
        batch["image"], batch["offsets"] = batch["image"].float(), batch["offsets"].float()
        return _varied(batch)


def _varied(batch: Batch) -> Batch:
    """Half of them mirrored from side to side; other contrast and noise in each."""
    image = batch["image"]
    each = (len(image), 1, 1, 1, 1)
    exponent = torch.exp(CONTRAST * torch.randn(each, device=image.device))
    noise = MOST_NOISE * torch.rand(each, device=image.device) * torch.randn_like(image)
    # What lies beyond the image stays blank.
    varied = torch.where(image > 0, (image**exponent + noise).clamp(0.0, 2.0), image)
    turned = torch.rand(len(image), device=image.device) < 0.5
    sides = {"image": 2, "structure": 1, "offsets": 2}
    return {
        name: torch.where(turned.view(-1, *[1] * (value.ndim - 1)), value.flip(sides[name]), value)
        for name, value in (batch | {"image": varied}).items()
    }
