"""The way a study goes, on one page: read, localise, score, measure, report.

Each stage takes a value and returns a value. Stages abstain; they do not fail in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from models.findings import Localisation, Scores, StudyVolumes
from models.morphometry.morphometry import with_geometry
from service.ingest.records import Ingested
from service.report.assemble import assemble
from service.report.document import BundleReport, ProvenanceReport
from service.report.result import StudyResult
from service.settings import Settings


class Read(Protocol):
    """Take a folder, file, zip or DICOMDIR in; account for everything in it."""

    def __call__(self, source: Path) -> Ingested:
        """Return the chosen volumes, or none and why."""


class Localise(Protocol):
    """Find, outline and name vertebral bodies."""

    def __call__(self, study: StudyVolumes) -> Localisation:
        """Return the bodies on the grid of the reference volume."""


class Score(Protocol):
    """Say what each body shows."""

    def __call__(self, study: StudyVolumes, localisation: Localisation) -> Scores:
        """Return one entry per body, in the order of the localisation."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The parts a run is made of, opened once and used for every study.

    Attributes:
        bundles: The model bundles behind `localise` and `score`, for the report.
        device: Where networks run.
    """

    read: Read
    localise: Localise
    score: Score
    bundles: tuple[BundleReport, ...] = ()
    device: str = "cpu"


@dataclass(slots=True)
class Clock:
    """Wall-clock time per stage.

    Attributes:
        on_stage: Told the name of each stage as it begins.
        now: Seconds on a clock that never runs back.
        timings_ms: Filled stage by stage.
    """

    on_stage: Callable[[str], None] = lambda _name: None
    now: Callable[[], float] = time.perf_counter
    timings_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside, also when it fails."""
        self.on_stage(name)
        start = self.now()
        try:
            yield
        finally:
            self.timings_ms[name] = (self.now() - start) * 1000


def report_on(source: Path, stages: Stages, clock: Clock) -> StudyResult:
    """Run one study. Every stage may abstain; none may lie.

    Raises:
        AcuityError: A stage could not do its work; a study that is merely unusable raises nothing
            and gets a report that says why.
    """
    with clock.stage("ingest"):
        ingested = stages.read(source)
    localisation, scores = None, None
    if ingested.volumes is not None:
        with clock.stage("localise"):
            localisation = stages.localise(ingested.volumes)
        with clock.stage("score"):
            scores = stages.score(ingested.volumes, localisation)
        with clock.stage("geometry"):
            scores = with_geometry(localisation, scores)
    provenance = ProvenanceReport(
        software=f"vertebral-acuity {version('vertebral-acuity')}",
        bundles=stages.bundles,
        device=stages.device,
        timings_ms=dict(clock.timings_ms),
    )
    report = assemble(ingested, localisation, scores, provenance)
    return StudyResult(report, ingested, localisation, scores)


def open_stages(settings: Settings) -> Stages:
    """Open the bundles and bind every stage to its settings.

    Raises:
        BundleError: A bundle is missing or damaged, or not signed where it must be.
        RuntimeUnavailableError: The device asked for is not there.
    """
    # The runtimes cost seconds and hundreds of MB that `--help` and the API process must not pay.
    from models.registry import resolve  # noqa: PLC0415
    from models.runtime import CpuOptions, open_session  # noqa: PLC0415
    from models.serving import require_signature  # noqa: PLC0415

    localiser = resolve(settings.localiser_bundle, bundle_dir=settings.bundle_dir)
    scorer = resolve(settings.scorer_bundle, bundle_dir=settings.bundle_dir)
    if settings.bundle_key is not None and settings.bundle_dir is not None:
        for bundle in (localiser, scorer):
            told = (bundle.name, bundle.version, bundle.sha256)
            require_signature(settings.bundle_dir, told, bundle.path, settings.bundle_key)
    options = CpuOptions(threads=settings.threads)
    with ThreadPoolExecutor(2, "open") as pool:
        opening = [
            pool.submit(open_session, bundle, settings.device, options)
            for bundle in (localiser, scorer)
        ]
        # Compiling leaves the interpreter free: what else a study needs is imported meanwhile.
        from models.localiser.localiser import Localiser  # noqa: PLC0415
        from models.scorer.scorer import Scorer  # noqa: PLC0415

        read = reader(settings)
        localiser_session, scorer_session = (session.result() for session in opening)
    return Stages(
        read=read,
        localise=Localiser(localiser_session, localiser.metadata),
        score=Scorer(scorer_session, scorer.metadata),
        bundles=tuple(
            BundleReport(name=bundle.name, version=bundle.version, sha256=bundle.sha256)
            for bundle in (localiser, scorer)
        ),
        device=localiser_session.device,
    )


def reader(settings: Settings) -> Read:
    """Bind ingest to its limits and policy; spooled files live as long as one reading."""
    from service.ingest.grid import StackPolicy  # noqa: PLC0415
    from service.ingest.safety import Limits  # noqa: PLC0415
    from service.ingest.study import read_study  # noqa: PLC0415

    limits = Limits(**settings.limits.model_dump(exclude_none=True))
    policy = StackPolicy(**settings.stacks.model_dump(exclude_none=True))

    def read(source: Path) -> Ingested:
        if settings.work_dir is not None:
            settings.work_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="acuity-", dir=settings.work_dir) as workspace:
            return read_study(source, limits=limits, policy=policy, workspace=Path(workspace))

    return read
