"""The checks of `acuity doctor`: what this machine and installation can do."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from service.settings import Settings

LOW_DISK_GB: Final = 2.0
"""Free space below which a warning is given: a few large studies with their results."""

FASTER_FLAGS: Final = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16")
"""CPU features that OpenVINO makes use of (x86 and Arm), as the kernel names them."""


class Verdict(StrEnum):
    """What a check came to. Only `bad` stops the service from reading studies."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table."""

    name: str
    verdict: Verdict
    detail: str


def machine_checks(settings: Settings) -> Iterator[Check]:
    """Check everything but the model bundles, in the order in which a person would ask."""
    yield _python()
    yield _cpu()
    yield from _decoders()
    yield _openvino()
    yield _torch(settings)
    yield _work_dir(settings)
    yield _access(settings)


def _python() -> Check:
    supported = sys.version_info >= (3, 11)
    return Check(
        "Python",
        Verdict.GOOD if supported else Verdict.BAD,
        f"{platform.python_version()}, vertebral-acuity {version('vertebral-acuity')}",
    )


def _cpu() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    flags = _cpu_flags()
    useful = [flag for flag in FASTER_FLAGS if flag in flags]
    slow = platform.machine() in {"x86_64", "AMD64"} and "avx2" not in flags
    return Check(
        "CPU",
        Verdict.NOTE if slow else Verdict.GOOD,
        f"{platform.machine()}, {cores} cores, {' '.join(useful) or 'no faster instructions'}",
    )


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return frozenset(lines[0].partition(":")[2].split()) if lines else frozenset()


def _decoders() -> Iterator[Check]:
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415
    from pydicom.uid import UID, AllTransferSyntaxes  # noqa: PLC0415

    able: list[str] = []
    unable: list[str] = []
    for uid in AllTransferSyntaxes:
        try:
            decoder = get_decoder(UID(uid))
        except NotImplementedError:  # video and other syntaxes that no MR archive holds
            continue
        (able if decoder.is_available else unable).append(UID(uid).name)
    for name in able:
        yield Check("Decoder", Verdict.GOOD, name)
    for name in unable:
        yield Check("Decoder", Verdict.BAD, f"{name}: no plugin is installed")


def bundle_checks(settings: Settings) -> Iterator[Check]:
    """Check that the bundles in use are there and whole."""
    from models.errors import BundleError  # noqa: PLC0415
    from models.registry import resolve, verify  # noqa: PLC0415

    for name in (settings.localiser_bundle, settings.scorer_bundle):
        try:
            bundle = resolve(name, bundle_dir=settings.bundle_dir)
            verify(bundle)
        except BundleError as error:
            yield Check("Model bundle", Verdict.BAD, f"{error.code}: {error}")
        else:
            yield Check("Model bundle", Verdict.GOOD, f"{bundle.name} {bundle.version}, verified")


def _openvino() -> Check:
    try:
        import openvino  # noqa: PLC0415

        core = openvino.Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError) as error:
        return Check("OpenVINO", Verdict.BAD, type(error).__name__)
    return Check(
        "OpenVINO", Verdict.GOOD, f"{version('openvino')}, CPU can {' '.join(capabilities)}"
    )


def _torch(settings: Settings) -> Check:
    needed = settings.device == "cuda"
    absent = Verdict.BAD if needed else Verdict.GOOD
    if find_spec("torch") is None:
        return Check("PyTorch (optional)", absent, "not installed; networks run in OpenVINO")
    try:
        detail = version("torch")
    except PackageNotFoundError:
        detail = "unknown version"
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        return Check("PyTorch (optional)", Verdict.GOOD, f"{detail}, GPU usable")
    return Check("PyTorch (optional)", absent, f"{detail}, no GPU; networks run in OpenVINO")


def _work_dir(settings: Settings) -> Check:
    folder = settings.work_dir or Path(tempfile.gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Check("Work folder", Verdict.BAD, f"cannot be written ({type(error).__name__})")
    if free_gb * 1e9 < settings.min_free_mb << 20:
        return Check("Work folder", Verdict.BAD, f"below the watermark: {free_gb:.1f} GB free")
    verdict = Verdict.NOTE if free_gb < LOW_DISK_GB else Verdict.GOOD
    kept = "" if settings.work_dir else "; ACUITY_WORK_DIR not set, results go with the process"
    return Check("Work folder", verdict, f"writable, {free_gb:.1f} GB free{kept}")


def _access(settings: Settings) -> Check:
    named = []
    if settings.api_keys:
        named.append(f"{len(settings.api_keys)} key(s) in the settings")
    if settings.oidc is not None:
        named.append("an identity provider")
    if settings.tls is not None:
        mutual = settings.tls.client_ca is not None
        named.append("TLS with clients' certificates" if mutual else "TLS")
        absent = [
            path
            for path in (settings.tls.certificate, settings.tls.key, settings.tls.client_ca)
            if path is not None and not path.is_file()
        ]
        if absent:
            return Check("Access", Verdict.BAD, "a file of ACUITY_TLS is not there")
    detail = ", ".join(named) or "no key in the settings; see `acuity keys list`"
    return Check("Access", Verdict.GOOD, detail)
