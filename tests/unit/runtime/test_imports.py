"""What importing and opening cost, each seen in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"openvino", "torch", "monai", "onnx", "safetensors", "pydicom", "pydantic", "scipy"}


def run(code: str, **environment: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return answer.stdout


@pytest.mark.parametrize("module", ["models.manifest", "models.registry", "models.runtime"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps([m.split('.')[0] for m in sys.modules]))"
    assert not HEAVY & set(json.loads(run(code)))


def test_openvino_opens_in_silence(tmp_path: Path) -> None:
    """No telemetry module loads, no socket opens, nothing is written under the home folder."""
    code = """
import json, sys
events = []
sys.addaudithook(lambda name, args: events.append(name) if name.startswith("socket.") else None)
from models.runtime import silent_openvino
core = silent_openvino().Core()
core.get_property("CPU", "FULL_DEVICE_NAME")
loaded = [n for n, m in sys.modules.items() if "telemetry" in n and n.startswith("openvino") and m]
import threading
print(json.dumps([events, loaded, threading.active_count()]))
"""
    assert json.loads(run(code, HOME=str(tmp_path))) == [[], [], 1]
    assert list(tmp_path.iterdir()) == []


def test_without_a_gpu_torch_is_not_imported_to_find_that_out() -> None:
    if Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists():
        pytest.skip("this machine has a GPU driver")
    code = "import sys; import models.runtime as r; r._cuda_usable(); print('torch' in sys.modules)"
    assert run(code).strip() == "False"
