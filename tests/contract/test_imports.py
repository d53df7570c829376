"""What may be loaded when: help is quick, and health needs no network library."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = {
    "torch", "monai", "openvino", "onnx", "SimpleITK", "numpy", "scipy", "PIL", "pydicom", "gdcm",
    "fastapi", "starlette", "uvicorn", "pydantic", "pydantic_settings", "structlog", "rich",
    "prometheus_client", "training",
}  # fmt: skip

HELP_LIMIT_S = 0.3
"""What a person notices, and what was promised."""


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded after running `code` in a fresh interpreter."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import service.cli\n"
        "sys.argv = ['acuity', '--help']\n"
        "try: service.cli.main()\n"
        "except SystemExit: pass"
    )
    assert modules_after(code) & HEAVY == set()


@pytest.mark.parametrize(
    "command",
    [
        "analyze",
        "audit",
        "batch",
        "doctor",
        "keys",
        "listen",
        "models",
        "serve",
        "train",
        "worker",
    ],
)
def test_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    code = (
        "import service.cli\n"
        f"sys.argv = ['acuity', '{command}', '--help']\n"
        "try: service.cli.main()\n"
        "except SystemExit: pass"
    )
    # typer itself imports pydantic to look at the types of a command's parameters.
    assert modules_after(code) & HEAVY <= {"pydantic"}


def test_the_api_process_loads_no_network_library() -> None:
    loaded = modules_after("import service.api, service.jobs.opening")
    assert loaded & {"torch", "monai", "openvino", "SimpleITK", "pydicom", "scipy", "training"} == (
        set()
    )


def test_help_is_quick() -> None:
    # CPU time of the fastest of three: a busy machine must not fail it, a slow import must.
    code = (
        "import sys, service.cli\n"
        "sys.argv = ['acuity', '--help']\n"
        "try: service.cli.main()\n"
        "except SystemExit: pass\n"
        "import time; print(time.process_time(), file=sys.stderr)"
    )
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        times.append(float(done.stderr.split()[-1]))
        time.sleep(0.05)
    assert min(times) < HELP_LIMIT_S, times
