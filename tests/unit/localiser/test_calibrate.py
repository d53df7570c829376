"""Settings of the naming, fitted to what was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.anatomy import LEVELS
from models.findings import BodySize
from models.localiser.evidence import LevelSettings, Seen
from models.localiser.exactness import SizeSpread
from models.localiser.levels import name_levels
from models.localiser.localiser import size_spread
from models.manifest import SECTION

if TYPE_CHECKING:
    from training.localiser.calibrate import TrueChain

pytestmark = pytest.mark.train


def test_ribs_are_counted_where_they_are_found_and_where_they_are_clear() -> None:
    from training.localiser.calibrate import MOST_FOUND, Body, Counted, fitted

    usual = LevelSettings()
    bodies = [
        *(Body("T8", 1.5, 0.0) for _ in range(27)),
        Body("T8", 0.0, 0.0),
        *(Body("T12", 0.9, 0.0) for _ in range(8)),
        *(Body("T12", 0.3, 0.0) for _ in range(8)),
        *(Body("T12", 0.0, 0.0) for _ in range(2)),
        *(Body("L1", 0.1, 0.0) for _ in range(8)),
        Body("L1", 2.0, 0.0),
        Body("T12", np.nan, 0.0),
    ]
    settings = fitted(Counted(tuple(bodies), ()), usual)

    assert settings.rib_thoracic == pytest.approx(28 / 30, abs=1e-3)
    # Every rib that is found there is clear; no more than this is believed of the next one.
    assert settings.clear_thoracic == MOST_FOUND
    assert settings.rib_last == pytest.approx(17 / 20, abs=1e-3)
    assert settings.clear_last == pytest.approx(9 / 18, abs=1e-3)
    assert settings.rib_lumbar == pytest.approx(2 / 11, abs=1e-3)
    assert settings.clear_lumbar == usual.clear_lumbar  # one rib is too few to count with
    assert settings.legible == usual.legible


def test_too_few_bodies_change_nothing() -> None:
    from training.localiser.calibrate import Body, Counted, fitted

    few = Counted((Body("T12", 0.6, 0.0),), (0.9,))

    assert fitted(few, LevelSettings()) == LevelSettings()


def test_the_least_confidence_is_that_of_the_least_sure_scans() -> None:
    from training.localiser.calibrate import Counted, fitted

    settings = fitted(Counted((), tuple(np.linspace(0.8, 0.99, 200))), LevelSettings())

    assert settings.least_confidence == pytest.approx(0.801, abs=0.002)


def test_exactness_comes_from_the_bundle_and_grows_with_the_voxel() -> None:
    stored = {"height_mm": 0.5, "depth_mm": 0.6, "width_mm": 2.0, "volume": 0.05}
    spread = size_spread({SECTION: {"calibration": {"size_spread": stored}}})
    size = BodySize(20.0, 32.0, 44.0, 25.0, 24.0, 26.0)

    assert spread == SizeSpread(**stored)
    assert size_spread({}) is None
    fine, coarse = spread.of(size, 0.6, 4.0), spread.of(size, 1.5, 6.0)
    assert fine == BodySize(1.0, 0.6, 2.0, 0.5, 0.5, 0.5)
    assert coarse is not None
    assert coarse.height_middle_mm == pytest.approx(0.75)
    assert coarse.width_mm == pytest.approx(3.0)
    assert spread.of(None, 1.0, 4.0) is None


def chain_ending_in(last: str, share: float = 0.5) -> TrueChain:
    """L1 to L5 and a last body that the network takes for S1, whatever it is."""
    from training.localiser.calibrate import TrueChain

    centres = np.array([[0.0, 0.0, -36.0 * i] for i in range(6)])
    shares = np.array([0.0] * 5 + [share])
    seen = Seen(shares, np.zeros(6), np.full(6, 30.0), np.full(6, 5.0))
    usual = [name for name in LEVELS if name not in ("T13", "L6")]
    at = usual.index(last) - 5
    return TrueChain(seen, centres, tuple(usual[at : at + 6]))


def test_names_are_made_as_sure_as_they_are_right() -> None:
    from training.localiser.calibrate import as_sure_as_right, surprise

    usual = LevelSettings()
    always = [chain_ending_in("S1") for _ in range(30)]
    often = [chain_ending_in("S1")] * 20 + [chain_ending_in("L5")] * 10

    sure, unsure = as_sure_as_right(always, usual), as_sure_as_right(often, usual)

    confident = [named(chain, one) for chain, one in ((always[0], sure), (often[0], unsure))]
    # Right as they are on images like the training ones, names get no surer than usual.
    assert sure == usual
    assert confident[0] > 0.85
    assert confident[1] == pytest.approx(2 / 3, abs=0.1)
    assert surprise(often, unsure) < surprise(often, sure)
    assert as_sure_as_right(always[:3], usual) == usual


def named(chain: TrueChain, settings: LevelSettings) -> float:
    return name_levels(chain.seen, chain.centres_lps_mm, settings).sureness


def test_the_sacrum_counts_as_seen_from_a_share_that_no_other_body_reaches() -> None:
    from training.localiser.calibrate import Body, Counted, fitted

    usual = LevelSettings()
    sacral = [Body("S1", np.nan, share) for share in np.linspace(0.04, 1.0, 40)]
    clean = [Body("L4", np.nan, 0.01) for _ in range(400)]
    taken = [Body("L5", np.nan, 0.06) for _ in range(8)]

    sure = fitted(Counted((*sacral, *clean), ()), usual)
    doubtful = fitted(Counted((*sacral, *clean, *taken), ()), usual)

    assert sure.sacrum_share == 0.02
    assert doubtful.sacrum_share == 0.08
    # A name that hangs on a share as small as that is doubtful all the same.
    assert named(chain_ending_in("S1", 0.04), sure) < sure.doubtful
    assert named(chain_ending_in("S1", 0.9), sure) > sure.doubtful
    # Where L5 often looks like S1 the default is as far as it goes.
    often = [Body("L5", np.nan, 0.5) for _ in range(40)]
    assert fitted(Counted((*sacral, *clean, *often), ()), usual) == usual


def test_a_numbering_is_doubtful_from_a_limit_that_flags_few_that_are_right() -> None:
    from training.localiser.calibrate import DOUBTFUL, Counted, fitted

    sure = [chain_ending_in("S1", 0.9) for _ in range(40)]
    faint = chain_ending_in("S1", 0.2)
    least = named(faint, LevelSettings())
    assert DOUBTFUL[0] < least < DOUBTFUL[-1]

    few = fitted(Counted((), (), (*sure, faint)), LevelSettings())
    many = fitted(Counted((), (), (*sure, *[faint] * 20)), LevelSettings())
    wrong = fitted(Counted((), (), (*sure, *[chain_ending_in("L5", 0.2)] * 5)), LevelSettings())

    assert few.doubtful == DOUBTFUL[-1]
    assert many.doubtful < DOUBTFUL[-1]
    # What is named wrong should be flagged: it does not count against the limit.
    assert wrong.doubtful == DOUBTFUL[-1]
