"""The picture of distributions is drawn from any recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.phantom.recipe import load_recipe
from training.realism.distributions import DPI, INCHES, draw


@pytest.mark.parametrize("recipe", ["train", "low_field"])
def test_nine_panels_are_drawn(recipe: str, tmp_path: Path) -> None:
    draw(load_recipe(recipe), 120, tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as image:
        assert image.size == (int(INCHES[0] * DPI), int(INCHES[1] * DPI))
        grey = np.asarray(image.convert("L"))
    thirds = [np.array_split(row, 3, axis=1) for row in np.array_split(grey, 3, axis=0)]
    assert all((panel < 200).mean() > 0.02 for row in thirds for panel in row)
