"""A checkpoint behind the runtime's `Session`, to look at a network before it is a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.localiser.network import LocaliserNetwork, ServedLocaliser
from models.runtime import Tensors
from training.localiser.fit import load_averaged


class CheckpointSession:
    """Runs the averaged weights of a checkpoint in PyTorch on the CPU."""

    device = "cpu"
    input_names = ("image",)
    output_names = ("structure", "offsets")

    def __init__(self, network: LocaliserNetwork) -> None:
        """Take a trained network."""
        self._network = ServedLocaliser(network).eval()

    @classmethod
    def load(cls, checkpoint: Path) -> CheckpointSession:
        """Open a checkpoint written by `training.localiser.fit`."""
        return cls(load_averaged(checkpoint))

    def run(self, inputs: Tensors) -> Tensors:
        """Run once; see `models.runtime.Session`."""
        with torch.inference_mode():
            structure, offsets = self._network(torch.from_numpy(inputs["image"]))
        return {
            "structure": np.asarray(structure.numpy(), np.float32),
            "offsets": np.asarray(offsets.numpy(), np.float32),
        }
