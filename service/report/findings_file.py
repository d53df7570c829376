"""What was found in a study, kept so that its report can be written again with a reader's word.

    findings.npz    document: JSON of bodies and findings
                    labels, structures: uint8, cut to the box that holds them all
                    edema, evidence: float32, of every voxel of a body, in the order of `labels`

Geometry is not kept: it is measured on the outlines anew. No object is ever unpickled.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace
from enum import Enum
from io import BytesIO
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from models.errors import AcuityError
from models.findings import (
    Abstention,
    Anchor,
    LevelFindings,
    Localisation,
    Scores,
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
    labels = localisation.labels
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
        "levels": [asdict(replace(level, geometry=None)) for level in scores.levels],
    }
    text = json.dumps(document, sort_keys=True, default=_plain).encode()
    arrays = {
        "document": np.frombuffer(text, np.uint8),
        "labels": labels[box],
        "structures": localisation.structures[box],
    }
    maps = {"edema": scores.edema_map, "evidence": scores.evidence_map}
    for name, values in maps.items():
        if values is not None:
            arrays[name] = values[labels > 0].astype(np.float32)
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
            levels = zip(localisation.vertebrae, document["levels"], strict=True)
            scores = Scores(
                levels=tuple(
                    replace(_value(LevelFindings, level), vertebra=vertebra)
                    for vertebra, level in levels
                ),
                edema_map=_map(localisation, file, "edema"),
                abstentions=_value(tuple[Abstention, ...], document["withheld"]),
                edema_threshold=document["edema_threshold"],
                evidence_map=_map(localisation, file, "evidence"),
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
        vertebrae=tuple(_value(Vertebra, level["vertebra"]) for level in document["levels"]),
        anchor=Anchor(document["anchor"]),
        structures=grids[1],
        abstentions=_value(tuple[Abstention, ...], document["abstentions"]),
    )


def _map(
    localisation: Localisation, file: Mapping[str, Any], name: str
) -> NDArray[np.float32] | None:
    """A map of the bodies' voxels; None where there was none."""
    if name not in file:
        return None
    grid = np.zeros(localisation.labels.shape, np.float32)
    grid[localisation.labels > 0] = file[name]
    return grid


def _value(kind: Any, document: Any) -> Any:  # noqa: ANN401  of whatever type it is asked for
    """Read a value of an annotated type back: what a dataclass gains later comes along."""
    if document is None:
        return None
    origin, inside = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        (kind,) = (one for one in inside if one is not NoneType)
        return _value(kind, document)
    if origin is tuple:
        return tuple(_value(inside[0], one) for one in document)
    if origin is Mapping:
        return {name: _value(inside[1], one) for name, one in document.items()}
    if is_dataclass(kind):
        kinds = get_type_hints(kind)
        values = {name: _value(kinds[name], one) for name, one in document.items()}
        return kind(**values)  # type: ignore[operator]  # a class, by its use here
    if origin is np.ndarray:
        document = np.array(document, np.float64)
    elif issubclass(kind, Enum):
        document = kind(document)
    return document
