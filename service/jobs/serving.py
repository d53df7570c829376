"""Which bundles the worker runs: looked up before every study; a promotion needs no restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import structlog

from models.errors import AcuityError, BundleError
from models.registry import read_bundle, resolve
from models.runtime import CpuOptions, open_session
from service.pipeline import Stages, open_stages
from service.settings import Settings

if TYPE_CHECKING:
    from models.runtime import Session
    from service.jobs.shadow import Counts

log = structlog.get_logger()

Candidate = TypeVar("Candidate")


class ShadowKindError(BundleError):
    """A candidate that is set to stand beside a model of another kind."""

    code: ClassVar[str] = "shadow_of_another_kind"


@dataclass(slots=True)
class Serving:
    """The opened pipeline, opened anew when other bundles have become the serving ones.

    Attributes:
        settings: Of this installation.
        stages: As opened last.
    """

    settings: Settings
    stages: Stages

    def __post_init__(self) -> None:
        self.stages = shadowed(self.stages, self.settings)

    def current(self) -> Stages:
        """The pipeline for the next study.

        What cannot be opened does not replace what runs: the study is read by the bundles that
        served so far, and the log says why.
        """
        try:
            if served_seals(self.settings) != tuple(one.sha256 for one in self.stages.bundles):
                self.stages = shadowed(open_stages(self.settings), self.settings)
                versions = [f"{one.name} {one.version}" for one in self.stages.bundles]
                log.info("bundles_changed", bundles=versions)
        except AcuityError as error:
            log.warning("bundle_refused", code=error.code)
        return self.stages


def served_seals(settings: Settings) -> tuple[str, ...]:
    """Seals of the localiser and the scorer that are to serve now."""
    names = (settings.localiser_bundle, settings.scorer_bundle)
    return tuple(resolve(name, bundle_dir=settings.bundle_dir).sha256 for name in names)


def shadowed(stages: Stages, settings: Settings) -> Stages:
    """Stages with a candidate beside localiser or scorer, where one is set.

    A candidate that cannot be opened is logged and left out: it must not stop the service.
    """
    if settings.shadow_localiser is not None:
        from models.localiser.localiser import Localiser  # noqa: PLC0415
        from service.jobs.shadow import ShadowedBodies  # noqa: PLC0415

        found = _candidate(settings.shadow_localiser, "localiser", Localiser, stages, settings)
        if found is not None:
            stages = replace(stages, localise=ShadowedBodies(stages.localise, *found))
    if settings.shadow_scorer is not None:
        from models.scorer.scorer import Scorer  # noqa: PLC0415
        from service.jobs.shadow import Shadowed  # noqa: PLC0415

        opened = _candidate(settings.shadow_scorer, "scorer", Scorer, stages, settings)
        if opened is not None:
            stages = replace(stages, score=Shadowed(stages.score, *opened))
    return stages


def _candidate(
    folder: Path,
    kind: str,
    stage: Callable[[Session, Mapping[str, Any]], Candidate],
    stages: Stages,
    settings: Settings,
) -> tuple[Candidate, Counts] | None:
    """A candidate opened, and where its counts go; None where it cannot be opened."""
    from service.jobs.shadow import FOLDER, Counts  # noqa: PLC0415

    try:
        bundle = read_bundle(folder)
        if bundle.name != kind:
            raise ShadowKindError(f"this shadow is to be a {kind}, not a {bundle.name}")
        session = open_session(bundle, settings.device, CpuOptions(threads=settings.threads))
        candidate = stage(session, bundle.metadata)
    except AcuityError as error:
        log.warning("shadow_refused", kind=kind, code=error.code)
        return None
    seal = next(one.sha256 for one in stages.bundles if one.name == kind)
    counts = Counts(bundle, seal, settings.work_dir / FOLDER if settings.work_dir else None)
    return candidate, counts
