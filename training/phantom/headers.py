"""How each vendor's classic MR headers state a sequence: codes, names and descriptions.

Source: sequence names, image types and descriptions as collected from published headers for the
recognition rules of this product; values that differ between software versions take one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from models.volume import Role
from training.phantom.physics import DixonPart, Readout
from training.phantom.protocols import Protocol

MANUFACTURERS: Final = {
    "siemens": "SIEMENS",
    "ge": "GE MEDICAL SYSTEMS",
    "philips": "Philips Medical Systems",
    "canon": "CANON_MEC",
    "uih": "UIH",
}

_DIXON_IMAGE_TYPE: Final = {
    DixonPart.WATER: "WATER",
    DixonPart.FAT: "FAT",
    DixonPart.IN_PHASE: "IN_PHASE",
    DixonPart.OUT_OF_PHASE: "OUT_PHASE",
}
_DIXON_LETTER: Final = {
    DixonPart.WATER: "W",
    DixonPart.FAT: "F",
    DixonPart.IN_PHASE: "in",
    DixonPart.OUT_OF_PHASE: "opp",
}


@dataclass(frozen=True, slots=True)
class SequenceHeader:
    """The attributes that say what a series is.

    Attributes:
        internal_name: GE's name of the pulse sequence (0019,109C), "" for other vendors.
    """

    description: str
    scanning_sequence: tuple[str, ...]
    sequence_variant: tuple[str, ...]
    scan_options: tuple[str, ...] = ()
    sequence_name: str = ""
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND")
    internal_name: str = ""


_SE: Final = ("SE",)
_SE_IR: Final = ("SE", "IR")

_SIEMENS: Final = {
    Role.T1: SequenceHeader("t1_tse_sag", _SE, ("SK", "SP", "OSP"), ("PFP", "SAT1"), "*tse2d1_3"),
    Role.T2: SequenceHeader("t2_tse_sag", _SE, ("SK", "SP", "OSP"), ("SAT1",), "*tseR2d1rr18"),
    Role.STIR: SequenceHeader(
        "t2_tirm_sag_p2", _SE_IR, ("SK", "SP", "MP", "OSP"), ("IR", "SAT1"), "*tir2d1_16"
    ),
    Role.T2_FS: SequenceHeader(
        "t2_tse_fs_sag", _SE, ("SK", "SP", "OSP"), ("FS", "SAT1"), "*tse2d1_15"
    ),
}
_GE_TYPE: Final = ("ORIGINAL", "PRIMARY", "OTHER")
_GE: Final = {
    Role.T1: SequenceHeader(
        "Sag T1 FSE", _SE, ("SK",), ("FAST_GEMS", "SAT_GEMS", "EDR_GEMS"), "", _GE_TYPE, "fse"
    ),
    Role.T2: SequenceHeader(
        "Sag T2 FRFSE", _SE, ("SK",), ("FAST_GEMS", "SAT_GEMS", "EDR_GEMS"), "", _GE_TYPE, "frfse"
    ),
    Role.STIR: SequenceHeader(
        "Sag STIR", _SE_IR, ("SK",), ("FAST_GEMS", "SAT_GEMS", "EDR_GEMS"), "", _GE_TYPE, "fseir"
    ),
    Role.T2_FS: SequenceHeader(
        "Sag T2 FS", _SE, ("SK",), ("FAST_GEMS", "SAT_GEMS", "FS"), "", _GE_TYPE, "fse"
    ),
}
_PHILIPS_TYPE: Final = ("ORIGINAL", "PRIMARY", "M_SE", "M", "SE")
_PHILIPS: Final = {
    Role.T1: SequenceHeader("T1W_TSE", _SE, ("SK",), ("OTHER",), "", _PHILIPS_TYPE),
    Role.T2: SequenceHeader("T2W_TSE", _SE, ("SK",), ("OTHER",), "", _PHILIPS_TYPE),
    Role.STIR: SequenceHeader(
        "STIR_longTE", ("IR",), ("SK",), ("OTHER",), "", ("ORIGINAL", "PRIMARY", "M_IR", "M", "IR")
    ),
    Role.T2_FS: SequenceHeader("T2W_SPAIR", _SE, ("SK",), ("FS",), "", _PHILIPS_TYPE),
}
_PLAIN_TYPE: Final = ("ORIGINAL", "PRIMARY", "OTHER")
_CANON: Final = {
    Role.T1: SequenceHeader("SG T1W", _SE, ("SK",), (), "FSE2D", _PLAIN_TYPE),
    Role.T2: SequenceHeader("SG T2W", _SE, ("SK",), (), "FSE2D", _PLAIN_TYPE),
    Role.STIR: SequenceHeader("SG T2W Stir", _SE_IR, ("SK",), (), "FIR", _PLAIN_TYPE),
    Role.T2_FS: SequenceHeader("FST2_SAGc", _SE, ("SK",), ("FS",), "FSE2D", _PLAIN_TYPE),
}
_UIH: Final = {
    Role.T1: SequenceHeader("t1_fse_sag", _SE, ("SK",), (), "fse", _PLAIN_TYPE),
    Role.T2: SequenceHeader("t2_fse_sag", _SE, ("SK",), (), "fse", _PLAIN_TYPE),
    Role.STIR: SequenceHeader("t2_tirm_sag", _SE_IR, ("SK",), (), "fse_ir", _PLAIN_TYPE),
    Role.T2_FS: SequenceHeader("t2_fse_fs_sag", _SE, ("SK",), ("FS",), "fse", _PLAIN_TYPE),
}
_BY_VENDOR: Final = {
    "siemens": _SIEMENS,
    "ge": _GE,
    "philips": _PHILIPS,
    "canon": _CANON,
    "uih": _UIH,
}


def sequence_header(protocol: Protocol) -> SequenceHeader:
    """The attributes a protocol's vendor writes for it."""
    part = protocol.sequence.dixon_part
    if part is not None:
        return _dixon_header(protocol, part)
    header = _BY_VENDOR[protocol.vendor][protocol.role]
    if protocol.role is Role.T1 and protocol.sequence.inversion_ms is not None:
        return replace(header, description="Sag T1 FLAIR", scanning_sequence=_SE_IR)
    return header


