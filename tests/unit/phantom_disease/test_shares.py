"""What is drawn how often: shapes, endplates, kinds, focal findings, metal, the broken sacrum."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.unit.phantom_disease.test_sampling import LEVELS, VIEW, only, spines
from training.phantom.anatomy.implants import sample_implants
from training.phantom.disease.fracture import UNDEFORMED, sample_fracture
from training.phantom.disease.metastasis import KIND_SHARES
from training.phantom.disease.sacral import sample_sacral_fracture
from training.phantom.disease.signs import SHAPES

COUNT = 2000
BODIES = [level for level in VIEW if level != "S1"]


def near(share: float, count: int) -> object:
    """Four standard errors."""
    return pytest.approx(share, abs=4.0 * float(np.sqrt(share * (1.0 - share) / count)))


def test_shapes_and_endplates_of_fractures() -> None:
    drawn = [sample_fracture(np.random.default_rng([9, s]), "acute") for s in range(COUNT)]
    assert np.mean([d.fracture == "none" for d in drawn]) == near(UNDEFORMED, COUNT)
    deformed = [d for d in drawn if d.fracture != "none"]
    shapes = Counter(d.fracture for d in deformed)
    for shape, rate in SHAPES.items():
        assert shapes[shape] / len(deformed) == near(rate.benign, len(deformed)), shape
    assert all(d.endplate == "both" for d in deformed if d.fracture == "pincer")
    free = [d.endplate for d in drawn if d.fracture != "pincer"]
    for endplate, share in (("superior", 0.64), ("inferior", 0.18), ("both", 0.18)):
        assert np.mean([one == endplate for one in free]) == near(share, len(free))


@pytest.mark.parametrize("name", ["bone_island", "haemangioma", "haemangioma_atypical"])
def test_focal_findings_have_their_shares_of_levels(name: str) -> None:
    found = [disease for spine in spines(only(**{name: 0.2}), 300) for disease in spine.values()]
    count = 300 * len(BODIES)
    assert all(disease.mimics == (name,) for disease in found)
    assert len(found) / count == near(0.2, count)


@pytest.mark.parametrize("name", ["schmorl", "schmorl_acute"])
def test_schmorl_nodes_lie_about_the_thoracolumbar_junction(name: str) -> None:
    drawn = spines(only(**{name: 0.2}), 400)
    for level, factor in (("T12", 1.3), ("L2", 1.3), ("L4", 0.5), ("L5", 0.5)):
        share = np.mean([level in spine for spine in drawn])
        assert share == near(0.2 * factor, 400), level
    mimics = {mimic for spine in drawn for disease in spine.values() for mimic in disease.mimics}
    acute = {"schmorl_node_acute"} if name == "schmorl_acute" else set()
    assert mimics == {"schmorl_node"} | acute


def test_kinds_of_metastases() -> None:
    drawn = spines(only(metastases=1.0), COUNT)
    kinds = Counter(disease.lesion.kind for spine in drawn for disease in spine.values()
                    if disease.lesion is not None)  # fmt: skip
    assert sum(kinds.values()) == COUNT
    for kind, share in KIND_SHARES.items():
        assert kinds[kind] / COUNT == near(share, COUNT), kind


def test_metal_has_its_share_of_spines() -> None:
    presacral = tuple(level for level in LEVELS if level != "S1")
    drawn = [sample_implants(np.random.default_rng(s), presacral, 20, 0.1) for s in range(COUNT)]
    assert np.mean([one is not None for one in drawn]) == near(0.1, COUNT)


def test_the_sacrum_breaks_in_the_old_only() -> None:
    def share(age: float) -> float:
        drawn = (sample_sacral_fracture(np.random.default_rng(s), age, 0.1) for s in range(COUNT))
        return float(np.mean([one is not None for one in drawn]))

    assert share(44.0) == 0.0
    assert share(60.0) == near(0.05, COUNT)
    assert share(75.0) == near(0.1, COUNT)
    broken = [
        one
        for s in range(COUNT)
        if (one := sample_sacral_fracture(np.random.default_rng(s), 75.0, 1.0)) is not None
    ]
    both = np.mean([one.left > 0.0 and one.right > 0.0 for one in broken])
    assert both == near(0.6, COUNT)
    assert np.mean([one.bar > 0.0 for one in broken]) == near(0.4, COUNT)
