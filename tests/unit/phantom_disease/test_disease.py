"""Parts and names of single diseases: errors, determinism, signs, edema, deformation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.errors import AcuityError
from training.phantom.anatomy.body import endplate
from training.phantom.anatomy.spine import BodyShape
from training.phantom.disease import (
    HEALTHY,
    Disease,
    ImpossibleDiseaseError,
    catalogue,
    combine,
    deform,
    sample_run,
)
from training.phantom.disease.fracture import STAGE_SHARES, sample_fracture
from training.phantom.disease.metastasis import sample_metastasis
from training.phantom.disease.mimics import sample_facet_edema
from training.phantom.disease.model import DEFORMING_SIGNS, Edema, Lesion
from training.phantom.disease.shape import KINK_WIDTH
from training.phantom.disease.signs import HAEMATOMA, RATES
from training.phantom.painting.tissues import EDEMA_FREE_WATER

INTACT = BodyShape(27.0, 27.0, 2.0, 2.0, 17.0, 17.0, 22.0, 22.5)
SAMPLES = 3000
EDEMA = Edema("band", 0.4, 0.4, 0.6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stage": "old"}, "unknown stage: old"),
        ({"fracture": "bent"}, "unknown fracture: bent"),
        ({"endplate": "middle"}, "unknown endplate: middle"),
        ({"etiology": "odd"}, "unknown etiology: odd"),
        ({"signs": frozenset({"B13"})}, "unknown sign: B13"),
        ({"mimics": ("rash",)}, "unknown mimic: rash"),
        ({"fracture": "wedge", "loss": 0.3}, "needs a fracture stage"),
        ({"stage": "acute", "fracture": "wedge", "etiology": "benign"}, "contradict"),
        ({"stage": "acute", "fracture": "wedge", "loss": 0.95, "etiology": "benign"}, "0..0.9"),
        ({"stage": "acute", "loss": 0.2, "etiology": "benign"}, "contradict"),
        ({"stage": "refractured", "etiology": "benign"}, "needs a deformed body"),
        ({"stage": "acute"}, "needs an etiology"),
        ({"stage": "acute", "etiology": "benign", "signs": frozenset({"G3"})}, "kept its shape"),
        ({"stage": "cemented", "edema": EDEMA}, "cement in an unfractured body"),
        ({"edema": EDEMA}, "fracture edema at stage none"),
        ({"lesion": Lesion("lytic", 0.5, ill_defined=True)}, "pathological"),
        (
            {"stage": "unhealed_cleft", "fracture": "wedge", "loss": 0.3, "etiology": "benign"},
            "needs fluid or gas",
        ),
    ],
)
def test_impossible_settings_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ImpossibleDiseaseError, match=message):
        Disease(**fields)  # type: ignore[arg-type]


def test_error_is_a_value_error_with_a_stable_code() -> None:
    assert issubclass(ImpossibleDiseaseError, ValueError)
    assert issubclass(ImpossibleDiseaseError, AcuityError)
    assert ImpossibleDiseaseError.code == "impossible_disease"


def test_a_level_is_not_fractured_twice() -> None:
    rng = np.random.default_rng(1)
    first, second = sample_fracture(rng, "acute", "wedge"), sample_fracture(rng, "healed")
    with pytest.raises(ImpossibleDiseaseError, match="fractured twice"):
        combine(first, second)
    lytic = sample_metastasis(rng, "lytic", fractured=False)
    with pytest.raises(ImpossibleDiseaseError, match="benign fracture"):
        combine(first, lytic)


def test_combined_diseases_keep_both() -> None:
    rng = np.random.default_rng(2)
    fracture, facets = sample_fracture(rng, "acute", "wedge"), sample_facet_edema(rng)
    both = combine(facets, fracture)
    assert both.stage == "acute"
    assert both.edema == fracture.edema
    assert both.mimics == ("facet_edema",)
    assert len(both.arches) == len(fracture.arches) + 1
    assert combine(HEALTHY, fracture) == fracture


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_same_seed_same_disease(name: str) -> None:
    first, again, other = (sample_run(name, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert catalogue()[name](np.random.default_rng(5)) == first[0]


def test_unknown_catalogue_entry() -> None:
    with pytest.raises(ImpossibleDiseaseError, match="unknown disease: gout"):
        sample_run("gout", np.random.default_rng(0))


def _fractures(
    sample: Callable[[np.random.Generator], Disease], count: int = SAMPLES
) -> list[Disease]:
    drawn = (sample(np.random.default_rng([1, seed])) for seed in range(count))
    return [disease for disease in drawn if disease.fracture != "none"]


@pytest.fixture(scope="module")
def benign() -> list[Disease]:
    return _fractures(lambda rng: sample_fracture(rng, "acute"))


@pytest.fixture(scope="module")
def tumour() -> list[Disease]:
    return _fractures(lambda rng: sample_metastasis(rng, fractured=True))


def _share(code: str, diseases: list[Disease]) -> float:
    return float(np.mean([code in disease.signs for disease in diseases]))


def _chance(rate: float, count: int) -> float:
    """Four standard errors of a share."""
    return 4.0 * float(np.sqrt(rate * (1.0 - rate) / count))


@pytest.mark.parametrize("code", sorted(set(RATES) - {"B6", "B7", "B10", "B11", "G2", "G8"}))
def test_sign_frequencies_of_deformed_acute_fractures(
    code: str, benign: list[Disease], tumour: list[Disease]
) -> None:
    for diseases, rate in ((benign, RATES[code].benign), (tumour, RATES[code].pathological)):
        assert _share(code, diseases) == pytest.approx(rate, abs=_chance(rate, len(diseases)))


@pytest.mark.parametrize("code", ["B7", "G8"])
def test_the_margin_is_that_of_marrow_changed_in_part(
    code: str, benign: list[Disease], tumour: list[Disease]
) -> None:
    for diseases, rate in ((benign, RATES[code].benign), (tumour, RATES[code].pathological)):
        parted = [d for d in diseases if "G2" in d.signs]
        assert _share(code, parted) == pytest.approx(rate, abs=_chance(rate, len(parted)))
        assert _share(code, [d for d in diseases if "G2" not in d.signs]) == 0.0


@pytest.mark.parametrize("code", sorted(f"B{i}" for i in range(1, 13) if i != 8))
def test_no_sign_of_malignancy_decides_alone(code: str, benign: list[Disease]) -> None:
    assert 0.0 < _share(code, benign) < 0.5  # B8 is a matter of the other levels


@pytest.mark.parametrize("code", ["B10", "B11"])
def test_fat_is_lost_as_measured(code: str, benign: list[Disease], tumour: list[Disease]) -> None:
    assert _share(code, benign) == pytest.approx(RATES[code].benign, abs=0.04)
    assert _share(code, tumour) == pytest.approx(RATES[code].pathological, abs=0.04)


def test_masses_of_benign_fractures_are_drawn(benign: list[Disease]) -> None:
    for disease in benign:
        wanted = len({"B3", "B5"} & disease.signs)
        assert len(disease.masses) == wanted
        assert [mass.epidural for mass in disease.masses[:1]] == (
            [int("B3" in disease.signs)] if wanted else []
        )


def test_a_rim_of_blood_does_not_tell_the_cause(
    benign: list[Disease], tumour: list[Disease]
) -> None:
    for diseases in (benign, [d for d in tumour if d.stage == "acute"]):
        free = [bool(d.rims) for d in diseases if "B5" not in d.signs]
        assert np.mean(free) == pytest.approx(HAEMATOMA, abs=_chance(HAEMATOMA, len(free)))
        assert not any(d.rims for d in diseases if "B5" in d.signs)


def test_replacement_and_spared_marrow_exclude_each_other(
    benign: list[Disease], tumour: list[Disease]
) -> None:
    for disease in (*benign, *tumour):
        assert not {"B6", "G2"} <= disease.signs
    assert _share("G2", benign) == pytest.approx(0.85, abs=0.04)
    assert 0.0 < _share("B6", benign) < 0.14
    assert _share("B6", tumour) == pytest.approx(0.74, abs=0.04)


def test_undeformed_fractures_have_no_signs_of_collapse() -> None:
    for seed in range(60):
        disease = sample_fracture(np.random.default_rng(seed), "acute", "none")
        assert disease.loss == 0.0
        assert disease.edema is not None
        assert not disease.signs & DEFORMING_SIGNS


def test_stages_order_the_edema() -> None:
    def median(stage: str) -> tuple[float, float]:
        drawn = [sample_fracture(np.random.default_rng([5, s]), stage).edema for s in range(300)]
        edemas = [edema for edema in drawn if edema is not None]
        return (
            float(np.median([e.intensity for e in edemas])),
            float(np.median([e.extent for e in edemas])),
        )

    acute, subacute, unhealed = (median(s) for s in ("acute", "subacute", "unhealed_cleft"))
    assert acute[0] > subacute[0] >= unhealed[0]
    assert acute[1] > subacute[1]
    for seed in range(100):
        for stage in STAGE_SHARES:
            edema = sample_fracture(np.random.default_rng(seed), stage).edema
            assert edema is None or 255 * edema.intensity > EDEMA_FREE_WATER


@pytest.mark.parametrize("shape", ["wedge", "biconcave", "crush", "pincer"])
def test_deformation_loses_the_height_it_says(shape: str) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        disease = sample_fracture(rng, "acute", shape)
        after = deform(INTACT, disease, rng)
        heights = [
            (after.height_anterior, INTACT.height_anterior),
            (after.height_middle, INTACT.height_middle),
            (after.height_posterior, INTACT.height_posterior),
        ]
        losses = [1 - now / before for now, before in heights]
        assert max(losses) == pytest.approx(disease.loss, abs=0.06)
        assert after.height_middle > 2.0
        if shape == "wedge":
            assert losses[0] >= losses[2]
        if shape in ("biconcave", "pincer"):
            assert max(losses) == losses[1]
        assert (after.posterior_bulge > 1.0) == ("B1" in disease.signs)


def _depth(shape: BodyShape, *, superior: bool) -> float:
    """How deep an endplate lies below the line between its rims in the middle sagittal plane."""
    places = np.linspace(-0.95, 0.95, 39)
    profile = np.array([endplate(shape, float(u), 0.0, superior) for u in places])  # type: ignore[arg-type]
    rims = np.interp(places, places[[0, -1]], profile[[0, -1]])
    return float((rims - profile).max())


def _deepened(disease: Disease, rng: np.random.Generator) -> float:
    """Depth that the broken endplate has gained, its unevenness left out."""
    after = deform(INTACT, disease, rng)._replace(ripple_sagittal=0.0, ripple_coronal=0.0)
    broken = [True, False] if disease.endplate == "both" else [disease.endplate != "inferior"]
    return max(_depth(after, superior=s) - _depth(INTACT, superior=s) for s in broken)


@pytest.mark.parametrize("shape", ["wedge", "biconcave", "crush"])
@pytest.mark.parametrize("code", ["B9", "G7"])
def test_signs_of_the_endplates_are_drawn_in_every_shape(
    shape: str, code: str, tumour: list[Disease]
) -> None:
    signed = [d for d in tumour if d.fracture == shape and code in d.signs][:60]
    assert len(signed) == 60
    for seed, disease in enumerate(signed):
        rng = np.random.default_rng(seed)
        assert _deepened(disease, rng) > 0.5
        after = deform(INTACT, disease, np.random.default_rng(seed))
        narrow = min(after.dish_width_superior, after.dish_width_inferior)
        assert (narrow <= KINK_WIDTH[1]) == (code == "B9")


def test_a_biconcave_body_is_concave_or_angled_and_a_pincer_neither(
    benign: list[Disease], tumour: list[Disease]
) -> None:
    for disease in (*benign, *tumour):
        signs = disease.signs & {"B9", "G7"}
        if disease.fracture == "biconcave":
            assert len(signs) == 1
        if disease.fracture == "pincer":
            assert not signs


def test_deformation_is_deterministic_and_spares_the_healthy() -> None:
    disease = sample_fracture(np.random.default_rng(9), "healed", "crush")
    first, again = (deform(INTACT, disease, np.random.default_rng(4)) for _ in range(2))
    assert first == again
    assert deform(INTACT, HEALTHY, np.random.default_rng(4)) == INTACT
