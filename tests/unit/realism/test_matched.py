"""Phantoms scanned as a data set was: its protocol, its people, the same bytes for a seed."""

from __future__ import annotations

import numpy as np
import pytest

from training.realism.crops import SLICE_MM
from training.realism.matched import MATCHED, Matched, matched_patients, matched_protocol


@pytest.mark.parametrize("matched", MATCHED, ids=lambda one: one.dataset)
def test_the_protocol_is_that_of_the_data_set(matched: Matched) -> None:
    first, second = (matched_protocol(matched, np.random.default_rng(n)) for n in (1, 2))
    for protocol in (first, second):
        assert protocol.role is matched.role
        assert protocol.vendor == matched.site.vendor
        assert protocol.sequence.field_t == matched.site.field_t
        assert protocol.acquired_mm == matched.acquired_mm
        assert protocol.pitch_mm == pytest.approx(SLICE_MM)
        if matched.echo_ms is not None:
            assert protocol.sequence.echo_ms == matched.echo_ms
            assert protocol.sequence.repetition_ms == matched.repetition_ms
    assert first.snr != second.snr


def test_patients_lie_on_the_voxels_of_the_data_set_and_repeat() -> None:
    matched = MATCHED[0]
    (one,), (again,) = (list(matched_patients(matched, [7])) for _ in range(2))
    assert one.patient == "seed 7"
    assert one.volume.spacing.mm == pytest.approx((SLICE_MM, 1.0, 1.0))
    assert one.volume.role is matched.role
    assert {"L2", "L3", "L4"} <= set(one.levels.values())
    assert np.array_equal(one.volume.array, again.volume.array)
