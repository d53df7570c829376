"""What the network's output columns mean: the one table training, calibration and serving share."""

from __future__ import annotations

from typing import Final

SHAPES: Final = ("none", "wedge", "biconcave", "crush")
"""Classes of the shape head, in column order."""

MIMICS: Final = ("modic_1", "schmorl_node", "haemangioma", "discitis", "cement")
"""Conditions that look like an unhealed fracture, or replace one."""

SIGNS: Final = {
    "convex_posterior_border": "B1",
    "pedicle_replacement": "B2",
    "epidural_mass": "B3",
    "paraspinal_mass": "B5",
    "complete_replacement": "B6",
    "fracture_line": "G1",
    "spared_marrow": "G2",
    "retropulsed_fragment": "G3",
    "fluid_sign": "G4",
    "intravertebral_cleft": "G5",
}
"""Sign the network is taught, to its code in the feature table of the clinical basis."""

BINARY_HEADS: Final = (
    "edema",
    "fracture",
    "unhealed",
    "pathological",
    *(f"mimic_{name}" for name in MIMICS),
    *(f"sign_{name}" for name in SIGNS),
)
"""Columns that are the logit of one yes-or-no question."""

HEADS: Final = (*BINARY_HEADS, *(f"shape_{name}" for name in SHAPES), "height_loss")
"""Every column of the `heads` output; `height_loss` is a fraction, not a logit."""

NEEDS_FLUID: Final = frozenset(BINARY_HEADS) - {"fracture", "mimic_cement"}
"""Questions that are not asked without a fluid-sensitive series."""
