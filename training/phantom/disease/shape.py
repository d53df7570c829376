"""The shape of a diseased body: height lost, endplates broken in, posterior wall pushed out."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.phantom.anatomy.spine import BodyShape
from training.phantom.disease.model import Disease

DEEPEST_DISHES: Final = 0.86
"""Both dishes together take at most this part of the rim height: some bone is always left."""


KINK_WIDTH: Final = (0.26, 0.4)
"""Half-width of an angled endplate's kink, in parts of the half-depth."""

FLATTENED: Final = 0.3
"""What the endplate that has not broken keeps of its dish in a body whose other one caved in."""

LEAST_CRUSHED: Final = 0.7
"""Part of the loss that both rims of a crushed body share at least."""


def deform(intact: BodyShape, disease: Disease, rng: np.random.Generator) -> BodyShape:
    """The body's shape under a disease.

    The largest loss of anterior, middle and posterior height is `disease.loss`; the rng spreads
    the rest. Endplates and wall follow the signs B1 (convex wall), B9 (angled endplate) and G7
    (concave endplate).

    Args:
        intact: The body before.
        disease: Its disease.
        rng: Source; nothing is drawn for a body that keeps its shape.
    """
    if disease.wedge > 0.0:
        ragged = rng.normal(0.0, 0.9, 2)
        intact = intact._replace(
            height_anterior=intact.height_anterior * (1 - disease.wedge),
            ripple_sagittal=intact.ripple_sagittal + float(ragged[0]),
            ripple_coronal=intact.ripple_coronal + float(ragged[1]),
        )
    if disease.fracture == "none":
        return _with_wall(intact, disease, rng)
    collapse = {
        "wedge": _wedge,
        "biconcave": _biconcave,
        "crush": _crush,
        "pincer": _pincer,
    }[disease.fracture]
    shape = collapse(intact, disease, rng)
    shape = _with_endplates(shape, intact, disease, rng)
    shape = _broken(shape, intact, disease, rng)
    return _with_wall(_within(_held(shape, intact, disease)), disease, rng)


def _shares(disease: Disease, rng: np.random.Generator) -> tuple[float, float]:
    """How an endplate depression is shared between the superior and the inferior endplate."""
    if disease.endplate == "superior":
        return 1.0, 0.0
    if disease.endplate == "inferior":
        return 0.0, 1.0
    upper = float(rng.uniform(0.35, 0.75))
    return upper, 1.0 - upper


def _wedge(intact: BodyShape, disease: Disease, rng: np.random.Generator) -> BodyShape:
    back = disease.loss * float(rng.uniform(0.0, 0.35))
    return intact._replace(
        height_anterior=intact.height_anterior * (1 - disease.loss),
        height_posterior=intact.height_posterior * (1 - back),
    )


def _crush(intact: BodyShape, disease: Disease, rng: np.random.Generator) -> BodyShape:
    loss = disease.loss
    front = loss * float(rng.uniform(0.85, 1.0))
    return intact._replace(
        height_anterior=intact.height_anterior * (1 - front),
        height_posterior=intact.height_posterior * (1 - loss),
        half_depth_top=intact.half_depth_top * (1 + 0.12 * loss),
        half_depth_bottom=intact.half_depth_bottom * (1 + 0.08 * loss),
    )


def _biconcave(intact: BodyShape, disease: Disease, rng: np.random.Generator) -> BodyShape:
    rims = 1 - disease.loss * float(rng.uniform(0.0, 0.3))
    shape = intact._replace(
        height_anterior=intact.height_anterior * rims,
        height_posterior=intact.height_posterior * rims,
    )
    return _depressed(shape, intact, disease, rng)


def _pincer(intact: BodyShape, disease: Disease, rng: np.random.Generator) -> BodyShape:
    """Both endplates driven in at mid depth by a narrow margin: a split in the coronal plane."""
    narrow = float(rng.uniform(0.26, 0.4))
    centre = float(rng.normal(0.0, 0.08))
    shape = intact._replace(
        height_anterior=intact.height_anterior * (1 - 0.15 * disease.loss),
        half_depth_top=intact.half_depth_top * (1 + 0.1 * disease.loss),
        half_depth_bottom=intact.half_depth_bottom * (1 + 0.1 * disease.loss),
    )
    lost = shape.height_rim - intact.height_middle * (1 - disease.loss)
    lost /= float(np.exp(-((centre / narrow) ** 2)))
    upper = float(rng.uniform(0.42, 0.58))
    return shape._replace(
        dish_superior=lost * upper,
        dish_inferior=lost * (1 - upper),
        dish_centre_superior=centre,
        dish_centre_inferior=centre,
        dish_width_superior=narrow,
        dish_width_inferior=narrow,
    )


