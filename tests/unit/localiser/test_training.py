"""Crops, loss, loop and export, on synthetic patients drawn on the fly."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from models.errors import VersionTakenError
from models.findings import StudyVolumes
from models.geometry import Spacing
from models.localiser.classes import Structure
from models.localiser.evidence import LevelSettings
from models.localiser.localiser import Localiser, level_settings
from tests.unit.localiser.chain import chain, grid_affine, painted

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch")
# Two threads on busy cores are several times slower than one.
torch.set_num_threads(1)


def crops(count: int, **changes: float) -> list[dict[str, torch.Tensor]]:
    from training.localiser.crops import CropSettings, CropStream
    from training.phantom.recipe import load_recipe

    settings = CropSettings(slices=8, rows=96, columns=96, **changes)
    stream = iter(CropStream([load_recipe("train")], settings, seed=5))
    return [next(stream) for _ in range(count)]


@pytest.mark.parametrize("turned", [0.0, 1.0])
def test_votes_meet_at_the_bodies_centres(turned: float) -> None:
    met = 0
    for crop in crops(6, turned=turned, ragged=0.0):
        structure = crop["structure"].numpy()
        bone = (structure == Structure.BODY) | (structure == Structure.SACRUM_S1)
        offsets = crop["offsets"].numpy() * 10.0
        if not bone.any():  # cut from the side of the stack, beside the bodies
            assert not offsets.any()
            continue
        met += 1
        rows, columns = np.indices(structure.shape[1:])
        votes = np.stack([(rows + offsets[0])[bone], (columns + offsets[1])[bone]], axis=1)
        # Few different places, each a body's centre, and none of them far from its voxels.
        assert len(np.unique(np.round(votes), axis=0)) < 40
        assert np.abs(offsets[:, bone]).max() < 45.0
        assert not offsets[:, ~bone].any()
    assert met >= 4


def test_crops_are_as_the_network_wants_them() -> None:
    for crop in crops(4):
        assert crop["image"].shape == (2, 8, 96, 96)
        assert crop["image"].dtype == torch.float32
        assert crop["structure"].dtype == torch.uint8
        assert float(crop["image"].min()) >= 0.0
        assert float(crop["image"].max()) <= 2.0


def test_an_edge_inside_the_crop_is_blank_for_image_and_truth() -> None:
    for crop in crops(8, ragged=1.0, turned=0.0, spoilt=0.0):
        image, structure = crop["image"].numpy(), crop["structure"].numpy()
        blank = ~image.any(axis=(0, 1))
        assert blank.all(axis=1).any() or blank.all(axis=0).any()
        assert not structure[:, blank].any()


def test_loss_falls_on_one_crop() -> None:
    from models.localiser.network import LocaliserNetwork
    from training.localiser.loss import localiser_loss

    torch.manual_seed(0)
    batch = {key: value[None] for key, value in crops(1)[0].items()}
    network = LocaliserNetwork((4, 6, 8, 8))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        answer = network(batch["image"])
        loss = localiser_loss(*answer, batch["structure"], batch["offsets"])
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_perfect_answer_has_next_to_no_loss() -> None:
    from training.localiser.loss import localiser_loss

    structure = torch.randint(0, len(Structure), (1, 4, 16, 16), dtype=torch.uint8)
    logits = 40.0 * torch.nn.functional.one_hot(structure.long(), len(Structure)).movedim(-1, 1)
    offsets = torch.randn(1, 2, 4, 16, 16)

    loss = localiser_loss(logits.float(), offsets, structure, offsets)

    assert float(loss.total) < 0.01
    wrong = localiser_loss(logits.float(), offsets + 1.0, structure, offsets)
    assert wrong.offsets > 1.0


def test_classes_between_answers_follow_the_probability() -> None:
    from models.localiser.network import most_probable

    logits = torch.full((1, len(Structure), 1, 4, 4), -20.0)
    logits[:, Structure.BACKGROUND] = 0.0
    logits[:, Structure.BODY, :, 2:] = 20.0
    said = most_probable(logits)[0, 0]
    assert said.shape == (8, 8)
    assert (said[:4] == Structure.BACKGROUND).all()
    assert (said[4:] == Structure.BODY).all()
    # A square that is nearly all body is more than its own pixels: the edge moves outwards.
    logits[:, Structure.BODY, :, 1] = -0.5
    assert (most_probable(logits)[0, 0, 3] == Structure.BODY).all()


def test_training_is_resumed_where_it_ended(tmp_path: Path) -> None:
    from training.localiser.crops import CropSettings
    from training.localiser.fit import CHECKPOINT, LOG, FitSettings, fit, load_averaged
    from training.phantom.recipe import load_recipe

    small = CropSettings(slices=8, rows=64, columns=64)
    settings = FitSettings(steps=2, batch=1, workers=0, log_every=1)
    recipe = load_recipe("train")
    fit([recipe], tmp_path, small, settings)
    network = fit([recipe], tmp_path, small, FitSettings(steps=3, batch=1, workers=0, log_every=1))

    steps = [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()]
    assert steps == [1, 2, 3]
    stored = load_averaged(tmp_path / CHECKPOINT).state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, stored[name])


def test_a_run_may_end_part_of_the_way_from_where_it_began(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from models.localiser.network import LocaliserNetwork, ServedLocaliser
    from training.localiser.crops import CropSettings
    from training.localiser.fit import FitSettings, fit
    from training.phantom.recipe import load_recipe

    torch.manual_seed(4)
    begun = LocaliserNetwork()
    save_file(ServedLocaliser(begun).state_dict(), tmp_path / "start.safetensors")

    def ended(kept: float, folder: str) -> dict[str, torch.Tensor]:
        network = fit(
            [load_recipe("train")],
            tmp_path / folder,
            CropSettings(slices=8, rows=64, columns=64),
            FitSettings(steps=2, batch=1, workers=0, averaging=0.0, kept=kept),
            tmp_path / "start.safetensors",
        )
        return network.state_dict()

    whole, half = ended(1.0, "whole"), ended(0.5, "half")
    again = ended(0.5, "half")  # it is over: nothing more is learned, and no quarter taken
    weight = "encoder.0.0.enter.conv.weight"
    middle = 0.5 * (begun.state_dict()[weight] + whole[weight])
    assert not torch.allclose(whole[weight], begun.state_dict()[weight], atol=1e-4)
    assert torch.allclose(half[weight], middle, atol=1e-6)
    assert torch.equal(again[weight], half[weight])


def test_half_precision_of_filters_leaves_weights_in_single(tmp_path: Path) -> None:
    from training.localiser.crops import CropSettings
    from training.localiser.fit import FitSettings, fit
    from training.phantom.recipe import load_recipe

    small = CropSettings(slices=8, rows=64, columns=64)
    whole, half = (
        fit(
            [load_recipe("train"), load_recipe("rough")],
            tmp_path / str(bfloat16),
            small,
            FitSettings(steps=2, batch=1, workers=0, averaging=0.0, bfloat16=bfloat16),
        ).state_dict()
        for bfloat16 in (False, True)
    )
    for name, value in half.items():
        assert value.dtype == whole[name].dtype
        assert torch.isfinite(value).all()
    # The same crops and nearly the same steps: what is learned differs by rounding alone.
    weight = "stem.conv.weight"
    assert not torch.equal(half[weight], whole[weight])
    assert torch.allclose(half[weight], whole[weight], atol=0.01)


def test_learning_rate_rises_then_falls_to_nearly_nothing() -> None:
    from training.localiser.fit import FitSettings, learning_rate

    settings = FitSettings()
    rates = [learning_rate(progress, settings) for progress in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(settings.peak_rate)
    assert 5 <= peak <= 10
    assert rates == sorted(rates[: peak + 1]) + sorted(rates[peak + 1 :], reverse=True)
    assert rates[-1] < 0.01 * settings.peak_rate


def test_a_version_that_is_taken_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.localiser.bundle import main

    (tmp_path / "localiser" / "9.0.0").mkdir(parents=True)
    words = ["--checkpoint", "nowhere.pt", "--version", "9.0.0", "--store", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bundle", *words, "--evaluation", "nowhere.json"])
    with pytest.raises(VersionTakenError, match=r"localiser 9\.0\.0 is already there"):
        main()


def test_bundle_serves_what_was_trained(tmp_path: Path) -> None:
    from models.localiser.network import LocaliserNetwork, ServedLocaliser
    from models.runtime import open_session
    from training.export import export_bundle
    from training.localiser.bundle import draft, figures_of
    from training.localiser.fit import Trained
    from training.localiser.session import CheckpointSession

    torch.manual_seed(1)
    network = LocaliserNetwork()
    evaluation = {"groups": {"T1": {"series": 0}}}
    trained = Trained(steps=7, minutes=0.5)
    described = draft(
        "0.1.0", {"levels": asdict(LevelSettings(lumbar_6=0.05))}, figures_of(evaluation), trained
    )
    bundle, parity = export_bundle(ServedLocaliser(network).eval(), described, tmp_path)

    assert parity.largest < 1e-3
    assert parity.eight_bit is None
    assert level_settings(bundle.metadata).lumbar_6 == 0.05
    shape = (6, 90, 70)
    affine = grid_affine(Spacing(4.0, 1.0, 1.0), shape, np.array([8.0, 8.0, -40.0]))
    study = StudyVolumes(painted(chain(3), affine, shape), {})
    served = Localiser(open_session(bundle, "cpu"), bundle.metadata)(study)
    ours = Localiser(CheckpointSession(network.eval()), {})(study)
    assert (served.labels == ours.labels).mean() > 0.999


def test_eight_bits_answer_nearly_as_float_does(tmp_path: Path) -> None:
    from models.localiser.network import LocaliserNetwork, ServedLocaliser
    from training.export import EIGHT_BIT_LIMIT, export_bundle
    from training.localiser.bundle import draft
    from training.localiser.crops import whole_images
    from training.localiser.fit import Trained

    torch.manual_seed(1)
    network = ServedLocaliser(LocaliserNetwork()).eval()
    seen = whole_images(2)
    described = draft("0.1.0", {}, (), Trained(steps=7, minutes=0.5))
    graphs = []
    for store in (tmp_path / "one", tmp_path / "other"):
        bundle, parity = export_bundle(network, described, store, eight_bit=seen)
        graphs.append((bundle.path / "model.onnx").read_bytes())
        assert parity.eight_bit is not None
        assert 0.0 < parity.eight_bit <= EIGHT_BIT_LIMIT
    assert graphs[0] == graphs[1]
    assert b"QuantizeLinear" in graphs[0]
    assert bundle.metadata["vertebral_acuity"]["arithmetic"] == "int8"


def test_places_are_hidden_and_the_truth_of_them_is_not() -> None:
    from training.localiser.crops import _hide_places

    rng = np.random.default_rng(0)
    structure = np.zeros((12, 192, 160), np.uint8)
    structure[4:8, 150:180, 60:90] = Structure.SACRUM_S1
    image = rng.uniform(0.5, 1.5, (2, *structure.shape)).astype(np.float32)
    image[..., 170:, :] = 0.0
    near = []
    for _ in range(20):
        shown, truth = image.copy(), structure.copy()
        _hide_places(shown, truth, rng)
        changed = np.abs(shown - image) > 0.05
        assert changed.mean() < 0.25
        assert np.array_equal(truth, structure)
        assert not shown[..., 170:, :].any()
        near.append(changed[:, :, 110:, 20:130].any())
    assert sum(near) > 14


def test_as_many_crops_have_hidden_places_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.localiser import crops as module

    hidden = []
    monkeypatch.setattr(module, "_hide_places", lambda *_: hidden.append(1))
    crops(4, hidden=0.0)
    assert not hidden
    crops(4, hidden=1.0)
    assert len(hidden) >= 4


def test_an_image_may_end_within_a_body() -> None:
    ended = 0
    for crop in crops(8, cut_through=1.0, turned=0.0, spoilt=0.0):
        image, structure = crop["image"].numpy(), crop["structure"].numpy()
        shown = np.flatnonzero(image.any(axis=(0, 1, 3)))
        bone = np.isin(structure, (Structure.BODY, Structure.SACRUM_S1, Structure.C2))
        rows = np.flatnonzero(bone.any(axis=(0, 2)))
        if len(rows) and len(shown) < structure.shape[1]:
            # The last row of the image, on the side where it ends, still holds bone.
            ended += rows[-1] == shown[-1] or rows[0] == shown[0]
        assert not structure[:, ~image.any(axis=(0, 1, 3))].any()
    assert ended >= 4
