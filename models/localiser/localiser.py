"""The stage "localise": a study's reference volume in, named and measured bodies out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.findings import (
    Abstention,
    Anchor,
    Coverage,
    LevelName,
    Localisation,
    StudyVolumes,
    Vertebra,
)
from models.geometry import to_lps
from models.localiser.bodies import chain_directions, measure
from models.localiser.chain import backbone, discs_above, rejoined
from models.localiser.classes import Structure
from models.localiser.evidence import LevelSettings, Seen, trusted, trusted_axis
from models.localiser.exactness import SizeSpread
from models.localiser.instances import (
    Candidate,
    bone_of,
    box_of,
    boxes_of,
    find_bodies,
    renumbered,
)
from models.localiser.landmarks import find_landmarks
from models.localiser.levels import Naming, name_levels
from models.localiser.preprocess import WorkingGrid, finer, network_image, prepare
from models.localiser.witnesses import told_by, witnesses
from models.manifest import SECTION
from models.runtime import Session
from models.volume import Volume


@dataclass(frozen=True, slots=True)
class Chain:
    """The bodies of a spine on one volume, found and not named.

    Attributes:
        pixels: The working grid, on which the network saw the volume.
        grid: The grid of its answers: squares of pixels.
        probability: (classes, slices, rows, columns) on that grid, as the next.
        labels: (slices, rows, columns) of the candidates.
        candidates: Cranial to caudal.
        seen: What is seen of them.
        centres_lps_mm: (n, 3).
    """

    pixels: WorkingGrid
    grid: WorkingGrid
    probability: NDArray[np.float32]
    labels: NDArray[np.uint8]
    candidates: tuple[Candidate, ...]
    seen: Seen
    centres_lps_mm: NDArray[np.float64]

    @property
    def side(self) -> int:
        """Pixels along the side of the square that one answer is for."""
        return round(self.grid.step[1] / self.pixels.step[1])


Block = tuple[NDArray[np.float32], tuple[int, int, int]]
"""Probability of one body in a block around it, and the working index of its first voxel."""

MARGIN: Final = (1, 3, 3)
"""Working voxels kept around a body: its edge is resampled and measured with its outside."""

FEWEST_WHOLE: Final = 3

BACKGROUND_WINS: Final = 0.51
"""A voxel of at least this probability is background; one half, and room for rounding."""

_SHOWN: Final = (
    Structure.DISC,
    Structure.CANAL,
    Structure.SACRUM_LOWER,
    Structure.POSTERIOR_ELEMENTS,
    Structure.RIB,
)
"""Classes of the structure map beside bodies, which stand in the label map. The cord is a part of
the canal to all who measure it."""

NO_BODIES: Final = Abstention(
    "no_vertebral_body", "study", "No vertebral body was recognised in the reference series."
)
UNLIKE: Final = Abstention(
    "image_unlike_training",
    "levels",
    "The network is less sure of the bodies than on any image it was tried on: outlines, sizes and "
    "names need a reader.",
)
FEW: Final = Abstention(
    "few_bodies_in_view",
    "levels",
    "Fewer than three whole bodies are in view, so none can be compared with both neighbours.",
)
UNANCHORED: Final = Abstention(
    "unanchored",
    "levels",
    "Neither the sacrum nor C2 was recognised, so levels are counted but not named.",
)
UNCERTAIN: Final = Abstention(
    "numbering_uncertain",
    "levels",
    "A variant of numbering is likely or cannot be excluded: see the alternatives of each level, "
    "and count on a whole-spine localizer before any procedure.",
)


class Localiser:
    """Finds, outlines, measures and names the vertebral bodies of a study."""

    def __init__(self, session: Session, metadata: Mapping[str, Any]) -> None:
        """Take an opened network and what its bundle says of decoding.

        Args:
            session: Gives "structure" (1, classes, D, H, W) probabilities and "offsets"
                (1, 2, D, H, W) for "image" (1, 2, D, H, W).
            metadata: The bundle's metadata; level priors and thresholds are read from the
                "levels" entry of `calibration` in the product's own section, and how exact
                measurements are from its "size_spread" entry.
        """
        self._session = session
        self._settings = level_settings(metadata)
        self._spread = size_spread(metadata)

    def __call__(self, study: StudyVolumes) -> Localisation:
        """Localise on the reference volume; count on other views where it can't be counted there.

        Raises:
            GeometryError: The volume's axes do not follow three patient axes.
        """
        found = self.find(study.reference)
        naming = name_levels(found.seen, found.centres_lps_mm, self._settings)
        if found.candidates and naming.sureness < self._settings.doubtful:
            naming = self._asked(study, found, naming)
        return self._finished(study.reference, found, naming)

    def find(self, volume: Volume) -> Chain:
        """Run the network and separate the bodies of one volume, without naming them.

        Raises:
            GeometryError: The volume's axes do not follow three patient axes.
        """
        pixels, image = prepare(volume)
        shown = network_image(image)
        answer = self._session.run({"image": shown})
        grid = pixels.coarser(shown.shape[-1] // answer["structure"].shape[-1])
        rows, columns = grid.shape[1:]
        given = answer["structure"][0, :, :, :rows, :columns]
        probability = _every_class(given)
        offsets = answer["offsets"][0, :, :, :rows, :columns]
        labels, bodies = find_bodies(probability, offsets, grid.spacing_mm)
        canal = probability[Structure.CANAL] + probability[Structure.CORD]
        spine = backbone(bodies, canal, grid.spacing_mm)
        chain = rejoined(labels, spine, grid.spacing_mm)
        marks = None
        if len(given) == len(Structure):
            rib, cord = probability[Structure.RIB], probability[Structure.CORD]
            marks = find_landmarks(chain, rib, cord, canal, grid.spacing_mm)
        volumes = np.array([body.volume_ml for body in chain])
        cut = np.array([body.cut for body in chain], bool)
        seen = Seen(
            s1_shares=trusted(np.array([body.s1_share for body in chain]), volumes, cut),
            c2_shares=trusted_axis(np.array([body.c2_share for body in chain]), volumes, cut),
            volumes_ml=volumes,
            discs_ml=discs_above(chain, probability[Structure.DISC], grid.spacing_mm),
            landmarks=marks,
        )
        centres = np.array([to_lps(grid.affine, body.centre) for body in chain]).reshape(-1, 3)
        return Chain(pixels, grid, probability, labels, tuple(chain), seen, centres)

    def _asked(self, study: StudyVolumes, found: Chain, naming: Naming) -> Naming:
        """Name the chain with what other views say of it; as it was when none is any surer."""
        for view in witnesses(study):
            other = self.find(view)
            theirs = name_levels(other.seen, other.centres_lps_mm, self._settings)
            told = told_by(found.centres_lps_mm, view, other.centres_lps_mm, theirs)
            if told is None:
                continue
            named = name_levels(found.seen, found.centres_lps_mm, self._settings, told)
            if named.sureness > naming.sureness:
                naming = named
            if naming.sureness >= self._settings.doubtful:
                break
        return naming

    def _finished(self, volume: Volume, found: Chain, naming: Naming) -> Localisation:
        """Measure the named bodies and bring everything back to the volume's own grid."""
        pixels, probability = found.pixels, found.probability
        levels = [i for i, below in enumerate(naming.below_s1) if not below]
        labels, bodies = renumbered(found.labels, [found.candidates[i] for i in levels])
        names = [naming.names[i] for i in levels]
        blocks = [
            finer(block, corner, found.side, pixels.shape)
            for block, corner in occupancies(probability, labels)
        ]
        centres = [to_lps(found.grid.affine, body.centre) for body in bodies]
        vertebrae = _vertebrae(pixels, blocks, bodies, centres, (names, naming.anchor))
        if self._spread is not None:
            spacing = volume.spacing
            coarsest = max(spacing.row_mm, spacing.column_mm)
            vertebrae = tuple(
                replace(v, size_sd=self._spread.of(v.size, coarsest, float(pixels.spacing_mm[0])))
                for v in vertebrae
            )
        label_map = _stored_labels(pixels, blocks)
        is_s1 = [vertebra.level == "S1" for vertebra in vertebrae]
        return Localisation(
            labels=pixels.restore(label_map),
            affine=volume.affine,
            vertebrae=vertebrae,
            anchor=naming.anchor,
            structures=pixels.restore(_sagittal_structures(found, label_map, is_s1)),
            abstentions=_abstentions(vertebrae, naming, self._settings),
        )


