"""Only through the gates, signed, and byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="needs the [train] extra")

from models.errors import BundleError
from models.registry import Bundle, install, resolve
from models.serving import read_promotion, turns
from models.signing import SignatureError, make_keys, read_public_key, verified
from tests.unit.runtime.bundles import content
from training.judging.compare import SCHEMA
from training.judging.errors import GateError
from training.judging.promote import promote

pytestmark = pytest.mark.train


class Shop:
    """A store that serves 1.0.0, a candidate 1.1.0, a key and a comparison of the two."""

    def __init__(self, folder: Path) -> None:
        self.store, self.key, self.public = folder / "s", folder / "k", folder / "p"
        self.comparison = folder / "comparison.json"
        make_keys(self.key, self.public)
        self.served = install(content("scorer", "1.0.0", b"old"), self.store)
        self.candidate = install(content("scorer", "1.1.0", b"new"), folder / "candidates")
        self.compare()

    def compare(self, *, passed: bool = True, **changes: object) -> None:
        gate = {"name": "edema.auroc", "difference": 0.0, "bound": 0.0, "margin": 0.03}
        found = {
            "schema": SCHEMA,
            "passed": passed,
            "gates": [gate | {"passed": passed}],
            "data_sha256": "d" * 64,
            "served": {"version": "1.0.0", "sha256": self.served.sha256},
            "candidate": {"version": "1.1.0", "sha256": self.candidate.sha256},
        }
        self.comparison.write_text(json.dumps(found | changes))

    def promote(self, candidate: Bundle | None = None) -> Path:
        return promote(candidate or self.candidate, self.comparison, self.key, self.store)

    @property
    def serving(self) -> str:
        return resolve("scorer", bundle_dir=self.store).version


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_what_passed_serves_and_says_what_it_rests_on(shop: Shop) -> None:
    shop.promote()
    assert shop.serving == "1.1.0"
    record = read_promotion(shop.store, "scorer", "1.1.0")
    statement = verified(record, read_public_key(shop.public))
    assert statement["sha256"] == shop.candidate.sha256
    assert statement["replaces"] == {"version": "1.0.0", "sha256": shop.served.sha256}
    assert statement["data_sha256"] == "d" * 64
    assert len(statement["comparison_sha256"]) == 64
    assert [turn.version for turn in turns(shop.store, "scorer")] == ["1.0.0", "1.1.0"]


def test_a_failed_gate_keeps_it_out(shop: Shop) -> None:
    shop.compare(passed=False)
    with pytest.raises(GateError, match=r"edema\.auroc not passed") as caught:
        shop.promote()
    assert caught.value.code == "gates_not_passed"
    assert shop.serving == "1.0.0"
    assert not (shop.store / "scorer" / "1.1.0").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"gates": []}, "no gate"),
        ({"schema": "0"}, "another version"),
        ({"candidate": {"sha256": "f" * 64}}, "not of this candidate"),
        ({"served": {"sha256": "f" * 64}}, "compare again"),
    ],
)
def test_a_comparison_of_something_else_proves_nothing(
    shop: Shop, changes: dict[str, object], told: str
) -> None:
    shop.compare(**changes)  # type: ignore[arg-type]
    with pytest.raises(GateError, match=told):
        shop.promote()
    assert shop.serving == "1.0.0"


def test_a_comparison_that_cannot_be_read(shop: Shop) -> None:
    shop.comparison.write_text("{")
    with pytest.raises(GateError, match="cannot be read"):
        shop.promote()


def test_a_changed_candidate_and_a_missing_key(shop: Shop) -> None:
    weights = shop.candidate.path / "model.onnx"
    whole = weights.read_bytes()
    weights.write_bytes(b"x")
    with pytest.raises(BundleError, match="SHA-256 does not match"):
        shop.promote()
    weights.write_bytes(whole)
    shop.key.unlink()
    with pytest.raises(SignatureError):
        shop.promote()
    assert shop.serving == "1.0.0"
    assert not (shop.store / "scorer" / "1.1.0").exists()


def test_a_version_that_is_taken_by_another_bundle(shop: Shop) -> None:
    install(content("scorer", "1.1.0", b"other"), shop.store)
    shop.compare(served={"sha256": resolve("scorer", bundle_dir=shop.store).sha256})
    with pytest.raises(BundleError, match="already installed"):
        shop.promote()
