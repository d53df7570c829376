"""Time study to report beside floors and a stock network, all measured in this run.

    python -m tests.benchmark                            what `make bench` runs
    python -m tests.benchmark --study DIR                on a study of your own
    python -m tests.benchmark --study DIR --no-peer      without the [train] extra
    python -m tests.benchmark --no-phantom               without the synthetic spine's own figures

The exit code is 1 when the whole of it is not `--at-least` times faster than the stock network.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.localiser.classes import Structure
from models.volume import Volume
from service.settings import Settings
from tests.benchmark.floors import gemm_flops_per_second, read_seconds, write_seconds
from tests.benchmark.localiser import localiser_text, time_localiser
from tests.benchmark.measure import Bench, Run
from tests.benchmark.peer import PeerTime, plan_for, time_peer
from tests.benchmark.phantom import phantom_text, time_phantom
from tests.benchmark.scorer import scorer_text, time_scorer
from tests.benchmark.study import write_benchmark_study
from tests.benchmark.table import Line, machine, peer_text, stage_table

EXIT_TOO_SLOW = 1
EXIT_NOT_POSSIBLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit code."""
    options = _options(arguments)
    trained = all(find_spec(name) is not None for name in ("torch", "monai", "scipy"))
    if not trained and (options.study is None or options.peer):
        _say(
            "torch, MONAI or scipy is missing: install the [train] extra, or give --study DIR "
            "and --no-peer to time the product alone"
        )
        return EXIT_NOT_POSSIBLE
    _say(machine())
    with TemporaryDirectory(prefix="acuity-bench-") as folder:
        scratch = Path(folder)
        figures, reference, typical = _ours(options, scratch)
        if options.phantom and trained:
            drawn = time_phantom(scratch)
            _say(phantom_text(drawn))
            figures["phantom"] = asdict(drawn)
    ratio = None
    if options.peer:
        spacing = reference.spacing
        plan = plan_for(reference.shape, (spacing.slice_mm, spacing.row_mm, spacing.column_mm))
        peer = time_peer(plan, len(Structure), options.threads, options.peer_forwards)
        _say(peer_text(peer, typical.total_s, typical.cpu_s))
        ratio = peer.volume_s / typical.total_s
        figures["peer"] = _peer_figures(peer, ratio)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if ratio is not None and ratio < options.at_least:
        _say(f"TOO SLOW: {ratio:.0f} times faster, asked for {options.at_least:.0f}")
        return EXIT_TOO_SLOW
    return 0


def _ours(options: argparse.Namespace, scratch: Path) -> tuple[dict[str, Any], Volume, Run]:
    """Time the product; print its table and return figures, reference volume and median run."""
    study = options.study or write_benchmark_study(scratch / "study")
    bench = Bench(Settings(), options.threads)
    first = bench.run(study)
    volumes = first.result.ingested.volumes
    if volumes is None:
        raise SystemExit("this study has no usable series: nothing to time")
    runs = sorted((bench.run(study) for _ in range(options.repeats)), key=lambda run: run.total_s)
    typical = runs[len(runs) // 2]
    lines = _lines(typical, study, scratch, options.threads)
    size = "x".join(map(str, volumes.reference.shape))
    _say(
        f"reference volume {size}, {options.threads} threads; bundles opened in "
        f"{bench.open_s * 1000:.0f} ms, first study {first.total_s * 1000:.0f} ms, "
        f"then the median of {len(runs)}:"
    )
    _say(stage_table(lines))
    alone = None
    if find_spec("numba") is not None:
        alone = time_localiser(None, options.threads)
        _say(localiser_text(alone))
    largest = time_scorer(None, options.threads)
    _say(scorer_text(largest))
    figures = {
        "machine": machine(),
        "threads": options.threads,
        "reference_volume": list(volumes.reference.shape),
        "open_ms": bench.open_s * 1000,
        "first_study_ms": first.total_s * 1000,
        "total_ms": typical.total_s * 1000,
        "cpu_ms": typical.cpu_s * 1000,
        "stages": [
            {"stage": line.stage, "ms": line.seconds * 1000, "floor_ms": _ms(line.floor_s)}
            for line in lines
        ],
        "localiser_alone": asdict(alone) if alone else None,
        "scorer_alone": asdict(largest),
    }
    return figures, volumes.reference, typical


def _lines(run: Run, study: Path, scratch: Path, threads: int) -> list[Line]:
    """Every stage beside its floor; the network's own part of a stage under it."""
    rate = gemm_flops_per_second(threads)
    files = [path for path in study.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    lines = []
    for stage, seconds in run.stages_s.items():
        if stage == "ingest":
            floor = (read_seconds(files), f"reading {len(files)} files, {megabytes:.1f} MB")
        elif stage == "write":
            kilobytes = sum(run.written) / 1e3
            floor = (write_seconds(run.written, scratch), f"writing {kilobytes:.0f} kB to disk")
        elif stage not in run.macs:
            lines.append(Line(stage, seconds, None, ""))  # no network in it: no floor
            continue
        else:
            gigaflops = 2 * run.macs[stage] / 1e9
            floor = (
                2 * run.macs[stage] / rate,
                f"{gigaflops:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s",
            )
        lines.append(Line(stage, seconds, *floor))
        if stage in run.network_s:
            lines.append(Line(f"  {stage}: network", run.network_s[stage], *floor))
    between = run.total_s - sum(run.stages_s.values())
    return [*lines, Line("assemble", between, None, ""), Line("total", run.total_s, None, "")]


def _peer_figures(peer: PeerTime, ratio: float) -> Mapping[str, Any]:
    return {
        "patch": list(peer.plan.patch),
        "parameters": peer.parameters,
        "forwards_timed": peer.timed,
        "forward_s": peer.forward_s,
        "forward_cpu_s": peer.forward_cpu_s,
        "forwards_needed": peer.plan.forwards,
        "volume_s_multiplied": peer.volume_s,
        "times_faster": ratio,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--study", type=Path, help="DICOM folder; a synthetic one by default")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--phantom", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--peer-forwards", type=int, default=2, metavar="N")
    parser.add_argument("--at-least", type=float, default=200.0, metavar="TIMES")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