def level_settings(metadata: Mapping[str, Any]) -> LevelSettings:
    """Read the decoding settings of a bundle; what it does not say keeps its default."""
    stored = metadata.get(SECTION, {}).get("calibration", {}).get("levels", {})
    known = {field.name for field in fields(LevelSettings)}
    return LevelSettings(**{key: float(value) for key, value in stored.items() if key in known})


def _every_class(structure: NDArray[np.float32]) -> NDArray[np.float32]:
    """Classes that an older network does not know have no probability."""
    unknown = len(Structure) - len(structure)
    return np.pad(structure, ((0, unknown), (0, 0), (0, 0), (0, 0))) if unknown else structure


def size_spread(metadata: Mapping[str, Any]) -> SizeSpread | None:
    """Read how exact a bundle's measurements are; None where it does not say."""
    stored = metadata.get(SECTION, {}).get("calibration", {}).get("size_spread")
    return SizeSpread(**{key: float(value) for key, value in stored.items()}) if stored else None


def _vertebrae(
    grid: WorkingGrid,
    blocks: list[Block],
    candidates: tuple[Candidate, ...],
    centres_lps_mm: list[NDArray[np.float64]],
    naming: tuple[list[tuple[LevelName, ...]], Anchor],
) -> tuple[Vertebra, ...]:
    names, anchor = naming
    directions = chain_directions(np.array(centres_lps_mm).reshape(-1, 3))
    vertebrae = []
    anchored = anchor is not Anchor.NONE
    found = zip(candidates, blocks, names, directions, strict=True)
    for body, (block, corner), name, direction in found:
        affine = grid.affine.copy()
        affine[:3, 3] = to_lps(grid.affine, corner)
        measured = measure(block, affine, direction)
        vertebrae.append(
            Vertebra(
                index=body.label,
                name=name[0] if name and anchored else None,
                alternatives=name[1:] if anchored else name,
                coverage=Coverage.PARTIAL if body.cut else Coverage.COMPLETE,
                centroid_lps_mm=measured.centroid_lps_mm,
                axes_lps=measured.axes_lps,
                size=None if body.cut else measured.size,
                confidence=body.confidence,
            )
        )
    return tuple(vertebrae)


