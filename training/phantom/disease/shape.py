"""The shape of a diseased body: height lost, endplates broken in, posterior wall pushed out."""

from __future__ import annotations

from typing import Final

import numpy as np

from training.phantom.anatomy.spine import BodyShape
from training.phantom.disease.model import Disease

DEEPEST_DISHES: Final = 0.86
"""Both dishes together take at most this part of the rim height: some bone is always left."""


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
    """Dish the endplates until the middle height has lost `disease.loss`."""
    upper, lower = _shares(disease, rng)
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
    # The middle height must not lose more than the named loss, or the shape would be biconcave.
    spare = max(0.0, shape.height_middle - intact.height_middle * (1 - disease.loss))
    if "B9" in disease.signs:
        deep = min(spare, float(rng.uniform(2.0, 4.0)))
        place, width = float(rng.choice((-0.45, 0.4))), float(rng.uniform(0.2, 0.3))
        gain = 1.0
    elif "G7" in disease.signs:
        place, width = float(rng.uniform(-0.4, 0.1)), float(rng.uniform(0.5, 0.8))
        gain = float(np.exp(-((place / width) ** 2)))
        deep = min(spare / max(gain, 0.3), float(rng.uniform(1.0, 3.5)))
    else:
        return shape._replace(
            dish_superior=0.6 * shape.dish_superior, dish_inferior=0.8 * shape.dish_inferior
        )
    if disease.endplate == "inferior":
        return shape._replace(
            dish_inferior=shape.dish_inferior + deep,
            dish_centre_inferior=place,
            dish_width_inferior=width,
        )
    return shape._replace(
        dish_superior=shape.dish_superior + deep,
        dish_centre_superior=place,
        dish_width_superior=width,
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
