"""What acquisitions are drawn from, as recipes say it."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from models.volume import Role
from training.phantom.scanner.conditions import draw_conditions
from training.phantom.scanner.mix import MIXES, STRESS, TRAIN, AcquisitionMix
from training.phantom.scanner.protocols import Site, sample_protocol, sample_site
from training.phantom.scanner.vendors import SETTINGS


@pytest.mark.parametrize("name", MIXES)
def test_a_mix_survives_being_written_as_plain_values(name: str) -> None:
    assert AcquisitionMix.from_mapping(MIXES[name].as_mapping()) == MIXES[name]


def test_a_toml_table_changes_a_base() -> None:
    text = """
    base = "stress"
    snr_factor = 0.5
    vendors = { ge = 1.0 }
    fields_t = { "0.3" = 1, "3" = 2 }
    """
    mix = AcquisitionMix.from_mapping(tomllib.loads(text))
    assert mix == replace(
        STRESS, snr_factor=0.5, vendors=(("ge", 1.0),), fields_t=((0.3, 1.0), (3.0, 2.0))
    )


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"base": "other"}, "unknown mix"),
        ({"snr": 1.0}, "unknown in a mix: snr"),
        ({"vendors": {"nobody": 1.0}}, "unknown vendor: nobody"),
        ({"vendors": {"ge": 0.0}}, "vendors: weights"),
        ({"fields_t": {"-1": 1.0}}, "must be positive"),
        ({"thickness_factor": 0}, "thickness_factor must be positive"),
        ({"random_contrast_share": 1.5}, "between 0 and 1"),
        ({"snr_factor": "low"}, "must be a number"),
    ],
)
def test_impossible_mixes_are_refused(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AcquisitionMix.from_mapping(mapping)


def test_sites_follow_the_weights() -> None:
    rng = np.random.default_rng(0)
    mix = replace(TRAIN, vendors=(("ge", 1.0), ("uih", 3.0)), fields_t=((0.5, 1.0), (3.0, 1.0)))
    sites = [sample_site(rng, mix) for _ in range(400)]
    assert {site.vendor for site in sites} == {"ge", "uih"}
    assert np.mean([site.vendor == "uih" for site in sites]) == pytest.approx(0.75, abs=0.08)
    assert {site.field_t for site in sites} == {0.5, 3.0}


def test_stress_is_thicker_noisier_and_more_faulty() -> None:
    site = Site("siemens", 1.5)
    drawn: dict[str, list[tuple[float, ...]]] = {}
    for name, mix in (("train", TRAIN), ("stress", STRESS)):
        for seed in range(80):
            rng = np.random.default_rng(seed)
            protocol = sample_protocol(Role.T2, rng, site, mix=mix)
            conditions = draw_conditions(protocol, rng, mix=mix)
            drawn.setdefault(name, []).append(
                (protocol.thickness_mm, protocol.gap_mm, -protocol.snr, conditions.breathing_ghost)
            )
    train, stress = (np.mean(drawn[name], axis=0) for name in ("train", "stress"))
    assert np.all(stress > train)


def test_only_stress_leaves_the_vendors_tables() -> None:
    low, high = SETTINGS["siemens"].t2_te
    for mix, inside in ((TRAIN, True), (STRESS, False)):
        echoes = [
            sample_protocol(
                Role.T2, np.random.default_rng(seed), Site("siemens", 1.5), mix=mix
            ).sequence.echo_ms
            for seed in range(60)
        ]
        assert all(low <= echo <= high for echo in echoes) is inside
