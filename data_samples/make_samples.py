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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.uid import JPEGLSLossless

from models.volume import Role
from training.phantom.case import CaseRequest, sample_case
from training.phantom.pathology import Disease, Edema, Lesion
from training.phantom.protocols import Site
from training.phantom.study import StudyRecipe, write_study

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


SAMPLES: Final[Mapping[str, Sample]] = {
    "benign_unhealed": Sample(
        seed=2103,
        diseases={
            "L1": Disease(
                stage="acute",
                fracture="wedge",
                loss=0.28,
                etiology="benign",
                edema=Edema("band", 0.6, 1.0, "superior"),
                signs=frozenset({"G1", "G2"}),
            )
        },
        roles=STIR_T1_T2,
        site=Site("siemens", 1.5),
        slices=13,
    ),
    "healed": Sample(
        seed=2203,
        diseases={
            "L2": Disease(stage="healed", fracture="biconcave", loss=0.32, etiology="benign")
        },
        roles=STIR_T1_T2,
        site=Site("philips", 1.5),
        slices=13,
    ),
    "pathological_dixon": Sample(
        seed=2303,
        diseases={
            "L3": Disease(
                stage="acute",
                fracture="crush",
                loss=0.2,
                etiology="pathological",
                lesion=Lesion("lytic", 0.95, ill_defined=True),
                signs=frozenset({"B1", "B2", "B3", "B6"}),
            ),
            "T12": Disease(etiology="pathological", lesion=Lesion("lytic", 0.35, ill_defined=True)),
        },
        roles=DIXON_T1,
        site=Site("siemens", 3.0),
        slices=10,
    ),
}

FIELD_MM: Final = (290.0, 225.0)
PIXEL_MM: Final = 1.1
THICKNESS_MM: Final = 3.8


def make(name: str, sample: Sample, out: Path) -> None:
    """Write one sample study into its folder under `out`, replacing what was there."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    request = CaseRequest(region="lumbar", diseases=dict(sample.diseases), field_mm=FIELD_MM)
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
    write_study(sample_case(sample.seed, request), folder, recipe, rng)


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
    listing = {"schema": "samples/1", "sha256": manifest(out, tuple(SAMPLES))}
    (out / "MANIFEST.json").write_text(json.dumps(listing, indent=1) + "\n")


if __name__ == "__main__":
    main()