def sample_description(
    protocol: Protocol, rng: np.random.Generator, *, misleading_share: float
) -> str:
    """A series description: the vendor's usual one, or one that says nothing or something wrong.

    Args:
        protocol: What the series is.
        rng: Source of randomness.
        misleading_share: Part of the descriptions that are useless, as seen in real archives.
    """
    usual = sequence_header(protocol).description
    if rng.random() >= misleading_share:
        return usual
    options = ("SAG", "sag 4", "LSPINE", "????", "SAG T2 STIR", f" {usual} ".upper())
    return options[int(rng.integers(len(options)))]


def _dixon_header(protocol: Protocol, part: DixonPart) -> SequenceHeader:
    gradient = protocol.sequence.readout is Readout.GRADIENT_ECHO
    letter = _DIXON_LETTER[part]
    base = SequenceHeader(
        description=f"t2_tse_dixon_sag_320_{letter}",
        scanning_sequence=("GR",) if gradient else _SE,
        sequence_variant=("SK", "SP"),
        sequence_name="*fl3d2" if gradient else "*tse2d1_15",
        image_type=("ORIGINAL", "PRIMARY", "DIXON", _DIXON_IMAGE_TYPE[part]),
    )
    if gradient:
        base = replace(base, description=f"t1_vibe_dixon_sag_{letter}")
    if protocol.vendor == "siemens":
        return base
    if protocol.vendor == "ge":
        named = {"W": "WATER", "F": "FAT", "in": "InPhase", "opp": "OutPhase"}[letter]
        return replace(base, description=f"{named}: Sag T2 FLEX", sequence_name="")
    if protocol.vendor == "philips":
        return replace(
            base,
            description=f"mDIXON_{letter.upper()}",
            sequence_name="",
            image_type=("ORIGINAL", "PRIMARY", letter[0].upper(), letter[0].upper(), "SE"),
        )
    stem = "WFST2_SAG" if protocol.vendor == "canon" else "t2_fse_wfi_sag"
    return replace(base, description=f"{stem}({letter.upper()})", sequence_name="")
