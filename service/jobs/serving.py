"""Which bundles the worker runs: looked up before every study; a promotion needs no restart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import structlog

from models.errors import AcuityError, BundleError
from models.registry import read_bundle, resolve
from models.runtime import CpuOptions, open_session
from service.pipeline import Stages, open_stages
from service.settings import Settings

log = structlog.get_logger()

SHADOWED: Final = "scorer"


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
    """Stages whose scorer has a candidate beside it, where one is set.

    A candidate that cannot be opened is logged and left out: it must not stop the service.
    """
    if settings.shadow_scorer is None:
        return stages
    from models.scorer.scorer import Scorer  # noqa: PLC0415
    from service.jobs.shadow import FOLDER, Shadowed  # noqa: PLC0415

    try:
        bundle = read_bundle(settings.shadow_scorer)
        if bundle.name != SHADOWED:
            raise BundleError(f"a shadow is a {SHADOWED}, not a {bundle.name}")
        session = open_session(bundle, settings.device, CpuOptions(threads=settings.threads))
        candidate = Scorer(session, bundle.metadata)
    except AcuityError as error:
        log.warning("shadow_refused", code=error.code)
        return stages
    folder = settings.work_dir / FOLDER if settings.work_dir else None
    seal = next(one.sha256 for one in stages.bundles if one.name == bundle.name)
    return replace(stages, score=Shadowed(stages.score, candidate, bundle, seal, folder))
