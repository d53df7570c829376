"""Make the sample studies of this folder: three synthetic patients, stored as DICOM.

    python data_samples/make_samples.py            # writes beside this file
    python data_samples/make_samples.py --out DIR

Needs the package with its `[train]` extra. The same version gives the same bytes; `MANIFEST.json`
holds their SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.uid import JPEGLSLossless

from models.volume import Role
from training.phantom.dicom.recipe import StudyRecipe
from training.phantom.dicom.study import write_study
from training.phantom.disease import Disease
from training.phantom.disease.fracture import sample_fracture
from training.phantom.disease.metastasis import sample_metastasis
from training.phantom.patient import sample_case
from training.phantom.scanner.protocols import Site
from training.phantom.scene import SceneRequest
from training.phantom.stamp import PHANTOM_VERSION

HERE: Final = Path(__file__).resolve().parent

STIR_T1_T2: Final = (Role.STIR, Role.T1, Role.T2)
DIXON_T1: Final = (Role.DIXON_WATER, Role.T1)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample study: who, what is wrong, and how it was scanned."""

    seed: int
    diseases: Mapping[str, Disease]
    roles: tuple[Role, ...]
    site: Site
    slices: int


def _drawn(
    sample: Callable[[np.random.Generator], Disease], plain: Callable[[Disease], bool]
) -> Disease:
    """The first disease drawn that is plain enough to show."""
    rng = np.random.default_rng(20)
    return next(disease for disease in (sample(rng) for _ in range(2000)) if plain(disease))


def _wedge(rng: np.random.Generator) -> Disease:
    return sample_fracture(rng, stage="acute", shape="wedge")


def _wet(disease: Disease) -> bool:
    edema = disease.edema
    if edema is None or edema.pattern != "band" or edema.extent <= 0.3 or edema.intensity <= 0.5:
        return False
    return 0.22 < disease.loss < 0.4 and not disease.signs & {"G3", "B1", "B2"}


def _healed(rng: np.random.Generator) -> Disease:
    return sample_fracture(rng, stage="healed", shape="biconcave")


def _replaced(disease: Disease) -> bool:
    lesion = disease.lesion
    return lesion is not None and lesion.kind == "lytic" and lesion.extent > 0.85


def _focal(disease: Disease) -> bool:
    lesion = disease.lesion
    return lesion is not None and lesion.kind == "lytic" and 0.3 < lesion.extent < 0.6


SAMPLES: Final[Mapping[str, Sample]] = {
    "benign_unhealed": Sample(
        seed=2103,
        diseases={"L1": _drawn(_wedge, _wet)},
        roles=STIR_T1_T2,
        site=Site("siemens", 1.5),
        slices=15,
    ),
    "healed": Sample(
        seed=2203,
        diseases={"L2": _drawn(_healed, lambda disease: 0.28 < disease.loss < 0.45)},
        roles=STIR_T1_T2,
        site=Site("philips", 1.5),
        slices=15,
    ),
    "pathological_dixon": Sample(
        seed=2303,
        diseases={
            "L3": _drawn(lambda rng: sample_metastasis(rng, fractured=True), _replaced),
            "T12": _drawn(lambda rng: sample_metastasis(rng, fractured=False), _focal),
        },
        roles=DIXON_T1,
        site=Site("siemens", 3.0),
        slices=12,
    ),
}

FIELD_MM: Final = (290.0, 225.0)
PIXEL_MM: Final = 1.1
THICKNESS_MM: Final = 3.8


def make(name: str, sample: Sample, out: Path) -> None:
    """Write one sample study into its folder under `out`, replacing what was there."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    request = SceneRequest(region="lumbar", diseases=sample.diseases, numbering="usual")
    recipe = StudyRecipe(
        roles=sample.roles,
        site=sample.site,
        pixel_mm=PIXEL_MM,
        thickness_mm=THICKNESS_MM,
        slices=sample.slices,
        fov_mm=FIELD_MM,
        transfer_syntax_uid=JPEGLSLossless,
    )
    rng = np.random.default_rng(sample.seed)
    case = sample_case(sample.seed, request, field_mm=FIELD_MM)
    write_study(case, folder, recipe, rng)


def manifest(out: Path, names: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of every file of the sample studies, by path relative to `out`."""
    files = sorted(path for name in names for path in (out / name).rglob("*") if path.is_file())
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def main() -> None:
    """Write all samples and their manifest."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    out = parser.parse_args().out
    for name, sample in SAMPLES.items():
        make(name, sample, out)
    listing = {
        "schema": "samples/1",
        "phantom_version": PHANTOM_VERSION,
        "sha256": manifest(out, tuple(SAMPLES)),
    }
    (out / "MANIFEST.json").write_text(json.dumps(listing, indent=1) + "\n")


if __name__ == "__main__":
    main()
