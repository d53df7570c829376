"""Slices planned on a scene lie along its aim, and the tissue under them lies along the slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.volume import Role
from tests.unit.phantom_dicom.drawn import drawn_case
from training.phantom.dicom.placement import FixedGrid, PaintedScene
from training.phantom.painting.tissues import Tissue
from training.phantom.scanner.placement import place_slices
from training.phantom.scanner.protocols import Protocol, Site, sample_protocol
from training.phantom.scene import SceneRequest, sample_scene


def small(protocol: Protocol) -> Protocol:
    return replace(protocol, slices=3, fov_mm=(60.0, 60.0), pixel_mm=2.0)


def test_scene_is_painted_along_the_slices() -> None:
    scene = sample_scene(3, SceneRequest(region="lumbar", healthy=True))
    source = PaintedScene(scene, (40.0, 200.0, 160.0))
    rng = np.random.default_rng(1)
    protocol = small(sample_protocol(Role.T2, rng, Site("ge", 1.5)))
    slices = place_slices(source.target, protocol, rng, turn_deg=6.0)
    grid = source.tissue_for(slices)
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    wanted = slices.affine[:3, :3] / np.linalg.norm(slices.affine[:3, :3], axis=0)
    assert axes == pytest.approx(wanted, abs=1e-9)
    assert wanted[0, 0] > 0.9
    assert wanted[2, 1] < -0.8
    assert wanted[1, 2] > 0.8
    assert (grid.tissue == Tissue.MARROW).any()


def test_fixed_grid_is_planned_on_as_a_whole() -> None:
    grid = drawn_case().grid
    source = FixedGrid(grid)
    assert not source.any_plane
    assert source.target.extent_mm == pytest.approx((52.0, 250.0, 250.0))