def occupancies(probability: NDArray[np.float32], labels: NDArray[np.uint8]) -> list[Block]:
    """Probability of each body alone, in a block around it.

    Args:
        probability: (classes, slices, rows, columns) of the `Structure` classes.
        labels: Bodies, same grid.

    Returns:
        Per label, ascending, the block and the index of its first voxel. Other bodies are 0 in
        it; unlabelled voxels stay below one half, so that the edge keeps its place between pixels.
    """
    boxes = boxes_of(labels)
    lows = np.maximum(boxes.low - MARGIN, 0)
    highs = np.minimum(boxes.high + MARGIN, labels.shape)
    blocks: list[Block] = []
    for label, low, high in zip(boxes.labels, lows, highs, strict=True):
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        inside = labels[box]
        bone = bone_of(probability[:, *box])
        block = np.where(inside == label, bone, np.minimum(bone, np.float32(0.49)))
        block[(inside != label) & (inside != 0)] = 0.0
        blocks.append((block, (int(low[0]), int(low[1]), int(low[2]))))
    return blocks


def _stored_labels(grid: WorkingGrid, blocks: list[Block]) -> NDArray[np.uint8]:
    """Label map on the sagittal-ordered volume; edges follow the probability, not the pixels."""
    out = np.zeros(grid.sagittal_shape, np.uint8)
    strongest = np.full(grid.sagittal_shape, 0.5, np.float32)
    for label, (block, corner) in enumerate(blocks, start=1):
        values, where = grid.bring_back(block, corner)
        wins = values > strongest[where]
        out[where][wins] = label
        strongest[where][wins] = values[wins]
    return out


def _sagittal_structures(
    found: Chain, label_map: NDArray[np.uint8], is_s1: list[bool]
) -> NDArray[np.uint8]:
    """Most probable class per voxel of the sagittal-ordered volume; bodies as in the label map."""
    grid, classes = found.pixels, _classes(found)
    nearest = [
        np.clip(np.rint((np.arange(n) - start) / step), 0, limit - 1).astype(np.intp)
        for n, start, step, limit in zip(
            grid.sagittal_shape, grid.start, grid.step, grid.shape, strict=True
        )
    ]
    out = classes[nearest[0]].take(nearest[1], axis=1).take(nearest[2], axis=2)
    values = [Structure.SACRUM_S1 if s1 else Structure.BODY for s1 in is_s1]
    lookup = np.array([Structure.BACKGROUND, *values], np.uint8)
    labelled = np.flatnonzero(label_map > 0)
    out.ravel()[labelled] = lookup[label_map.ravel()[labelled]]
    return np.asarray(out)


def _classes(found: Chain) -> NDArray[np.uint8]:
    """Most probable class of every pixel of the working grid, bodies left out."""
    classes = np.zeros(found.pixels.shape, np.uint8)
    # Elsewhere background has the majority; this is a tenth of the picture.
    box = box_of(found.probability[Structure.BACKGROUND] < BACKGROUND_WINS, margin=1)
    if box is None:
        return classes
    seen_in = found.probability[:, *box]
    rivals = np.stack([seen_in[Structure.BACKGROUND], bone_of(seen_in), *seen_in[list(_SHOWN)]])
    rivals[2 + _SHOWN.index(Structure.CANAL)] += seen_in[Structure.CORD]
    corner = (box[0].start, box[1].start, box[2].start)
    rivals, first = finer(rivals, corner, found.side, found.pixels.shape)
    seen = rivals[0] < BACKGROUND_WINS
    best = np.argmax(np.stack([channel[seen] for channel in rivals]), axis=0)
    where = tuple(slice(a, a + n) for a, n in zip(first, seen.shape, strict=True))
    none = Structure.BACKGROUND
    classes[where][seen] = np.array([none, none, *_SHOWN], np.uint8)[best]
    return classes


def _abstentions(
    vertebrae: tuple[Vertebra, ...], naming: Naming, settings: LevelSettings
) -> tuple[Abstention, ...]:
    if not vertebrae:
        return (NO_BODIES,)
    found = []
    if np.mean([vertebra.confidence for vertebra in vertebrae]) < settings.least_confidence:
        found.append(UNLIKE)
    whole = sum(vertebra.coverage is Coverage.COMPLETE for vertebra in vertebrae)
    if whole < FEWEST_WHOLE:
        found.append(FEW)
    if naming.anchor is Anchor.NONE:
        found.append(UNANCHORED)
    elif naming.sureness < settings.doubtful:
        found.append(UNCERTAIN)
    return tuple(found)
