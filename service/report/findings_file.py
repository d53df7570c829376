"""What was found in a study, kept so that its report can be written again with a reader's word.

    findings.npz    document: JSON of bodies and findings
                    labels, structures: uint8, cut to the box that holds them all
                    edema: float32, probability of every voxel of a body, in the order of `labels`

Geometry is not kept: it is measured on the outlines anew. No object is ever unpickled.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import AcuityError
from models.findings import (
    Abstention,
    Acuity,
    AcuityFinding,
    Anchor,
    BodySize,
    Call,
    Coverage,
    Edema,
    Etiology,
    EtiologyFinding,
    Feature,
    Fracture,
    LevelFindings,
    LevelName,
    Localisation,
    Scores,
    Shape,
    Vertebra,
)

FINDINGS: Final = "findings.npz"
VERSION: Final = 1

_UNREADABLE: Final = (
    OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip
"""What NumPy and JSON say of a damaged file."""

Found = tuple[Localisation, Scores]


class FindingsError(AcuityError):
    """What was found is not there any more, or was kept by another version."""

    code = "report_outdated"


def to_npz(localisation: Localisation, scores: Scores) -> bytes:
    """Pack what was found; equal findings give equal bytes."""
    labels, edema = localisation.labels, scores.edema_map
    box = _box(labels, localisation.structures)
    document = {
        "version": VERSION,
        "shape": labels.shape,
        "box": [[part.start, part.stop] for part in box],
        "affine": localisation.affine.tolist(),
        "anchor": localisation.anchor,
        "abstentions": [asdict(one) for one in localisation.abstentions],
        "withheld": [asdict(one) for one in scores.abstentions],
        "edema_threshold": scores.edema_threshold,
        "levels": [_level_document(level) for level in scores.levels],
    }
    text = json.dumps(document, sort_keys=True, default=_plain).encode()
    arrays = {
        "document": np.frombuffer(text, np.uint8),
        "labels": labels[box],
        "structures": localisation.structures[box],
    }
    if edema is not None:
        arrays["edema"] = edema[labels > 0].astype(np.float32)
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # names are no options of it
    return buffer.getvalue()


def read_npz(path: Path) -> Found:
    """Unpack a file of `to_npz`.

    Raises:
        FindingsError: It is gone, damaged, or of another version.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            document = json.loads(file["document"].tobytes())
            if document["version"] != VERSION:
                raise FindingsError("the report was written by another version of this software")
            localisation = _localisation(document, file)
            edema = None
            if "edema" in file:
                edema = np.zeros(localisation.labels.shape, np.float32)
                edema[localisation.labels > 0] = file["edema"]
            bodies = zip(localisation.vertebrae, document["levels"], strict=True)
            scores = Scores(
                tuple(_level(vertebra, level) for vertebra, level in bodies),
                edema,
                _abstentions(document["withheld"]),
                document["edema_threshold"],
            )
    except _UNREADABLE as error:
        raise FindingsError("what the report was written from cannot be read any more") from error
    return localisation, scores


def _box(*arrays: NDArray[np.uint8]) -> tuple[slice, ...]:
    anywhere = np.logical_or.reduce([array > 0 for array in arrays])
    parts = []
    for axis in range(anywhere.ndim):
        others = tuple(other for other in range(anywhere.ndim) if other != axis)
        filled = np.flatnonzero(anywhere.any(axis=others))
        parts.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 0))
    return tuple(parts)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(type(value).__name__)


def _level_document(level: LevelFindings) -> dict[str, Any]:
    document = {
        "vertebra": asdict(level.vertebra),
        "features": {name: asdict(sign) for name, sign in level.features.items()},
        "mimics": dict(level.mimics),
        "in_distribution": level.in_distribution,
    }
    for name in ("edema", "fracture", "acuity", "etiology"):
        finding = getattr(level, name)
        document[name] = None if finding is None else asdict(finding)
    return document


def _localisation(document: Mapping[str, Any], file: Mapping[str, Any]) -> Localisation:
    box = tuple(slice(start, stop) for start, stop in document["box"])
    grids = []
    for name in ("labels", "structures"):
        grid = np.zeros(document["shape"], np.uint8)
        grid[box] = file[name]
        grids.append(grid)
    return Localisation(
        labels=grids[0],
        affine=np.array(document["affine"], np.float64),
        vertebrae=tuple(_vertebra(level["vertebra"]) for level in document["levels"]),
        anchor=Anchor(document["anchor"]),
        structures=grids[1],
        abstentions=_abstentions(document["abstentions"]),
    )


def _abstentions(documents: Iterable[Mapping[str, str]]) -> tuple[Abstention, ...]:
    return tuple(Abstention(**one) for one in documents)


def _vertebra(document: Mapping[str, Any]) -> Vertebra:
    name, size = document["name"], document["size"]
    return Vertebra(
        index=document["index"],
        name=None if name is None else LevelName(**name),
        alternatives=tuple(LevelName(**one) for one in document["alternatives"]),
        coverage=Coverage(document["coverage"]),
        centroid_lps_mm=np.array(document["centroid_lps_mm"], np.float64),
        axes_lps=np.array(document["axes_lps"], np.float64),
        size=None if size is None else BodySize(**size),
        confidence=document["confidence"],
    )


def _level(vertebra: Vertebra, document: Mapping[str, Any]) -> LevelFindings:
    edema, fracture = document["edema"], document["fracture"]
    acuity, etiology = document["acuity"], document["etiology"]
    return LevelFindings(
        vertebra=vertebra,
        edema=edema
        and Edema(
            edema["probability"],
            Call(edema["call"]),
            edema["extent_fraction"],
            tuple(edema["limited_by"]),
        ),
        fracture=fracture
        and Fracture(
            fracture["probability"],
            Call(fracture["call"]),
            fracture["height_loss_percent"],
            fracture["genant_grade"],
            Shape(fracture["shape"]),
        ),
        acuity=acuity and AcuityFinding(Acuity(acuity["call"]), acuity["probability_unhealed"]),
        etiology=etiology
        and EtiologyFinding(
            Etiology(etiology["call"]),
            etiology["pathological_probability"],
            tuple(map(Etiology, etiology["prediction_set"])),
            tuple(etiology["limited_by"]),
        ),
        features={name: Feature(**sign) for name, sign in document["features"].items()},
        mimics=document["mimics"],
        in_distribution=document["in_distribution"],
    )
