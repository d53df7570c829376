"""Who has what in a spine: prevalences, clusters, company, both sides of a disc."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest

from training.phantom.anatomy.spine import Subject, level_names
from training.phantom.disease import MIXES, Disease, DiseaseMix, ImpossibleDiseaseError
from training.phantom.disease.sampling import sample_diseases

LEVELS = level_names("usual")
VIEW = LEVELS[-9:]
WHOLE = tuple(name for name in LEVELS if name[0] in "TL")
SHARES = [each.name for each in fields(DiseaseMix) if each.name not in ("stages", "kinds")]
NEVER = dict.fromkeys(SHARES, 0.0)


def subject(age: float = 66.0) -> Subject:
    return Subject("F", age, 0.95, 0.5, "usual")


def spines(
    mix: DiseaseMix, count: int, *, age: float = 66.0, view: tuple[str, ...] = VIEW
) -> list[dict[str, Disease]]:
    return [
        sample_diseases(np.random.default_rng([7, s]), view, LEVELS, subject(age), mix)
        for s in range(count)
    ]


def only(**shares: float) -> DiseaseMix:
    return DiseaseMix.from_mapping({**NEVER, **shares})


def test_same_seed_same_spine() -> None:
    first, again = spines(MIXES["train"], 5), spines(MIXES["train"], 5)
    assert first == again


def test_nothing_asked_nothing_drawn() -> None:
    assert spines(only(), 5) == [{}] * 5


def test_every_stage_and_mimic_turns_up() -> None:
    drawn = [d for spine in spines(MIXES["train"], 500) for d in spine.values()]
    stages = {d.stage for d in drawn}
    assert stages == {
        "none", "acute", "subacute", "unhealed_cleft", "healed", "refractured", "cemented",
    }  # fmt: skip
    mimics = {name for d in drawn for name in d.public_mimics}
    assert {"modic_1", "modic_2", "modic_3", "discitis", "andersson", "scheuermann"} <= mimics
    assert {"haemangioma", "post_radiation", "red_marrow", "limbus", "facet_edema"} <= mimics
    assert "schmorl_node_acute" not in mimics


def test_fractures_cluster_and_rise_with_age() -> None:
    mix = only(fractures=0.5)
    found = spines(mix, 600, view=WHOLE)
    where = Counter(level for spine in found for level in spine)
    assert where["T12"] + where["L1"] > 2.5 * (where["T10"] + where["L4"])
    assert where["T7"] + where["T8"] > 1.2 * (where["T9"] + where["T10"])
    young = sum(bool(spine) for spine in spines(mix, 300, age=35.0))
    old = sum(bool(spine) for spine in spines(mix, 300, age=85.0))
    assert old > 1.5 * young


def test_company_is_marked() -> None:
    for spine in spines(only(fractures=1.0, further_fracture=0.6), 60, age=80.0):
        broken = [d for d in spine.values() if d.fracture != "none"]
        for disease in broken:
            assert ("G6" in disease.signs) == (len(broken) > 1)
    many = only(metastases=1.0, metastases_many=1.0, pathological_fracture=0.5)
    for spine in spines(many, 60):
        infiltrated = [n for n, d in spine.items() if d.lesion is not None]
        for disease in spine.values():
            if disease.fracture != "none":
                assert ("B8" in disease.signs) == (len(infiltrated) > 1)


def test_disc_disease_lies_on_both_sides() -> None:
    chain = (*LEVELS, "S1")
    for spine in spines(only(modic=0.4), 40, view=(*VIEW, "S1")):
        for level, disease in spine.items():
            kinds = set(disease.mimics)
            at = chain.index(level)
            beside = [spine.get(chain[at - 1])]
            beside += [spine.get(chain[at + 1])] if at + 1 < len(chain) else []
            assert any(kinds & set(d.mimics) for d in beside if d is not None)
    for spine in spines(only(discitis=1.0), 30):
        at = sorted(LEVELS.index(level) for level in spine)
        assert len(at) == 2
        assert at[1] == at[0] + 1


def test_blocks_are_contiguous_and_marrow_disease_is_everywhere() -> None:
    for mix, least in ((only(scheuermann=1.0), 3), (only(post_radiation=1.0), 3)):
        for spine in spines(mix, 20):
            at = sorted(LEVELS.index(level) for level in spine)
            assert len(at) >= least
            assert at == list(range(at[0], at[-1] + 1))
    for spine in spines(only(marrow_disease=1.0), 5):
        assert set(spine) == {*LEVELS, "S1"}
        assert {d.etiology for d in spine.values()} == {"pathological"}


def test_healthy_spines_have_no_named_disease() -> None:
    for spine in spines(DiseaseMix(healthy=1.0), 60):
        for disease in spine.values():
            assert disease.stage == "none"
            assert disease.etiology == "none"
            assert disease.mimics == ()


def test_presets_draw_enough_of_what_matters() -> None:
    for name, mix in MIXES.items():
        drawn = [d for spine in spines(mix, 300) for d in spine.values()]
        levels = 300 * len(VIEW)
        benign = sum(d.fractured and d.etiology == "benign" for d in drawn) / levels
        tumour = sum(d.etiology == "pathological" for d in drawn) / levels
        wet = sum("modic_1" in d.mimics for d in drawn) / levels
        assert 0.05 < benign < 0.25, name
        assert 0.03 < tumour < 0.35, name
        assert wet > 0.04, name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gout": 0.1}, "unknown name: gout"),
        ({"modic": 1.4}, "modic outside"),
        ({"modic": "often"}, "modic is no number"),
        ({"stages": {"acute": 0.5}}, "stages do not add up"),
        ({"kinds": {"sweet": 1.0}}, "unknown name in kinds"),
    ],
)
def test_bad_mixes_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ImpossibleDiseaseError, match=message):
        DiseaseMix.from_mapping(values)


def test_levels_in_view_must_exist() -> None:
    with pytest.raises(ImpossibleDiseaseError, match="L9"):
        sample_diseases(np.random.default_rng(1), ("L9",), LEVELS, subject(), DiseaseMix())
