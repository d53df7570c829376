"""A run of the toy trainee under torchrun: python -m torch.distributed.run ... RUN."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.unit.fit.made import ToyTrainee, recipe
from training.fit.loop import fit
from training.fit.processes import joined

if __name__ == "__main__":
    run = Path(sys.argv[1])
    with joined("cpu") as processes:
        network = fit(ToyTrainee(), recipe(schedule={"steps": 20}), run, processes=processes)
        weights = {name: value.tolist() for name, value in network.state_dict().items()}
        (run / f"rank-{processes.rank}.json").write_text(json.dumps(weights))
