"""Small studies for batches, and a reader that is quick because it has no networks.

Run as a program it is the inference worker with stand-in networks (`READER`): what comes in is read
and what goes out is written as ever, and the levels it reports follow from the pixels, so that a
table tells one study from another.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset

from models.findings import (
    Acuity,
    AcuityFinding,
    Anchor,
    Call,
    Coverage,
    Edema,
    Etiology,
    EtiologyFinding,
    Fracture,
    LevelFindings,
    LevelName,
    Localisation,
    Scores,
    Shape,
    StudyVolumes,
    Vertebra,
)
from models.registry import resolve
from service.batch.run import Asked, OpenJobs, run_batch
from service.batch.workers import local_jobs, shared_jobs
from service.jobs import worker
from service.pipeline import Stages, reader
from service.report.document import BundleReport
from service.report.outputs import Format
from service.settings import Settings
from tests.builders import Grid, classic_stack, to_bytes, write_all

READER = (sys.executable, "-m", "tests.batch_made")
SLICES = 7
SHAPE = (SLICES, 192, 16)
NAMES = ("T12", "L1", "L2")


RAISES = 2001
"""Brightest pixel of a study at which reading ends in an error of the program."""
DIES = 2002
"""Brightest pixel of a study at which the process that reads it dies, again and again."""


def study(number: int, brightest: int = 0) -> list[FileDataset]:
    """A usable stack whose pixels depend on its number."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(50, 1000, SHAPE).astype(np.uint16)
    pixels[SLICES // 2, 0, 0] = max(brightest, 1000)
    return classic_stack(pixels, Grid(), study=f"batch {number}", series=f"stir {number}")


def write_studies(root: Path, count: int) -> None:
    """Studies of which every fifth is unusable; two of seven share a folder."""
    for number in range(count):
        images = study(number)
        images = images[:2] if number % 5 == 4 else images
        if number % 7 in (2, 3):
            folder = root / f"mixed {number // 7}"
            folder.mkdir(parents=True, exist_ok=True)
            for index, image in enumerate(images):
                (folder / f"{index} of {number}").write_bytes(to_bytes(image))
        else:
            write_all(images, root / f"{number:04d}" / "dicom")


def localise(volumes: StudyVolumes) -> Localisation:
    """Three bodies, one below the other."""
    volume = volumes.reference
    brightest = round(float(volume.array.max()))
    if brightest == DIES:
        os._exit(1)
    if brightest == RAISES:
        raise RuntimeError("this study is made to be too much")
    labels = np.zeros(volume.shape, np.uint8)
    for index in range(1, 4):
        labels[2:5, 40 * index : 40 * index + 20, 4:12] = index
    vertebrae = tuple(
        Vertebra(
            index=index,
            name=LevelName(name, 0.9),
            alternatives=(),
            coverage=Coverage.COMPLETE,
            centroid_lps_mm=np.array([0.0, 0.0, 100.0 - 36 * index]),
            axes_lps=np.eye(3),
            size=None,
            confidence=0.99,
        )
        for index, name in enumerate(NAMES, start=1)
    )
    return Localisation(labels, volume.affine, vertebrae, Anchor.SACRUM, np.zeros_like(labels))


def score(volumes: StudyVolumes, localisation: Localisation) -> Scores:
    """What a body shows is the mean of its voxels."""
    levels = []
    for vertebra in localisation.vertebrae:
        inside = volumes.reference.array[localisation.labels == vertebra.index]
        probability = min(1.0, float(inside.mean()) / 1000)
        call = Call.PRESENT if probability > 0.525 else Call.ABSENT
        levels.append(
            LevelFindings(
                vertebra=vertebra,
                edema=Edema(probability, call, probability / 2),
                fracture=Fracture(probability, call, 20.0, 1, Shape.WEDGE),
                acuity=AcuityFinding(
                    Acuity.UNHEALED if call is Call.PRESENT else Acuity.NO_FRACTURE, probability
                ),
                etiology=EtiologyFinding(Etiology.BENIGN, 0.1, (Etiology.BENIGN,)),
            )
        )
    return Scores(tuple(levels), np.zeros(localisation.labels.shape, np.float32))


def stages(settings: Settings) -> Stages:
    """Stand-ins under the names of the bundles that serve; the worker would open those else."""
    bundles = [
        resolve(name, bundle_dir=settings.bundle_dir)
        for name in (settings.localiser_bundle, settings.scorer_bundle)
    ]
    named = [BundleReport(name=b.name, version=b.version, sha256=b.sha256) for b in bundles]
    return Stages(reader(settings), localise, score, tuple(named))


def stand_in_jobs(*, shared: bool = False) -> OpenJobs:
    """Jobs whose workers are this program."""
    return partial(shared_jobs if shared else local_jobs, command=READER)


class Silent:
    """Progress that nobody sees; it counts."""

    def __init__(self) -> None:
        self.files = self.total = self.done = 0

    def looked(self, files: int) -> None:
        self.files = files

    def begin(self, total: int, done: int) -> None:
        self.total, self.done = total, done

    def study(self, _state: object) -> None:
        self.done += 1


def asked_for(
    root: Path, out: Path, workers: int = 1, *formats: Format, deidentify: bool = False
) -> Asked:
    """A batch that writes reports, and in what other formats is asked."""
    return Asked(root, out, workers, frozenset({Format.JSON, *formats}), deidentify)


def run(root: Path, out: Path, workers: int = 1) -> None:
    """A batch with stand-in workers; a database that the environment names is shared."""
    settings = Settings()
    jobs = stand_in_jobs(shared=settings.database is not None)
    run_batch(asked_for(root, out, workers), settings, Silent(), jobs)


def _main() -> None:
    if sys.argv[1:]:  # a batch in a process of its own, to be killed
        # A shell starts what runs in the background with Ctrl-C ignored, and that is inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        root, out, workers = sys.argv[1:]
        run(Path(root), Path(out), int(workers))
        return
    worker._open = stages
    worker.main()


if __name__ == "__main__":
    _main()
