"""The geometry of levels as the report defines it, from the shapes of a patient."""

from __future__ import annotations

from collections.abc import Collection

from training.phantom.scene import Scene
from training.phantom.truth.canal import Bounds, Stretch, canal_of, stretch_of
from training.phantom.truth.model import GeometryTruth
from training.phantom.truth.outline import Outline, angles_of, trace, wall_of
from training.phantom.truth.pedicles import pedicles_of


def geometries(scene: Scene, levels: Collection[str]) -> dict[str, GeometryTruth]:
    """Measure levels of a patient.

    Args:
        scene: The patient.
        levels: Presacral levels to measure; neighbours are those of the whole spine.

    Returns:
        Level to its geometry; a body whose endplates have met has none.
    """
    chain = _Chain(scene)
    found = {level: _geometry(chain, level) for level in levels}
    return {level: geometry for level, geometry in found.items() if geometry is not None}


class _Chain:
    """Outlines and canal of a spine's levels, each measured once and only when asked for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        fragments = {name: scene.disease(name).fragments for name in scene.numbers}
        self.bounds = Bounds(scene.spine, scene.discs, fragments)
        self._names = tuple(scene.numbers)
        self._outlines: dict[str, Outline | None] = {}
        self._stretches: dict[str, Stretch | None] = {}

    def beside(self, level: str) -> tuple[str | None, str | None]:
        """The levels above and below."""
        around = (None, *self._names, None)
        place = around.index(level)
        return around[place - 1], around[place + 1]

    def outline(self, level: str | None) -> Outline | None:
        """Of a level, where there is one."""
        if level is None:
            return None
        if level not in self._outlines:
            bone = self.scene.spine.bone(level)
            self._outlines[level] = trace(bone, self.bounds.fragments[level])
        return self._outlines[level]

    def stretch(self, level: str | None) -> Stretch | None:
        """Canal behind a level, where the level has an outline."""
        own = self.outline(level)
        if level is None or own is None:
            return None
        if level not in self._stretches:
            above, below = (self.outline(name) for name in self.beside(level))
            self._stretches[level] = stretch_of(self.bounds, own, above, below)
        return self._stretches[level]


def _geometry(chain: _Chain, level: str) -> GeometryTruth | None:
    own, canal = chain.outline(level), chain.stretch(level)
    if own is None or canal is None:
        return None
    beside = chain.beside(level)
    above, below = (chain.outline(name) for name in beside)
    spine = chain.scene.spine
    left, right = pedicles_of(own, spine.canal(level), chain.scene.arches[level])
    return GeometryTruth(
        posterior_wall=wall_of(own, above, below, chain.bounds.fragments[level]),
        canal=canal_of(canal, (chain.stretch(beside[0]), chain.stretch(beside[1]))),
        pedicle_left=left,
        pedicle_right=right,
        angles=angles_of(own, above, below),
    )
