"""Time one study from its folder to its written report, stage by stage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from models.localiser.localiser import Localiser
from models.manifest import MODEL_ONNX
from models.registry import open_verified, resolve
from models.runtime import CpuOptions, Session, Tensors, open_session
from models.scorer.scorer import Scorer
from service.pipeline import Clock, Stages, reader, report_on
from service.report.outputs import write_outputs
from service.report.result import StudyResult
from service.settings import Settings
from tests.benchmark.flops import Shape, count_macs


@dataclass(slots=True)
class WatchedSession:
    """A session that notes the sizes it is sent and the time it takes."""

    inner: Session
    shapes: list[dict[str, Shape]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def device(self) -> str:
        return self.inner.device

    @property
    def input_names(self) -> tuple[str, ...]:
        return self.inner.input_names

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.inner.output_names

    def run(self, inputs: Tensors) -> Tensors:
        self.shapes.append({name: array.shape for name, array in inputs.items()})
        start = perf_counter()
        outputs = self.inner.run(inputs)
        self.seconds += perf_counter() - start
        return outputs


@dataclass(frozen=True, slots=True)
class Run:
    """One study, once.

    Attributes:
        stages_s: Stage to wall-clock seconds, in order; "write" is the last.
        network_s: Network stage to the seconds of it spent inside the network.
        total_s: From the folder to the last file written.
        cpu_s: Processor time over all threads and the decoding process.
        macs: Network stage to multiply-accumulates.
        written: Sizes in bytes of the files written.
    """

    stages_s: Mapping[str, float]
    network_s: Mapping[str, float]
    total_s: float
    cpu_s: float
    macs: Mapping[str, int]
    written: tuple[int, ...]
    result: StudyResult


class Bench:
    """The product's own stages, opened once, with their sessions watched."""

    def __init__(self, settings: Settings, threads: int) -> None:
        start = perf_counter()
        options = CpuOptions(threads=threads)
        names = {"localise": settings.localiser_bundle, "score": settings.scorer_bundle}
        bundles = {
            stage: resolve(name, bundle_dir=settings.bundle_dir) for stage, name in names.items()
        }
        self._sessions = {
            stage: WatchedSession(open_session(bundle, "cpu", options))
            for stage, bundle in bundles.items()
        }
        self._stages = Stages(
            read=reader(settings),
            localise=Localiser(self._sessions["localise"], bundles["localise"].metadata),
            score=Scorer(self._sessions["score"], bundles["score"].metadata),
        )
        self.open_s = perf_counter() - start
        self._onnx = {stage: open_verified(bundle)[MODEL_ONNX] for stage, bundle in bundles.items()}

    def run(self, study: Path) -> Run:
        """Read one study, report on it, write every format."""
        for session in self._sessions.values():
            session.shapes.clear()
            session.seconds = 0.0
        clock = Clock()
        processor, start = _processor_seconds(), perf_counter()
        with TemporaryDirectory(prefix="acuity-bench-") as out:
            result = report_on(study, self._stages, clock)
            with clock.stage("write"):
                written = write_outputs(result, Path(out))
            total, processor = perf_counter() - start, _processor_seconds() - processor
            sizes = tuple(file.stat().st_size for file in written)
        return Run(
            stages_s={name: ms / 1000 for name, ms in clock.timings_ms.items()},
            network_s={stage: session.seconds for stage, session in self._sessions.items()},
            total_s=total,
            cpu_s=processor,
            macs={
                stage: sum(count_macs(self._onnx[stage], shapes) for shapes in session.shapes)
                for stage, session in self._sessions.items()
            },
            written=sizes,
            result=result,
        )


def _processor_seconds() -> float:
    """Of this process and of the children it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
