from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from training.fit.errors import FitError
from training.fit.processes import Processes, joined

pytestmark = pytest.mark.train

ROOT = Path(__file__).resolve().parents[3]


def test_without_torchrun_a_process_is_alone() -> None:
    with joined("cpu", {}) as processes:
        assert processes == Processes(torch.device("cpu"))
        assert processes.first


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(FitError, match="torch sees none"):
        Processes.alone("cuda")


@pytest.mark.soak
def test_two_processes_train_one_network(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            str(ROOT / "tests" / "unit" / "fit" / "shared_run.py"), str(tmp_path),
        ],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=600,
    )  # fmt: skip
    first, second = (json.loads((tmp_path / f"rank-{i}.json").read_text()) for i in range(2))
    # Running statistics are each process's own on a CPU; weights are shared.
    shared = [name for name in first if "running" not in name and "tracked" not in name]
    assert all(first[name] == second[name] for name in shared)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["part"] == "training"] == [10, 20]
