from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import registry
from models.errors import BundleError, BundleMissingError, VersionTakenError
from models.manifest import METADATA
from models.registry import (
    Bundle,
    bundle_folders,
    find_bundles,
    import_bundle,
    install,
    open_verified,
    read_bundle,
    require_free,
    resolve,
    verify,
)
from tests.unit.runtime.bundles import content


@pytest.fixture(autouse=True)
def _no_packaged_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PACKAGED", tmp_path / "packaged")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "site"


def zipped(path: Path, files: dict[str, bytes], under: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(under + name, data)
    return path


def test_the_newest_version_is_meant(store: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.10.0-rc.1"):
        install(content(version=version), store)
    assert resolve("localiser", bundle_dir=store).version == "0.10.0"
    assert resolve("localiser", "0.9.0", store).version == "0.9.0"
    assert resolve("localiser@0.9.0", bundle_dir=store).version == "0.9.0"
    versions = [bundle.version for bundle in find_bundles(store)]
    assert versions == ["0.10.0", "0.10.0-rc.1", "0.9.0"]


def test_the_site_goes_before_a_newer_packaged_bundle(store: Path) -> None:
    install(content(version="2.0.0"), registry.PACKAGED)
    assert resolve("localiser", bundle_dir=store).version == "2.0.0"
    install(content(version="1.0.0"), store)
    assert resolve("localiser", bundle_dir=store).version == "1.0.0"
    assert resolve("localiser@2.0.0", bundle_dir=store).path.is_relative_to(registry.PACKAGED)


@pytest.mark.parametrize("name", ["scorer", "localiser@3.0.0", "../localiser", "", "a/b"])
def test_what_is_not_there_is_said(store: Path, name: str) -> None:
    install(content(), store)
    with pytest.raises(BundleMissingError) as caught:
        resolve(name, bundle_dir=store)
    assert str(store) not in str(caught.value)


def test_stray_entries_are_no_bundles(store: Path) -> None:
    install(content(), store)
    (store / "localiser" / ".1.0.1.abc.part").mkdir()
    (store / "localiser" / "notes").mkdir()
    (store / "README").write_text("x")
    assert [folder.name for folder in bundle_folders(store)] == ["1.0.0"]


def test_a_whole_bundle_is_read_as_it_was_written(store: Path) -> None:
    files = content()
    bundle = install(files, store)
    verify(bundle)
    assert open_verified(bundle) == {k: v for k, v in files.items() if k != METADATA}
    assert bundle == resolve("localiser", bundle_dir=store)


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "card.md", METADATA])
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_one_changed_byte_is_found(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    bundle = install(content(), tmp_path_factory.mktemp("store"))
    raw = bytearray((bundle.path / name).read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    (bundle.path / name).write_bytes(raw)
    with pytest.raises(BundleError, match=r"localiser 1\.0\.0"):
        verify(bundle)
    with pytest.raises(BundleError):
        verify(read_bundle(bundle.path))


def test_missing_and_surplus_files_are_found(store: Path) -> None:
    bundle = install(content(), store)
    (bundle.path / "weights.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match="does not list"):
        verify(bundle)
    (bundle.path / "weights.pkl").unlink()
    (bundle.path / "card.md").unlink()
    with pytest.raises(BundleError, match=r"card\.md missing"):
        verify(bundle)
    (bundle.path / METADATA).unlink()
    with pytest.raises(BundleMissingError):
        resolve("localiser", bundle_dir=store)


def test_a_manifest_replaced_by_another_whole_one_is_found(store: Path, tmp_path: Path) -> None:
    bundle = install(content(), store)
    other = install(content(weights=b"v"), tmp_path / "other")
    for entry in other.path.iterdir():
        (bundle.path / entry.name).write_bytes(entry.read_bytes())
    with pytest.raises(BundleError, match="replaced"):
        open_verified(bundle)


def test_a_folder_with_another_bundles_content_is_refused(store: Path) -> None:
    bundle = install(content(), store)
    bundle.path.rename(bundle.path.with_name("1.0.1"))
    with pytest.raises(BundleError, match="instead"):
        resolve("localiser", bundle_dir=store)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_plain_files_are_read(store: Path, tmp_path: Path, kind: str) -> None:
    bundle = install(content(), store)
    card = bundle.path / "card.md"
    (tmp_path / "card.md").write_bytes(card.read_bytes())
    card.unlink()
    {
        "link": lambda: card.symlink_to(tmp_path / "card.md"),
        "pipe": lambda: os.mkfifo(card),
        "folder": card.mkdir,
    }[kind]()
    with pytest.raises(BundleError, match=r"card\.md"):
        verify(bundle)


def test_a_read_only_store_serves(store: Path) -> None:
    bundle = install(content(), store)
    bundle.path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        verify(resolve("localiser", bundle_dir=store))
    finally:
        bundle.path.chmod(stat.S_IRWXU)


def test_installing_twice_is_no_error_and_overwriting_is(store: Path) -> None:
    first = install(content(), store)
    assert install(content(), store) == first
    with pytest.raises(BundleError, match="new version"):
        install(content(weights=b"v"), store)
    verify(first)
    assert [entry.name for entry in first.path.parent.iterdir()] == ["1.0.0"]


def test_a_version_that_is_taken_is_known_beforehand(store: Path) -> None:
    install(content(version="1.0.0"), store)
    require_free(store, "localiser", "1.0.1")
    require_free(store, "scorer", "1.0.0")
    require_free(store / "nowhere", "localiser", "1.0.0")
    with pytest.raises(VersionTakenError, match=r"localiser 1\.0\.0 is already there") as caught:
        require_free(store, "localiser", "1.0.0")
    assert caught.value.code == "bundle_version_taken"
    with pytest.raises(BundleError, match="not a version"):
        require_free(store, "localiser", "next")
    with pytest.raises(VersionTakenError):
        install(content(version="1.0.0", weights=b"other"), store)


def test_a_failing_disk_leaves_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry, "place", full)
    with pytest.raises(BundleError, match="could not be written"):
        install(content(), store)
    assert list((store / "localiser").iterdir()) == []


@pytest.mark.parametrize("under", ["", "localiser/1.0.0/", "a/b/c/"])
def test_import_from_a_zip(store: Path, tmp_path: Path, under: str) -> None:
    bundle = import_bundle(zipped(tmp_path / "b.zip", content(), under), store)
    assert bundle.path == store / "localiser" / "1.0.0"
    verify(bundle)


def test_import_from_a_folder(store: Path, tmp_path: Path) -> None:
    there = install(content(), tmp_path / "elsewhere")
    bundle = import_bundle(there.path, store)
    verify(bundle)
    assert bundle.sha256 == there.sha256


def broken_zips() -> dict[str, dict[str, bytes]]:
    files = content()
    return {
        "climbs out": {**files, "../evil.txt": b"x"},
        "absolute": {**files, "/etc/evil": b"x"},
        "beside": {**{f"a/{k}": v for k, v in files.items()}, "b/evil.txt": b"x"},
        "surplus": {**files, "setup.py": b"x"},
        "damaged": {**files, "model.onnx": b"x"},
        "without weights": {k: v for k, v in files.items() if k != "model.onnx"},
        "without manifest": {k: v for k, v in files.items() if k != METADATA},
        "two manifests": {**files, f"a/{METADATA}": files[METADATA]},
        "too many": {**files, **{f"f{i}": b"" for i in range(40)}},
    }


@pytest.mark.parametrize("case", broken_zips())
def test_import_refuses(store: Path, tmp_path: Path, case: str) -> None:
    archive = zipped(tmp_path / "b.zip", broken_zips()[case])
    with pytest.raises(BundleError):
        import_bundle(archive, store)
    assert not list(store.rglob("*")), "nothing may be left behind"
    assert not list(tmp_path.rglob("evil*"))


def test_import_refuses_a_bomb(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MAX_BUNDLE_BYTES", 10_000)
    archive = zipped(tmp_path / "b.zip", {**content(), "bomb": bytes(1 << 20)})
    with pytest.raises(BundleError, match="unpacks to more"):
        import_bundle(archive, store)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut short", b"text"])
def test_import_refuses_what_is_no_zip(store: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(BundleError):
        import_bundle(tmp_path / "b.zip", store)


def test_import_of_nothing_is_missing(store: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleMissingError):
        import_bundle(tmp_path / "absent", store)


def test_bundle_says_what_stages_ask(store: Path) -> None:
    bundle: Bundle = install(content(), store)
    assert bundle.preprocessing == {"pixel_mm": 1.0}
    assert bundle.network.builder == "tiny"
    assert bundle.calibration == {}
    assert "text" not in repr(bundle)
