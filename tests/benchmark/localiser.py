"""The localiser alone on a 16 x 384 x 384 volume: network and decoding, and what memory it takes.

    python -m tests.benchmark.localiser [--bundle DIR] [--threads N]

The volume is drawn here and localised in a process of its own, so that only what serving needs
counts as memory. It needs the [train] extra, which draws the volume.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from models.findings import StudyVolumes
from models.localiser.localiser import Localiser
from models.localiser.preprocess import network_image, prepare
from models.registry import read_bundle, resolve
from models.runtime import CpuOptions, open_session
from models.volume import Role, Volume

SHAPE = (16, 384, 384)
PITCH_MM = (4.0, 1.0, 1.0)
"""A field of view of 38 cm at the working pitch: the most that one volume costs."""

SEED = 400_000_123


@dataclass(frozen=True, slots=True)
class LocaliserTime:
    """Medians in seconds, peak memory in MB, and how many bodies were found."""

    wall_s: float
    cpu_s: float
    network_s: float
    peak_mb: float
    bodies: int


def time_localiser(bundle: Path | None, threads: int) -> LocaliserTime:
    """Draw the volume, and time a process that localises it again and again."""
    with TemporaryDirectory(prefix="acuity-bench-") as folder:
        path = Path(folder) / "volume.npy"
        np.save(path, _drawn())
        command = [sys.executable, "-m", "tests.benchmark.localiser", "--threads", str(threads)]
        command += ["--volume", str(path)] + (["--bundle", str(bundle)] if bundle else [])
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return LocaliserTime(**json.loads(done.stdout))


def _drawn() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    from training.phantom.draw import draw_image
    from training.phantom.scene import SceneRequest, sample_scene

    scene = sample_scene(SEED, SceneRequest(region="lumbar"))
    rng = np.random.default_rng(SEED)
    drawn = draw_image(scene, rng, role=Role.T2, in_plane_mm=1.0, slice_mm=4.0)
    full = np.zeros(SHAPE, np.float32)
    array = drawn.volume.array[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    corner = [(whole - part) // 2 for whole, part in zip(SHAPE, array.shape, strict=True)]
    spans = (slice(a, a + n) for a, n in zip(corner, array.shape, strict=True))
    full[tuple(spans)] = array
    return full


def _volume(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Volume:
    affine = np.zeros((4, 4))
    affine[:3, :3] = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]) * np.array(PITCH_MM)
    affine[3, 3] = 1.0
    return Volume(array, affine, Role.T2)


def _timed(volume: Volume, bundle: Path | None, threads: int, repeats: int = 9) -> LocaliserTime:
    opened = read_bundle(bundle) if bundle else resolve("localiser")
    session = open_session(opened, "cpu", CpuOptions(threads=threads))
    localiser = Localiser(session, opened.metadata)
    study = StudyVolumes(volume, {volume.role.value: volume})
    found = localiser(study)
    walls, cpus, alone = [], [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        localiser(study)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    image = network_image(prepare(volume)[1])
    for _ in range(repeats):
        start = time.perf_counter()
        session.run({"image": image})
        alone.append(time.perf_counter() - start)
    medians = (float(np.median(times)) for times in (walls, cpus, alone))
    return LocaliserTime(*medians, peak_mb=_peak_mb(), bodies=len(found.vertebrae))


def _peak_mb() -> float:
    """Most memory that this program held; `ru_maxrss` begins with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    held = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(held.split()[1]) / 1024


def localiser_text(found: LocaliserTime) -> str:
    """One line for the table."""
    size = "x".join(map(str, SHAPE))
    return (
        f"localiser alone, {size}: {found.wall_s * 1000:.0f} ms ({found.cpu_s * 1000:.0f} CPU-ms; "
        f"network alone {found.network_s * 1000:.0f} ms), {found.bodies} bodies, "
        f"process at most {found.peak_mb:.0f} MB"
    )


def main() -> int:
    """Print the line, or with --volume the figures as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--volume", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.volume is not None:
        found = _timed(_volume(np.load(given.volume)), given.bundle, given.threads)
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
    else:
        sys.stdout.write(localiser_text(time_localiser(given.bundle, given.threads)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
