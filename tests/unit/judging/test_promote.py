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
from training.judging.errors import ComparisonChangedError, GateError, LooseMarginsError
from training.judging.promote import main, promote
from training.judging.verdict import SCHEMA, Margins, holds, sealed

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

    def compare(self, *, passed: bool = True, margin: float = 0.03, **changes: object) -> None:
        bound = 0.0 if passed else -0.9
        gate = {"name": "edema.auroc", "difference": 0.0, "bound": bound, "margin": margin}
        found = {
            "schema": SCHEMA,
            "passed": passed,
            "gates": [gate | {"passed": passed}],
            "data_sha256": "d" * 64,
            "served": {"version": "1.0.0", "sha256": self.served.sha256},
            "candidate": {"version": "1.1.0", "sha256": self.candidate.sha256},
        }
        self.comparison.write_text(json.dumps(sealed(found | changes)))

    def edit(self, **changes: object) -> None:
        """Change the comparison by hand, its digest left as it is."""
        self.comparison.write_text(json.dumps(json.loads(self.comparison.read_text()) | changes))

    def promote(self, candidate: Bundle | None = None, because: str | None = None) -> Path:
        given = candidate or self.candidate
        return promote(given, self.comparison, self.key, self.store, because)

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


def test_a_comparison_that_was_edited_proves_nothing(shop: Shop) -> None:
    shop.compare(passed=False)
    gates = json.loads(shop.comparison.read_text())["gates"]
    shop.edit(passed=True, gates=[gate | {"passed": True, "bound": 0.0} for gate in gates])
    with pytest.raises(ComparisonChangedError, match="compare again") as caught:
        shop.promote()
    assert caught.value.code == "comparison_changed"
    assert shop.serving == "1.0.0"


def test_a_comparison_without_a_digest_proves_nothing(shop: Shop) -> None:
    found = json.loads(shop.comparison.read_text())
    del found["content_sha256"]
    shop.comparison.write_text(json.dumps(found))
    with pytest.raises(ComparisonChangedError):
        shop.promote()


def test_a_verdict_is_formed_anew_from_the_bound(shop: Shop) -> None:
    """Who edits and makes a new digest has to change the figures too, and these are signed."""
    gate = {"name": "edema.missed", "difference": 0.2, "bound": 0.3, "margin": 0.1, "passed": True}
    shop.compare(gates=[gate])
    with pytest.raises(ComparisonChangedError, match=r"edema\.missed: bound and verdict"):
        shop.promote()
    shop.compare(gates=[gate | {"name": "edema.nothing", "passed": False}], passed=False)
    with pytest.raises(GateError):
        shop.promote()


def test_margins_wider_than_the_products_need_a_reason_that_is_signed(shop: Shop) -> None:
    shop.compare(margin=0.2)
    for because in (None, "", "  "):
        with pytest.raises(
            LooseMarginsError, match=r"edema\.auroc 0\.2 \(at most 0\.03\)"
        ) as caught:
            shop.promote(because=because)
        assert caught.value.code == "margins_too_loose"
        assert shop.serving == "1.0.0"
    shop.promote(because="three scanners, few fractures")
    record = read_promotion(shop.store, "scorer", "1.1.0")
    statement = verified(record, read_public_key(shop.public))
    assert statement["margins_loosened_because"] == "three scanners, few fractures"
    assert statement["gates"][0]["margin"] == 0.2


@pytest.mark.parametrize("margin", [0.0, 0.03])
def test_a_reason_that_is_not_needed_is_not_signed(shop: Shop, margin: float) -> None:
    shop.compare(margin=margin)
    shop.promote(because="to be sure")
    statement = read_promotion(shop.store, "scorer", "1.1.0")["statement"]
    assert "margins_loosened_because" not in statement


def test_the_command_takes_the_reason(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.compare(margin=0.2)
    words = ["--candidate", shop.candidate.path, "--comparison", shop.comparison]
    words += ["--key", shop.key, "--into", shop.store]
    with pytest.raises(LooseMarginsError, match="--loose-margins"):
        main([str(word) for word in words])
    main([str(word) for word in [*words, "--loose-margins", "a reason"]])
    assert capsys.readouterr().out.strip().endswith("1.1.0.promotion.json")
    assert shop.serving == "1.1.0"


@pytest.mark.parametrize(
    ("name", "bound", "passes"),
    [
        ("edema.auroc", -0.03, True),
        ("edema.auroc", -0.031, False),
        ("edema.missed", 0.03, True),
        ("edema.missed", 0.031, False),
        ("edema.false", -0.5, True),
        ("bodies.named", 0.5, True),
        ("fracture.ece", 0.5, False),
        ("edema.right", float("nan"), False),
        ("edema.ece", float("nan"), False),
    ],
)
def test_what_must_not_fall_and_what_must_not_grow(name: str, bound: float, passes: bool) -> None:
    assert holds(name, bound, Margins().auroc) is passes
