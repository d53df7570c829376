"""Stacks as hypothesis draws them: three different pitches and an oblique orientation, always."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.builders import SAGITTAL, Grid, oblique


def _different(pitches: tuple[float, float, float]) -> bool:
    first, second, third = pitches
    return min(abs(first - second), abs(second - third), abs(first - third)) > 0.05


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """Sagittal within 20 degrees, turned or flipped in the plane, anywhere in the patient."""
    angle = st.floats(-20, 20).filter(lambda degrees: abs(degrees) > 0.5)
    spacing = draw(
        st.tuples(st.floats(2.5, 7.0), st.floats(0.3, 1.5), st.floats(0.3, 1.5)).filter(_different)
    )
    row, column = np.reshape(SAGITTAL, (2, 3))
    row, column = draw(
        st.sampled_from([(row, column), (-row, column), (row, -column), (column, row)])
    )
    turned = oblique((draw(angle), draw(angle), draw(angle)), (*row.tolist(), *column.tolist()))
    origin = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return Grid(orientation=turned, spacing=spacing, origin=origin)
