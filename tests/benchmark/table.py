"""What the benchmark prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmark.peer import PeerTime


@dataclass(frozen=True, slots=True)
class Line:
    """A stage beside its floor, both in seconds; floor None where there is none."""

    stage: str
    seconds: float
    floor_s: float | None
    floor: str


def machine() -> str:
    """Processor, usable cores and how busy they are: timings mean nothing without."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    busy = "  BUSY: wall-clock times are not to be trusted" if load > cores / 2 else ""
    return f"{names[0] if names else 'unknown CPU'}, {cores} cores, load {load:.1f}{busy}"


def cpu_s(pid: int) -> float:
    """Processor time of a process with its threads, in seconds and steps of 10 ms (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stage_table(lines: Sequence[Line]) -> str:
    """One row per stage: time, floor, and how many times the floor."""
    rows = [f"{'stage':<20}{'ms':>10}{'floor ms':>12}{'ratio':>9}  floor is the time for"]
    for line in lines:
        floor = "" if line.floor_s is None else f"{line.floor_s * 1000:.1f}"
        ratio = "" if not line.floor_s else f"{line.seconds / line.floor_s:.1f}"
        row = f"{line.stage:<20}{line.seconds * 1000:>10.1f}{floor:>12}{ratio:>9}  {line.floor}"
        rows.append(row.rstrip())
    return "\n".join(rows)


def peer_text(peer: PeerTime, ours_s: float, ours_cpu_s: float) -> str:
    """The peer's time, how it was come by, and both ratios."""
    plan = peer.plan
    patch = "x".join(map(str, plan.patch))
    volume_cpu_s = peer.forward_cpu_s * plan.forwards
    return (
        f"nnU-Net-sized 3D U-Net (MONAI DynUNet, PyTorch float32, {peer.parameters / 1e6:.1f} M "
        f"parameters), patch {patch}\n"
        f"  {peer.forward_s:.2f} s per forward ({peer.forward_cpu_s:.1f} CPU-s), the fastest of "
        f"{peer.timed}\n"
        f"  {plan.tiles} tiles x 8 mirrorings = {plan.forwards} forwards: {peer.volume_s:.0f} s "
        f"({volume_cpu_s:.0f} CPU-s), multiplied, not run\n"
        f"ours, study to report: {ours_s:.2f} s ({ours_cpu_s:.2f} CPU-s): "
        f"{peer.volume_s / ours_s:.0f} times faster ({volume_cpu_s / ours_cpu_s:.0f} times less "
        "processor time)"
    )
