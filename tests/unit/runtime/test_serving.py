"""Which version serves: promotion, the way back, and signatures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import BundleError
from models.registry import install, resolve
from models.serving import (
    RollbackError,
    promotion_path,
    require_signature,
    roll_back,
    serve,
    turns,
    write_promotion,
)
from models.signing import (
    SignatureError,
    make_keys,
    read_private_key,
    read_public_key,
    signed,
    verified,
)
from tests.unit.runtime.bundles import content


def put(store: Path, version: str) -> tuple[str, str]:
    bundle = install(content("scorer", version, version.encode()), store)
    return bundle.version, bundle.sha256


def test_what_was_promoted_serves_and_not_the_newest(tmp_path: Path) -> None:
    old, new, newest = (put(tmp_path, version) for version in ("1.0.0", "1.1.0", "2.0.0"))
    assert resolve("scorer", bundle_dir=tmp_path).version == "2.0.0"
    serve(tmp_path, "scorer", new, old)
    assert resolve("scorer", bundle_dir=tmp_path).version == "1.1.0"
    assert resolve("scorer@2.0.0", bundle_dir=tmp_path).sha256 == newest[1]


def test_a_promotion_may_replace_the_shipped_bundle_and_give_way_to_it_again(
    tmp_path: Path,
) -> None:
    shipped = resolve("scorer")
    serve(tmp_path, "scorer", put(tmp_path, "9.0.0"), (shipped.version, shipped.sha256))
    assert resolve("scorer", bundle_dir=tmp_path).version == "9.0.0"
    roll_back(tmp_path, "scorer")
    assert resolve("scorer", bundle_dir=tmp_path).sha256 == shipped.sha256


def test_rolling_back_goes_down_the_history_step_by_step(tmp_path: Path) -> None:
    first, second, third = (put(tmp_path, version) for version in ("1.0.0", "2.0.0", "3.0.0"))
    serve(tmp_path, "scorer", second, first)
    serve(tmp_path, "scorer", third, second)
    assert roll_back(tmp_path, "scorer").version == "2.0.0"
    assert roll_back(tmp_path, "scorer").version == "1.0.0"
    with pytest.raises(RollbackError):
        roll_back(tmp_path, "scorer")
    serve(tmp_path, "scorer", third, first)
    assert roll_back(tmp_path, "scorer").version == "1.0.0"
    assert [turn.why for turn in turns(tmp_path, "scorer")] == [
        "before", "promoted", "promoted", "rolled_back", "rolled_back", "promoted", "rolled_back",
    ]  # fmt: skip


def test_nothing_to_go_back_to(tmp_path: Path) -> None:
    put(tmp_path, "1.0.0")
    with pytest.raises(RollbackError, match="no version"):
        roll_back(tmp_path, "scorer")


def test_another_bundle_under_the_promoted_version_is_refused(tmp_path: Path) -> None:
    version, _ = put(tmp_path, "1.0.0")
    serve(tmp_path, "scorer", (version, "f" * 64), (version, "f" * 64))
    with pytest.raises(BundleError, match="not the one that was promoted"):
        resolve("scorer", bundle_dir=tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1, "turns": []}', '{"schema": 2}'])
def test_a_damaged_history_is_an_error_and_not_another_version(tmp_path: Path, text: str) -> None:
    put(tmp_path, "1.0.0")
    (tmp_path / "scorer" / "serving.json").write_text(text)
    with pytest.raises(BundleError):
        resolve("scorer", bundle_dir=tmp_path)


def test_the_history_and_the_records_are_no_versions(tmp_path: Path) -> None:
    bundle = put(tmp_path, "1.0.0")
    write_promotion(tmp_path, "scorer", "1.0.0", {})
    serve(tmp_path, "scorer", bundle, bundle)
    assert resolve("scorer", bundle_dir=tmp_path).version == "1.0.0"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    make_keys(tmp_path / "site.key", tmp_path / "site.pub")
    return tmp_path / "site.key", tmp_path / "site.pub"


def test_a_signature_holds_for_its_statement_and_key_only(
    keys: tuple[Path, Path], tmp_path: Path
) -> None:
    document = signed({"b": 1, "a": "ü"}, read_private_key(keys[0]))
    public = read_public_key(keys[1])
    again = json.loads(json.dumps(document, sort_keys=True))
    assert verified(again, public) == {"a": "ü", "b": 1}
    changed = document | {"statement": {"b": 2, "a": "ü"}}
    make_keys(tmp_path / "other.key", tmp_path / "other.pub")
    for wrong, key in (
        (changed, public),
        (document, read_public_key(tmp_path / "other.pub")),
        ({"statement": {}}, public),
        (document | {"signature": "!"}, public),
    ):
        with pytest.raises(SignatureError):
            verified(wrong, key)


def test_the_private_key_is_its_owners_and_is_not_overwritten(keys: tuple[Path, Path]) -> None:
    assert keys[0].stat().st_mode & 0o077 == 0
    with pytest.raises(SignatureError, match="not overwritten"):
        make_keys(*keys)
    with pytest.raises(SignatureError, match="cannot be read"):
        read_private_key(keys[1])


def test_a_site_with_a_key_takes_signed_bundles_only(
    keys: tuple[Path, Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    version, sha256 = put(store, "1.0.0")
    told, folder = ("scorer", version, sha256), store / "scorer" / version
    with pytest.raises(SignatureError, match="is not signed"):
        require_signature(store, told, folder, keys[1])
    secret = read_private_key(keys[0])
    statement = {"name": "scorer", "version": version, "sha256": sha256}
    write_promotion(store, "scorer", version, signed(statement, secret))
    require_signature(store, told, folder, keys[1])
    write_promotion(store, "scorer", version, signed(statement | {"sha256": "0" * 64}, secret))
    with pytest.raises(SignatureError, match="not what its record"):
        require_signature(store, told, folder, keys[1])
    promotion_path(store, "scorer", version).unlink()
    shipped = resolve("scorer")
    require_signature(store, ("scorer", shipped.version, shipped.sha256), shipped.path, keys[1])


def test_the_pipeline_refuses_an_unsigned_bundle(keys: tuple[Path, Path], tmp_path: Path) -> None:
    from service.pipeline import open_stages
    from service.settings import Settings

    put(tmp_path / "store", "1.0.0")
    settings = Settings(bundle_dir=tmp_path / "store", bundle_key=keys[1])
    with pytest.raises(SignatureError):
        open_stages(settings)
