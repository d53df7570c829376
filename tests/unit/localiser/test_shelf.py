"""Crops that are shown again: which, how often, and what is changed about them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

pytest.importorskip("torch", reason="needs the [train] extra")

import torch

from training.localiser.shelf import Batch, Shelf, collated

pytestmark = pytest.mark.train

CPU = torch.device("cpu")


def crop(number: int) -> Batch:
    """A crop that tells its number: in the first slice alone, so that mirroring shows."""
    structure = torch.zeros(3, 4, 4, dtype=torch.uint8)
    structure[0] = number
    image = torch.zeros(2, 3, 4, 4)
    image[:, 0, :2] = 0.5
    offsets = torch.zeros(2, 3, 4, 4)
    offsets[:, 0] = 1.0
    return {"image": image, "structure": structure, "offsets": offsets}


def stream(last: int | None = None) -> Iterator[Batch]:
    number = 0
    while last is None or number < last:
        yield collated([crop(number % 250), crop((number + 1) % 250)])
        number += 2


def numbers(batch: Batch) -> list[int]:
    return sorted(int(structure.max()) for structure in batch["structure"])


def test_no_crop_is_shown_more_often_than_asked_in_the_mean() -> None:
    shelf = Shelf(stream(), CPU, size=8, shown=2.0)
    for drawn in range(1, 30):
        assert len(set(numbers(shelf.draw(4)))) == 4
        assert 4 * drawn <= 2.0 * shelf.received


def test_the_newest_crops_are_kept() -> None:
    shelf = Shelf(stream(last=60), CPU, size=8, shown=1.0)
    batches = shelf.batches(4)
    shown = [numbers(next(batches)) for _ in range(10)]
    assert all(max(one) < 60 for one in shown)
    # What is drawn after at least n crops have come is among the last eight of those that had.
    assert all(min(one) >= 4 * (at + 1) - 8 for at, one in enumerate(shown))


def test_a_shown_crop_is_mirrored_or_not_and_blank_where_it_was_blank() -> None:
    torch.manual_seed(0)
    batch = Shelf(stream(), CPU, size=64, shown=1.0).draw(40)
    assert {name: value.dtype for name, value in batch.items()} == {
        "image": torch.float32, "structure": torch.uint8, "offsets": torch.float32,
    }  # fmt: skip
    mirrored = 0
    for image, structure, offsets in zip(*batch.values(), strict=True):
        seen = image.any(dim=0)
        assert int(seen.sum()) == 8
        # Image and truth are mirrored together.
        first = 0 if seen[0].any() else 2
        mirrored += first == 2
        assert not structure.any() or structure[first].any()
        assert offsets[:, first].all()
        assert not offsets[:, 2 - first].any()
        assert not seen[:, 2:].any()
        assert float(image.max()) <= 2.0
    assert 8 < mirrored < 32
    levels = batch["image"][batch["image"] > 0]
    assert float(levels.std()) > 0.02


def test_a_shelf_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="a shelf of 2 crops gives no batch of 4"):
        Shelf(stream(), CPU, size=2, shown=1.0).draw(4)


def test_an_error_of_those_who_cut_reaches_the_one_that_learns() -> None:
    def broken() -> Iterator[Batch]:
        yield collated([crop(0), crop(1)])
        raise ValueError("no such recipe")

    # Which of the two draws meets it depends on how soon the error came.
    shelf = Shelf(broken(), CPU, size=4, shown=1.0)
    with pytest.raises(ValueError, match="no such recipe"):
        list(islice(shelf.batches(2), 2))
