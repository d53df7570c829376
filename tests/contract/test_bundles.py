"""Every bundle that ships: whole, honest about itself, and the same network in both runtimes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.manifest import CARD, MODEL_ONNX, MODEL_SAFETENSORS, SECTION
from models.registry import bundle_folders, find_bundles, open_verified, read_bundle, verify
from models.runtime import load_network, open_session

SHIPPED = bundle_folders()
LARGEST_BYTES = 24 << 20
every_bundle = pytest.mark.parametrize(
    "folder", SHIPPED, ids=[f"{folder.parent.name}-{folder.name}" for folder in SHIPPED]
)


def test_localiser_and_scorer_ship() -> None:
    assert {"localiser", "scorer"} <= {bundle.name for bundle in find_bundles()}


@every_bundle
def test_it_is_whole(folder: Path) -> None:
    bundle = read_bundle(folder)
    verify(bundle)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= LARGEST_BYTES
    assert bundle.version in bundle.metadata["changelog"]


@every_bundle
def test_its_card_says_what_a_reader_must_know(folder: Path) -> None:
    card = open_verified(read_bundle(folder))[CARD].decode()
    for heading in ("## Intended use", "## Training data", "## Figures", "## Limitations"):
        assert heading in card
    assert "synthetic" in card.lower()


@every_bundle
def test_it_holds_no_trace_of_the_machine_that_made_it(folder: Path) -> None:
    for data in open_verified(read_bundle(folder)).values():
        for trace in ("site-packages", "/home/", str(Path(__file__).resolve().parents[2])):
            assert trace.encode() not in data


@every_bundle
def test_it_opens_on_the_cpu(folder: Path) -> None:
    bundle = read_bundle(folder)
    session = open_session(bundle, "cpu")
    assert session.input_names == tuple(tensor.name for tensor in bundle.manifest.inputs)


@pytest.mark.train
@every_bundle
def test_both_runtimes_agree(folder: Path) -> None:
    from training.export import (
        EIGHT_BIT_LIMIT,
        PARITY_LIMIT,
        compare_runtimes,
        mean_difference,
        plain_inputs,
    )
    from training.localiser.crops import whole_images

    bundle = read_bundle(folder)
    content = open_verified(bundle)
    network = load_network(bundle.network, content[MODEL_SAFETENSORS])
    runtimes = network, content[MODEL_ONNX], bundle.manifest
    if bundle.metadata[SECTION]["arithmetic"] == "int8":
        # Of other patients than those whose ranges the graph has.
        away = mean_difference(*runtimes, whole_images(3, "validate"))
        assert 1e-6 < away <= EIGHT_BIT_LIMIT
    else:
        parity = compare_runtimes(*runtimes, plain_inputs(bundle.manifest))
        assert parity.largest <= PARITY_LIMIT, parity


@every_bundle
def test_its_metadata_is_plain_json(folder: Path) -> None:
    """No `$expression` of MONAI's config language: nothing in a bundle is a program."""
    text = (folder / "metadata.json").read_text(encoding="utf-8")
    assert json.loads(text)
    assert '"$' not in text
    assert '"_target_"' not in text
