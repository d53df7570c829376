"""A level's disease: what its truth says and the parts it is drawn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from models.errors import AcuityError
from training.phantom.disease.parts import (
    Arch,
    Bite,
    Blob,
    Change,
    Cut,
    Fragment,
    Mass,
    Rim,
    Sheet,
)

STAGES: Final = (
    "none", "acute", "subacute", "unhealed_cleft", "healed", "refractured", "cemented",
)  # fmt: skip
FRACTURES: Final = ("none", "wedge", "biconcave", "crush", "pincer")
ENDPLATES: Final = ("superior", "inferior", "both")
ETIOLOGIES: Final = ("none", "benign", "pathological")
SIGNS: Final = frozenset({f"B{i}" for i in range(1, 13)} | {f"G{i}" for i in range(1, 9)})
MIMICS: Final = frozenset(
    {
        "modic_1", "modic_2", "modic_3", "schmorl_node", "schmorl_node_acute", "haemangioma",
        "haemangioma_atypical", "discitis", "red_marrow", "bone_island", "limbus", "scheuermann",
        "post_radiation", "facet_edema", "inflammatory_corner", "fatty_corner", "andersson",
    }
)  # fmt: skip
"""Names of mimics."""

PRIVATE_MIMICS: Final = frozenset({"schmorl_node_acute"})
"""Drawn together with a public name, and not named by the truth."""

UNHEALED: Final = frozenset({"acute", "subacute", "unhealed_cleft", "refractured"})
DEFORMING_SIGNS: Final = frozenset({"B1", "B9", "G3", "G4", "G5", "G7"})
"""Signs that need a body that has given way."""

LARGEST_LOSS: Final = 0.9


class ImpossibleDiseaseError(AcuityError, ValueError):
    """A disease, or a mix of diseases, that cannot be."""

    code: ClassVar[str] = "impossible_disease"


@dataclass(frozen=True, slots=True)
class Edema:
    """Marrow edema of a fracture.

    Attributes:
        pattern: "band", "patchy" or "diffuse".
        extent: Part of the marrow it fills, 0..1.
        intensity: Free water where it is full, 0..1 of the most.
        fat_ratio: Fat that remains there, of what was.
    """

    pattern: str
    extent: float
    intensity: float
    fat_ratio: float


@dataclass(frozen=True, slots=True)
class Lesion:
    """Infiltration: "lytic", "blastic", "mixed" or "diffuse"; part of the marrow it replaces."""

    kind: str
    extent: float
    ill_defined: bool


@dataclass(frozen=True, slots=True)
class DiscDisease:
    """What a disease does to the disc below: share of pus or of gas, 0..1, and its textures' seed.

    Attributes:
        pus: Part of the disc turned to pus, 0..1.
        vacuum: Half-thickness of a gas cleft, mm.
        hydration: Upper and lower bound that the disc's hydration is held in.
        height_factor: Upper bound of its height.
        place: Where in the noise lattice its pattern lies.
    """

    pus: float = 0.0
    vacuum: float = 0.0
    hydration: tuple[float, float] = (0.0, 1.0)
    height_factor: float = 2.0
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Disease:
    """Everything drawn at one level beyond healthy anatomy.

    Attributes:
        stage, fracture, etiology, signs, mimics: As in `LevelTruth`.
        endplate: Which endplates a fracture has broken: "superior", "inferior", "both".
        loss: Largest part of a height that is lost, 0..0.9; 0 without deformity (OF1).
        edema: Of a fracture, or None.
        lesion: Infiltration, or None.
        disc: What happens to the disc below, or None.
        wedge: Part of the anterior height that a non-traumatic deformity takes.
        changes, sheets, blobs, bites, cuts: Parts inside the body.
        arches, masses, rims, fragments: Parts around it.

    Raises:
        ImpossibleDiseaseError: On construction, when the fields contradict each other.
    """

    stage: str = "none"
    fracture: str = "none"
    endplate: str = "superior"
    loss: float = 0.0
    etiology: str = "none"
    edema: Edema | None = None
    lesion: Lesion | None = None
    signs: frozenset[str] = frozenset()
    mimics: tuple[str, ...] = ()
    disc: DiscDisease | None = None
    wedge: float = 0.0
    changes: tuple[Change, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    blobs: tuple[Blob, ...] = ()
    bites: tuple[Bite, ...] = ()
    cuts: tuple[Cut, ...] = ()
    arches: tuple[Arch, ...] = ()
    masses: tuple[Mass, ...] = ()
    rims: tuple[Rim, ...] = ()
    fragments: tuple[Fragment, ...] = ()

    def __post_init__(self) -> None:
        _check_names(self)
        _check_fracture(self)
        _check_treatment(self)

    @property
    def fractured(self) -> bool:
        """Whether the level has a fracture at any stage, deformed or not."""
        return self.stage != "none"

    @property
    def public_mimics(self) -> tuple[str, ...]:
        """The mimics as `LevelTruth` names them."""
        return tuple(name for name in self.mimics if name not in PRIVATE_MIMICS)


def _check_names(disease: Disease) -> None:
    for name, value, known in (
        ("stage", disease.stage, STAGES),
        ("fracture", disease.fracture, FRACTURES),
        ("endplate", disease.endplate, ENDPLATES),
        ("etiology", disease.etiology, ETIOLOGIES),
    ):
        if value not in known:
            raise ImpossibleDiseaseError(f"unknown {name}: {value}")
    for name, values, allowed in (
        ("sign", disease.signs, SIGNS),
        ("mimic", frozenset(disease.mimics), MIMICS),
    ):
        unknown = sorted(values - allowed)
        if unknown:
            raise ImpossibleDiseaseError(f"unknown {name}: {', '.join(unknown)}")
    if disease.edema is not None and disease.edema.pattern not in ("band", "patchy", "diffuse"):
        raise ImpossibleDiseaseError(f"unknown edema pattern: {disease.edema.pattern}")
    kinds = ("lytic", "blastic", "mixed", "diffuse")
    if disease.lesion is not None and disease.lesion.kind not in kinds:
        raise ImpossibleDiseaseError(f"unknown lesion kind: {disease.lesion.kind}")


def _check_fracture(disease: Disease) -> None:
    if not 0.0 <= disease.loss <= LARGEST_LOSS:
        raise ImpossibleDiseaseError("height loss outside 0..0.9")
    if disease.fracture != "none" and disease.stage == "none":
        raise ImpossibleDiseaseError("a deformed body needs a fracture stage")
    if (disease.fracture == "none") != (disease.loss == 0.0):
        raise ImpossibleDiseaseError("height loss and fracture shape contradict each other")
    if disease.fracture == "none" and disease.stage in ("refractured", "unhealed_cleft"):
        raise ImpossibleDiseaseError(f"{disease.stage} needs a deformed body")
    if disease.fractured and disease.etiology == "none" and disease.stage != "cemented":
        raise ImpossibleDiseaseError("a fracture needs an etiology")
    if disease.fracture == "none" and disease.stage != "none" and disease.signs & {"G3", "G5"}:
        raise ImpossibleDiseaseError("fragment or cleft in a body that kept its shape")
    if disease.stage == "unhealed_cleft" and not disease.signs & {"G4", "G5"}:
        raise ImpossibleDiseaseError("an unhealed cleft needs fluid or gas in it")


def _check_treatment(disease: Disease) -> None:
    if disease.edema is not None and disease.stage in ("none", "healed"):
        raise ImpossibleDiseaseError(f"fracture edema at stage {disease.stage}")
    cemented = disease.stage == "cemented"
    if cemented and disease.fracture == "none" and disease.edema is not None:
        raise ImpossibleDiseaseError("cement in an unfractured body with fracture edema")
    if disease.lesion is not None and disease.etiology != "pathological":
        raise ImpossibleDiseaseError("infiltration needs a pathological etiology")


HEALTHY: Final = Disease()

_JOINED: Final = (
    "changes", "sheets", "blobs", "bites", "cuts", "arches", "masses", "rims", "fragments",
)  # fmt: skip


def combine(first: Disease, second: Disease) -> Disease:
    """Both diseases at one level.

    Raises:
        ImpossibleDiseaseError: Both fracture it, or both infiltrate it.
    """
    if first.fractured and second.fractured:
        raise ImpossibleDiseaseError("a level fractured twice; use the stage refractured")
    if first.lesion is not None and second.lesion is not None:
        raise ImpossibleDiseaseError("a level infiltrated twice")
    lead, other = (second, first) if second.fractured else (first, second)
    if lead.etiology == "benign" and other.etiology == "pathological":
        raise ImpossibleDiseaseError("an infiltrated level with a benign fracture")
    joined = {name: getattr(first, name) + getattr(second, name) for name in _JOINED}
    mimics = tuple(sorted(set(first.mimics + second.mimics)))
    return replace(
        lead,
        etiology=lead.etiology if lead.etiology != "none" else other.etiology,
        lesion=lead.lesion or other.lesion,
        signs=first.signs | second.signs,
        mimics=mimics,
        disc=first.disc or second.disc,
        wedge=max(first.wedge, second.wedge),
        **joined,
    )
