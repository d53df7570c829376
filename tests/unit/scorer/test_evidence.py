from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from models.scorer.crops import CHANNELS, CROP_SHAPE, PRESENCE
from models.scorer.evidence import EXPLAINED, ExplainedScorer
from models.scorer.heads import HEADS
from models.scorer.network import ScorerNetwork

pytestmark = pytest.mark.train


def crops_of(own: slice, others: slice) -> torch.Tensor:
    crops = 0.3 * torch.randn(2, len(CHANNELS), *CROP_SHAPE)
    crops[:, -2:] = 0.0
    crops[:, -2:, 3:9, own, 10:34] = 1.0
    crops[:, -1, 3:9, others, 10:34] = 1.0
    return crops


def test_evidence_is_in_the_own_body_and_leaves_the_answers_as_they_are() -> None:
    torch.manual_seed(0)
    explained = ExplainedScorer().eval()
    plain = ScorerNetwork().eval()
    plain.load_state_dict(explained.state_dict())
    crops, presence = crops_of(slice(28, 44), slice(52, 68)), torch.ones(2, len(PRESENCE))
    with torch.no_grad():
        edema, heads, evidence = explained(crops, presence)
        expected = plain(crops, presence)
    assert torch.equal(edema, expected[0])
    assert torch.equal(heads, expected[1])
    assert evidence.shape == edema.shape
    assert float(evidence[:, :, :, 24:].abs().max()) == 0.0  # the neighbour below
    assert float(evidence[:, :, :, 15:21].abs().max()) > 0.0


def test_evidence_adds_up_to_what_the_traced_features_add_to_the_logit() -> None:
    """Against a finite difference: the own body's T1 is moved and the logit follows the map."""
    torch.manual_seed(1)
    network = ExplainedScorer().eval().double()
    crops = crops_of(slice(28, 44), slice(52, 68)).double()
    presence = torch.ones(2, len(PRESENCE), dtype=torch.float64)
    with torch.no_grad():
        pooled = network._pool(crops, presence).given
        gradient = network._slope(pooled)
        hidden = network.heads[0](pooled)
        bias = network.heads[3].bias[HEADS.index(EXPLAINED)]
        gates = (hidden > 0).double() @ torch.diag(network.heads[3].weight[HEADS.index(EXPLAINED)])
        rest = gates @ network.heads[0].bias + bias
        logit = network.heads(pooled)[:, HEADS.index(EXPLAINED)]
    np.testing.assert_allclose((gradient * pooled).sum(dim=1) + rest, logit, atol=1e-9)


def test_a_body_like_its_neighbours_has_no_evidence_from_its_signal() -> None:
    torch.manual_seed(2)
    network = ExplainedScorer().eval()
    for name, value in network.named_parameters():
        if name.startswith("heads.0.weight"):
            # Only the readings of the signal count: what convolutions see at borders does not.
            value.data[:, : -3 * 32 - 14] = 0.0
    crops = torch.zeros(1, len(CHANNELS), *CROP_SHAPE)
    crops[:, -2:, 3:9, 28:44, 10:34] = 1.0
    crops[:, -1, 3:9, 52:68, 10:34] = 1.0
    crops[:, :4] = 0.1
    with torch.no_grad():
        same = float(network(crops, torch.ones(1, len(PRESENCE)))[2].abs().sum())
        crops[:, 1, 3:9, 28:44, 10:34] = -0.9
        other = float(network(crops, torch.ones(1, len(PRESENCE)))[2].abs().sum())
    assert other > 20 * same
