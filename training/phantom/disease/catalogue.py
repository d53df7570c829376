"""Every disease and mimic by name, for galleries, recipes and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np

from training.phantom.disease.endplates import (
    sample_andersson,
    sample_corners,
    sample_discitis,
    sample_modic,
    sample_schmorl,
)
from training.phantom.disease.fracture import sample_fracture
from training.phantom.disease.marrow import faint
from training.phantom.disease.metastasis import (
    MarrowPattern,
    sample_marrow_disease,
    sample_metastasis,
)
from training.phantom.disease.mimics import (
    RED_MARROW,
    sample_bone_island,
    sample_facet_edema,
    sample_haemangioma,
    sample_limbus,
    sample_post_radiation,
    sample_red_marrow,
    sample_red_marrow_pattern,
    sample_scheuermann,
)
from training.phantom.disease.model import Disease, ImpossibleDiseaseError

Factory = Callable[[np.random.Generator], Disease]
Run = Callable[[np.random.Generator], tuple[Disease, ...]]
"""Diseases of neighbouring levels, cranial to caudal."""


def _one(sample: Factory) -> Run:
    return lambda rng: (sample(rng),)


def _three(sample: Factory) -> Run:
    return lambda rng: (sample(rng), sample(rng), sample(rng))


PLAIN_INTENSITY: Final = {"acute": 0.28, "subacute": 0.23, "refractured": 0.26}
PLAIN_LOSS: Final = 0.16
"""What an entry of the catalogue shows at least, so that it can be recognised."""


def _recognisable(disease: Disease) -> bool:
    least = PLAIN_INTENSITY.get(disease.stage, 0.0)
    seen = disease.edema is None or disease.edema.intensity > least
    return seen and (disease.fracture == "none" or disease.loss > PLAIN_LOSS)


def _plain(stage: str, shape: str) -> Run:
    return _fracture_where(lambda _: True, stage, shape)


def _fracture_where(accept: Callable[[Disease], bool], stage: str, shape: str) -> Run:
    """A fracture of a stage and shape that also meets a condition on edema or signs."""

    def sample(rng: np.random.Generator) -> tuple[Disease, ...]:
        disease = sample_fracture(rng, stage, shape)
        while not (accept(disease) and _recognisable(disease)):
            disease = sample_fracture(rng, stage, shape)
        return (disease,)

    return sample


def _pattern(name: str) -> Run:
    return _fracture_where(
        lambda d: d.edema is not None and d.edema.pattern == name, "acute", "wedge"
    )


def _endplate(name: str) -> Run:
    return _fracture_where(lambda d: d.endplate == name, "acute", "biconcave")


def _sign(code: str, stage: str = "acute") -> Run:
    return _fracture_where(lambda d: code in d.signs, stage, "wedge")


def _tumour_with(code: str) -> Run:
    def sample(rng: np.random.Generator) -> tuple[Disease, ...]:
        disease = sample_metastasis(rng, fractured=True)
        while code not in disease.signs:
            disease = sample_metastasis(rng, fractured=True)
        return (disease,)

    return sample


def _marrow(pattern: str) -> Run:
    spine = MarrowPattern(pattern, 0.2, 80.0)
    return _three(partial(sample_marrow_disease, spine=spine))


def _red(pattern: str) -> Run:
    def sample(rng: np.random.Generator) -> tuple[Disease, ...]:
        spine = sample_red_marrow_pattern(rng, pattern)
        return tuple(sample_red_marrow(rng, spine) for _ in range(3))

    return sample


_RUNS: Final[Mapping[str, Run]] = MappingProxyType(
    {
        "fracture_acute_wedge": _plain("acute", "wedge"),
        "fracture_acute_biconcave": _plain("acute", "biconcave"),
        "fracture_acute_crush": _plain("acute", "crush"),
        "fracture_acute_pincer": _plain("acute", "pincer"),
        "fracture_acute_undeformed": _plain("acute", "none"),
        "fracture_superior_endplate": _endplate("superior"),
        "fracture_inferior_endplate": _endplate("inferior"),
        "fracture_both_endplates": _endplate("both"),
        "fracture_edema_band": _pattern("band"),
        "fracture_edema_patchy": _pattern("patchy"),
        "fracture_edema_diffuse": _pattern("diffuse"),
        "fracture_line": _sign("G1"),
        "fracture_retropulsion": _sign("G3"),
        "fracture_epidural_haematoma": _sign("B3"),
        "fracture_paraspinal_haematoma": _sign("B5"),
        "fracture_ill_defined": _sign("B7"),
        "fracture_subacute": _plain("subacute", "wedge"),
        "fracture_unhealed_fluid": _sign("G4", "unhealed_cleft"),
        "fracture_unhealed_gas": _sign("G5", "unhealed_cleft"),
        "fracture_healed": _plain("healed", "wedge"),
        "fracture_refractured": _plain("refractured", "wedge"),
        "fracture_cemented": _plain("cemented", "wedge"),
        "metastasis_lytic": _one(partial(sample_metastasis, kind="lytic", fractured=False)),
        "metastasis_blastic": _one(partial(sample_metastasis, kind="blastic", fractured=False)),
        "metastasis_mixed": _one(partial(sample_metastasis, kind="mixed", fractured=False)),
        "pathological_fracture": _one(partial(sample_metastasis, kind="lytic", fractured=True)),
        "pathological_convex_wall": _tumour_with("B1"),
        "pathological_pedicle": _tumour_with("B2"),
        "pathological_epidural": _tumour_with("B3"),
        "pathological_encasing": _tumour_with("B4"),
        "pathological_paraspinal": _tumour_with("B5"),
        "pathological_angled_endplate": _tumour_with("B9"),
        "marrow_disease_even": _marrow("even"),
        "marrow_disease_salt_and_pepper": _marrow("salt_and_pepper"),
        "marrow_disease_focal": _marrow("focal"),
        "modic_1": partial(sample_modic, kind=1, mild=False),
        "modic_1_mild": partial(sample_modic, kind=1, mild=True),
        "modic_2": partial(sample_modic, kind=2, mild=False),
        "modic_3": partial(sample_modic, kind=3, mild=False),
        "andersson": sample_andersson,
        "inflammatory_corner": _three(partial(sample_corners, fatty=False, mild=False)),
        "fatty_corner": _three(partial(sample_corners, fatty=True)),
        "discitis": partial(sample_discitis, course="full"),
        "discitis_early": partial(sample_discitis, course="early"),
        "discitis_anterior": partial(sample_discitis, course="anterior"),
        "schmorl_node": _one(partial(sample_schmorl, acute=False)),
        "schmorl_node_acute": _one(partial(sample_schmorl, acute=True)),
        "haemangioma": _one(partial(sample_haemangioma, atypical=False)),
        "haemangioma_atypical": _one(partial(sample_haemangioma, atypical=True)),
        "bone_island": _one(sample_bone_island),
        "limbus": _one(sample_limbus),
        "scheuermann": _three(partial(sample_scheuermann, severity=1.0)),
        "post_radiation": _three(partial(sample_post_radiation, fat=86.0)),
        "facet_edema": _one(sample_facet_edema),
        **{f"red_marrow_{pattern}": _red(pattern) for pattern in RED_MARROW},
        "faint_unrest": _one(lambda rng: Disease(changes=(faint(rng),))),
    }
)


def sample_run(name: str, rng: np.random.Generator) -> tuple[Disease, ...]:
    """The diseases of one to three neighbouring levels, cranial to caudal, of a catalogue entry.

    Raises:
        ImpossibleDiseaseError: No entry has this name.
    """
    if name not in _RUNS:
        raise ImpossibleDiseaseError(f"unknown disease: {name}")
    return _RUNS[name](rng)


def catalogue() -> Mapping[str, Factory]:
    """Name to a factory of the (upper) level's disease, for every disease and mimic."""
    return {name: partial(_first, name) for name in _RUNS}


def _first(name: str, rng: np.random.Generator) -> Disease:
    return sample_run(name, rng)[0]
