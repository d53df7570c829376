"""What is drawn changes only together with the version of the phantom."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.volume import Role
from training.phantom.draw import draw_image
from training.phantom.scene import SceneRequest, sample_scene
from training.phantom.stamp import PHANTOM_VERSION
from training.phantom.version import SAMPLES, digest_of, digests

STORED = Path(__file__).parent / "digests.json"
HOW = "raise PHANTOM_VERSION, then: python -m training.phantom.version > " + STORED.name


def test_what_is_drawn_changes_with_the_version_only() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert stored["version"] == PHANTOM_VERSION, f"no digests are stored for this version; {HOW}"
    assert digests() == stored["digests"], f"drawn bytes changed; {HOW}"


def test_every_sample_has_a_digest_of_its_own() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))["digests"]
    assert set(stored) == set(SAMPLES)
    assert len(set(stored.values())) == len(SAMPLES)


@pytest.mark.parametrize("changed", ["volume", "structure", "body"])
def test_a_digest_sees_a_change_of_image_or_labels(changed: str) -> None:
    scene = sample_scene(3, SceneRequest(region="lumbar", healthy=True))
    drawn = draw_image(scene, np.random.default_rng(3), role=Role.T2, in_plane_mm=3.0, slice_mm=8.0)
    part = drawn.volume.array if changed == "volume" else getattr(drawn, changed)
    other = part.copy()
    other[4:6, 30:40, 30:40] += 3
    new = replace(drawn.volume, array=other) if changed == "volume" else other
    assert digest_of(replace(drawn, **{changed: new})) != digest_of(drawn)
