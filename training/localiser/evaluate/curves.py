"""What happens as scans get worse: the same patients, one thing changed step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.localiser.localiser import Localiser
from models.volume import Volume
from training.localiser.evaluate.cases import Case, Outcome, draw_case, is_whole, judge
from training.phantom.recipe import PhantomRecipe

STEPS: Final[Mapping[str, tuple[float, ...]]] = {
    "slice thickness, mm": (3.0, 4.0, 5.0, 6.0, 7.0),
    "in-plane, mm": (0.5, 0.8, 1.0, 1.25, 1.5),
    "signal over noise": (20.0, 10.0, 6.0, 4.0),
    "rows kept": (1.0, 0.75, 0.6, 0.5),
    "turned, degrees": (-20.0, -10.0, 0.0, 10.0, 20.0),
    "slices missing": (0.0, 1.0),
    "slices corrupt": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a curve, with the outcome of every patient."""

    what: str
    value: float
    outcomes: tuple[Outcome, ...]


def curves(recipe: PhantomRecipe, count: int, localiser: Localiser) -> Iterator[Point]:
    """Every step of every curve on patients 0 .. `count` of a recipe."""
    for what, values in STEPS.items():
        for value in values:
            cases = (_changed(recipe, number, what, value) for number in range(count))
            yield Point(what, value, tuple(judge(case, localiser) for case in cases))


def _changed(recipe: PhantomRecipe, number: int, what: str, value: float) -> Case:
    if what.startswith("slice thickness"):
        return draw_case(recipe, number, slice_mm=value)
    if what.startswith("in-plane"):
        return draw_case(recipe, number, in_plane_mm=value)
    case = draw_case(recipe, number)
    return case if value == 0.0 else _CHANGES[what](case, value, number)


def _with(case: Case, array: NDArray[np.float32], body: NDArray[np.uint8]) -> Case:
    volume = replace(case.volume, array=np.ascontiguousarray(array))
    whole = {i: name for i, name in case.levels.items() if _still_whole(body == i, volume)}
    ends = {i for i, name in case.levels.items() if name in ("S1", "C2")}
    return replace(
        case,
        volume=volume,
        body=body,
        levels=whole,
        anchored=case.anchored and bool(ends & whole.keys()),
        uncountable=case.uncountable or (bool(ends) and not (np.isin(body, list(ends))).any()),
    )


def _still_whole(mask: NDArray[np.bool_], volume: Volume) -> bool:
    return bool(mask.any()) and is_whole(mask, volume)


def _noisier(case: Case, snr: float, number: int) -> Case:
    """Rician noise so strong that marrow has this signal over it."""
    array = case.volume.array
    rng = np.random.default_rng([number, 77])
    sigma = float(np.median(array[case.body > 0])) / snr
    noisy = np.hypot(array + rng.normal(0, sigma, array.shape), rng.normal(0, sigma, array.shape))
    return _with(case, noisy.astype(np.float32), case.body)


def _cropped(case: Case, part: float, _number: int) -> Case:
    """The upper part of the rows blanked: what is left is the lower end of the stack."""
    gone = round((1.0 - part) * case.volume.shape[1])
    affine = case.volume.affine.copy()
    affine[:3, 3] += affine[:3, 1] * gone
    volume = replace(case.volume, array=case.volume.array[:, gone:].copy(), affine=affine)
    return _with(replace(case, volume=volume), volume.array, case.body[:, gone:])


def _turned(case: Case, degrees: float, _number: int) -> Case:
    """A patient who lies turned in the sagittal plane."""
    array, body = (
        ndimage.rotate(one, degrees, axes=(1, 2), reshape=False, order=order)
        for one, order in ((case.volume.array, 1), (case.body, 0))
    )
    return _with(case, array, body)


def _without_slice(case: Case, _value: float, _number: int) -> Case:
    """One slice lost and filled from its neighbours, as ingest may repair it."""
    array = case.volume.array.copy()
    middle = len(array) // 2
    array[middle] = (array[middle - 1] + array[middle + 1]) / 2
    return _with(case, array, case.body)


def _corrupted(case: Case, _value: float, number: int) -> Case:
    """One slice is noise."""
    rng = np.random.default_rng([number, 78])
    array = case.volume.array.copy()
    middle = len(array) // 2
    array[middle] = np.abs(rng.normal(array.mean(), array.std(), array[middle].shape))
    return _with(case, array, case.body)


_CHANGES: Final[Mapping[str, Callable[[Case, float, int], Case]]] = {
    "signal over noise": _noisier,
    "rows kept": _cropped,
    "turned, degrees": _turned,
    "slices missing": _without_slice,
    "slices corrupt": _corrupted,
}