def _depressed(
    shape: BodyShape, intact: BodyShape, disease: Disease, rng: np.random.Generator
) -> BodyShape:
    """Dish the endplates until the middle height has lost `disease.loss`.

    An angled endplate (B9) is driven in along a narrow wedge beside the middle, as far off it as
    lets the middle lose what it must.
    """
    upper, lower = _shares(disease, rng)
    if "B9" in disease.signs:
        widths = rng.uniform(*KINK_WIDTH, 2)
        centres = rng.choice((-1.0, 1.0)) * rng.uniform(0.3, 0.6, 2) * widths
    else:
        centres = rng.normal((-0.02, 0.05), 0.12)
        widths = rng.uniform(0.48, 0.85, 2)
    shape = shape._replace(
        dish_centre_superior=float(centres[0]) if upper else shape.dish_centre_superior,
        dish_width_superior=float(widths[0]) if upper else shape.dish_width_superior,
        dish_centre_inferior=float(centres[1]) if lower else shape.dish_centre_inferior,
        dish_width_inferior=float(widths[1]) if lower else shape.dish_width_inferior,
    )
    missing = max(0.0, shape.height_middle - intact.height_middle * (1 - disease.loss))
    upper_gain = np.exp(-((shape.dish_centre_superior / shape.dish_width_superior) ** 2))
    lower_gain = np.exp(-((shape.dish_centre_inferior / shape.dish_width_inferior) ** 2))
    return shape._replace(
        dish_superior=shape.dish_superior + float(upper * missing / upper_gain),
        dish_inferior=shape.dish_inferior + float(lower * missing / lower_gain),
    )


def _with_endplates(
    shape: BodyShape, intact: BodyShape, disease: Disease, rng: np.random.Generator
) -> BodyShape:
    """Concave (G7) or angled (B9) endplates of wedged and crushed bodies."""
    if disease.fracture in ("biconcave", "pincer"):
        return shape
    if "B9" in disease.signs:
        deep = float(rng.uniform(2.0, 4.0))
        place, width = float(rng.choice((-0.45, 0.4))), float(rng.uniform(*KINK_WIDTH))
    elif "G7" in disease.signs:
        deep = float(rng.uniform(1.5, 3.5))
        place, width = float(rng.uniform(-0.4, 0.1)), float(rng.uniform(0.5, 0.8))
    else:
        return shape._replace(
            dish_superior=0.6 * shape.dish_superior, dish_inferior=0.8 * shape.dish_inferior
        )
    # The broken endplate caves in by `deep`; the other gives way as a whole and flattens.
    if disease.endplate == "inferior":
        caved = shape._replace(
            dish_inferior=shape.dish_inferior + deep,
            dish_centre_inferior=place,
            dish_width_inferior=width,
            dish_superior=FLATTENED * shape.dish_superior,
        )
    else:
        caved = shape._replace(
            dish_superior=shape.dish_superior + deep,
            dish_centre_superior=place,
            dish_width_superior=width,
            dish_inferior=FLATTENED * shape.dish_inferior,
        )
    return _raised(caved, intact, disease)


def _raised(shape: BodyShape, intact: BodyShape, disease: Disease) -> BodyShape:
    """Rims that have sunk less, so that the middle of a crushed body loses no more than the loss.

    They give way by `LEAST_CRUSHED` of the loss at least, or the shape would be biconcave.
    """
    if disease.fracture != "crush":
        return shape
    missing = max(0.0, intact.height_middle * (1 - disease.loss) - shape.height_middle)
    most = 1 - LEAST_CRUSHED * disease.loss
    return shape._replace(
        height_anterior=min(shape.height_anterior + missing, most * intact.height_anterior),
        height_posterior=min(shape.height_posterior + missing, most * intact.height_posterior),
    )


def _held(shape: BodyShape, intact: BodyShape, disease: Disease) -> BodyShape:
    """Flatten the dishes of a wedged or crushed body whose middle has lost more than the loss."""
    missing = intact.height_middle * (1 - disease.loss) - shape.height_middle
    depression = shape.height_rim - shape.height_middle
    if missing <= 0.0 or depression <= 0.0:
        return shape
    kept = max(0.0, 1.0 - missing / depression)
    return shape._replace(
        dish_superior=shape.dish_superior * kept, dish_inferior=shape.dish_inferior * kept
    )


def _broken(
    shape: BodyShape, intact: BodyShape, disease: Disease, rng: np.random.Generator
) -> BodyShape:
    """Uneven endplates, and a side that has given way more than the other."""
    steps = rng.normal(0.0, 1.0, 3)
    return shape._replace(
        lateral_wedge=shape.lateral_wedge
        + float(0.15 * disease.loss * intact.height_rim * steps[0]),
        ripple_sagittal=shape.ripple_sagittal + float(0.35 * steps[1]),
        ripple_coronal=shape.ripple_coronal + float(0.35 * steps[2]),
    )


def _within(shape: BodyShape) -> BodyShape:
    """Dishes that leave bone between them, everywhere from front to back."""
    low = min(shape.height_anterior, shape.height_posterior)
    excess = (shape.dish_superior + shape.dish_inferior) / (DEEPEST_DISHES * low)
    if excess <= 1.0:
        return shape
    return shape._replace(
        dish_superior=shape.dish_superior / excess, dish_inferior=shape.dish_inferior / excess
    )


def _with_wall(shape: BodyShape, disease: Disease, rng: np.random.Generator) -> BodyShape:
    if "B1" in disease.signs:
        return shape._replace(posterior_bulge=float(rng.uniform(1.4, 4.2)))
    return shape
