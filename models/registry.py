"""Bundles: where they lie, which one is meant, whether it is whole, and how a new one gets in.

A store is a folder of `<name>/<version>/`, each with model.onnx, model.safetensors, metadata.json
and card.md. The product ships one (`PACKAGED`), and a site may put its own before it. Stores are
only read, except by `install` and `import_bundle`; nothing here ever touches the network.

Weights are hashed as the very bytes that are then loaded: a file that changes between a check and
its use cannot slip through.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final
from uuid import uuid4

from models.durable import flush_folder, place, settle
from models.errors import BundleError, BundleMissingError, VersionTakenError
from models.manifest import (
    MAX_METADATA_BYTES,
    METADATA,
    SECTION,
    Manifest,
    NetworkSpec,
    is_bundle_name,
    is_file_name,
    is_version,
    read_manifest,
    version_key,
)
from models.serving import Turn, turns

PACKAGED: Final = Path(__file__).with_name("bundles")
"""The store that ships with the product."""

MAX_BUNDLE_BYTES: Final = 1 << 30
"""Largest bundle read into memory; ours are a few MB."""

MAX_FILES: Final = 32


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version of one model.

    Attributes:
        name: For example "localiser".
        version: Semantic version.
        path: Its folder.
        metadata: metadata.json, read-only.
        sha256: Digest that stands for the whole bundle (the seal, see `models.manifest`).
        manifest: The same metadata, checked and typed.
    """

    name: str
    version: str
    path: Path
    metadata: Mapping[str, Any] = field(repr=False)
    sha256: str
    manifest: Manifest = field(repr=False)

    @property
    def network(self) -> NetworkSpec:
        """How to build the network for PyTorch."""
        return self.manifest.network

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How images are brought to the network's input."""
        return self._section("preprocessing")

    @property
    def operating_points(self) -> Mapping[str, Any]:
        """Thresholds, each with the set it was chosen on."""
        return self._section("operating_points")

    @property
    def calibration(self) -> Mapping[str, Any]:
        """How scores become probabilities."""
        return self._section("calibration")

    def _section(self, key: str) -> Mapping[str, Any]:
        section: Mapping[str, Any] = self.metadata[SECTION][key]
        return section


def find_bundles(bundle_dir: Path | None = None) -> tuple[Bundle, ...]:
    """Read the manifest of every bundle, the site's store first, newest version first.

    Raises:
        BundleError: A manifest is damaged (`bundle_folders` and `read_bundle` go one by one).
    """
    return tuple(read_bundle(folder) for folder in bundle_folders(bundle_dir))


def bundle_folders(bundle_dir: Path | None = None) -> tuple[Path, ...]:
    """Return every bundle folder, unread: the site's store first, by name, newest version first."""
    return tuple(
        folder for store in _stores(bundle_dir) for folder in _folders(store, _names(store))
    )


def resolve(name: str, version: str | None = None, bundle_dir: Path | None = None) -> Bundle:
    """Find the bundle that a name means.

    The first store that holds the name decides, so a new release of the product never takes the
    place of weights that a site has put into its own store. Where a version was promoted there
    (`models.serving`), that one serves, and not the newest.

    Args:
        name: Bundle name, or "name@version".
        version: That version; None for the one promoted, else the highest by semantic order.
        bundle_dir: The site's store, looked into before the packaged one.

    Raises:
        BundleMissingError: No store holds it.
        BundleError: It is there, and its manifest is damaged, or it is not what was promoted.
    """
    wanted, _, pinned = name.partition("@")
    chosen = version or pinned or None
    if chosen is None and bundle_dir is not None and is_bundle_name(wanted):
        promoted = turns(bundle_dir, wanted)
        if promoted:
            return _promoted(wanted, promoted[-1], bundle_dir)
    for store in _stores(bundle_dir):
        for folder in _folders(store, (wanted,)):
            if chosen in (None, folder.name):
                return read_bundle(folder)
    label = f"{wanted} {chosen}" if chosen else wanted
    raise BundleMissingError(f"model bundle {label} is in none of the bundle folders")


def _promoted(name: str, turn: Turn, bundle_dir: Path) -> Bundle:
    """The bundle whose turn it is, from whichever store has it."""
    bundle = resolve(name, turn.version, bundle_dir)
    if bundle.sha256 != turn.sha256:
        raise BundleError(f"model bundle {name} {turn.version} is not the one that was promoted")
    return bundle


def read_bundle(folder: Path) -> Bundle:
    """Read one bundle's manifest; its other files are read by `open_verified`.

    Raises:
        BundleMissingError: The folder has no metadata.json.
        BundleError: The manifest is damaged, or speaks of another bundle than the folder's names.
    """
    metadata = folder / METADATA
    if not metadata.is_file():
        raise BundleMissingError(f"model bundle {_label(folder)} has no {METADATA}")
    bundle = _bundle(_read(metadata, MAX_METADATA_BYTES), folder)
    if (bundle.name, bundle.version) != (folder.parent.name, folder.name):
        raise BundleError(
            f"model bundle {_label(folder)} holds {bundle.name} {bundle.version} instead"
        )
    return bundle


def open_verified(bundle: Bundle) -> Mapping[str, bytes]:
    """Read every file of a bundle once and hash the bytes that are returned.

    Returns:
        File name to content, metadata.json not included.

    Raises:
        BundleError: A file was changed, is missing, or is not listed in the manifest; or the
            manifest is no longer the one that was read.
    """
    label = _label(bundle.path)
    present = {entry.name for entry in bundle.path.iterdir()}
    listed = {*bundle.manifest.files, METADATA}
    if missing := sorted(listed - present):
        raise BundleError(f"model bundle {label}: {', '.join(missing)} missing")
    if extra := len(present - listed):
        raise BundleError(f"model bundle {label}: {extra} file(s) that its manifest does not list")
    if _bundle(_read(bundle.path / METADATA, MAX_METADATA_BYTES), bundle.path).sha256 != (
        bundle.sha256
    ):
        raise BundleError(f"model bundle {label}: {METADATA} was replaced while in use")
    content = {name: _read(bundle.path / name, MAX_BUNDLE_BYTES) for name in bundle.manifest.files}
    _compare(bundle, content)
    return content


def verify(bundle: Bundle) -> None:
    """Check every file of a bundle against its manifest.

    Raises:
        BundleError: As `open_verified`.
    """
    open_verified(bundle)


def import_bundle(source: Path, store: Path) -> Bundle:
    """Install a bundle from a folder or a zip into a store, whole or not at all.

    A zip may hold the files at its top or under folders, as long as all lie beside metadata.json.
    File names come from the checked manifest, never from a path inside the zip.

    Raises:
        BundleMissingError: There is no bundle in `source`.
        BundleError: It is damaged, or the store holds other content under the same version.
    """
    if not source.is_file():
        return install(_folder_content(source), store)
    try:
        content = _unzipped(source)
    # zipfile's ways to say no: RuntimeError for an encrypted member, NotImplementedError for a
    # compression it does not know, EOFError for one cut short.
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError) as error:
        raise BundleError("the file is not a readable zip") from error
    return install(content, store)


def install(content: Mapping[str, bytes], store: Path) -> Bundle:
    """Write the files of a bundle into a store: checked first, renamed into place last.

    Args:
        content: File name to bytes, metadata.json included.
        store: Folder of bundles; made if it does not exist.

    Returns:
        The bundle where it now lies. The same content twice is no error.

    Raises:
        BundleError: The content does not match its manifest.
        VersionTakenError: The store holds other content under this version.
    """
    if METADATA not in content:
        raise BundleMissingError(f"there is no {METADATA} in the bundle")
    manifest = read_manifest(content[METADATA])
    target = store / manifest.name / manifest.version
    bundle = _bundle(content[METADATA], target)
    if set(content) != {*manifest.files, METADATA}:
        raise BundleError(f"model bundle {_label(target)}: its files are not those it lists")
    _compare(bundle, content)
    if target.exists():
        return _same(bundle)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename stays on one file system; a leading dot is no version.
    staging = target.with_name(f".{target.name}.{uuid4().hex}.part")
    try:
        staging.mkdir()
        for name, data in content.items():
            place(staging / name, data)
        settle([staging / name for name in content])
        staging.rename(target)
        flush_folder(target.parent)
    except OSError as error:
        if target.exists():
            return _same(bundle)
        raise BundleError(f"model bundle {_label(target)} could not be written") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return bundle


def _same(bundle: Bundle) -> Bundle:
    """The bundle already in place, if it is the same one."""
    there = read_bundle(bundle.path)
    if there.sha256 != bundle.sha256:
        raise VersionTakenError(
            f"model bundle {_label(bundle.path)} is already installed with other content: "
            "give the new one a new version"
        )
    verify(there)
    return there


def require_free(store: Path, name: str, version: str) -> None:
    """Refuse a version that is taken, before hours are spent on what would bear it.

    Raises:
        VersionTakenError: The store holds a bundle of this name and version.
        BundleError: Not a semantic version.
    """
    version_key(version)
    target = store / name / version
    if target.exists():
        raise VersionTakenError(
            f"model bundle {_label(target)} is already there: give the new one a new version"
        )


def _bundle(metadata: bytes, path: Path) -> Bundle:
    try:
        manifest = read_manifest(metadata)
    except BundleError as error:
        raise BundleError(f"model bundle {_label(path)}: {error}") from error
    return Bundle(
        name=manifest.name,
        version=manifest.version,
        path=path,
        metadata=manifest.metadata,
        sha256=manifest.sha256,
        manifest=manifest,
    )


def _compare(bundle: Bundle, content: Mapping[str, bytes]) -> None:
    for name, digest in bundle.manifest.files.items():
        if hashlib.sha256(content[name]).hexdigest() != digest:
            raise BundleError(
                f"model bundle {_label(bundle.path)}: {name} was changed (SHA-256 does not match)"
            )


def _label(folder: Path) -> str:
    """Name and version of a bundle folder, without where it lies."""
    return f"{folder.parent.name} {folder.name}"


def _stores(bundle_dir: Path | None) -> tuple[Path, ...]:
    return (PACKAGED,) if bundle_dir is None else (bundle_dir, PACKAGED)


def _names(store: Path) -> Iterator[str]:
    if store.is_dir():
        yield from sorted(entry.name for entry in store.iterdir() if is_bundle_name(entry.name))


def _folders(store: Path, names: Iterable[str]) -> Iterator[Path]:
    """Version folders of these names, newest first."""
    for name in names:
        if is_bundle_name(name) and (store / name).is_dir():
            versions = [
                entry
                for entry in (store / name).iterdir()
                if is_version(entry.name) and entry.is_dir()
            ]
            yield from sorted(versions, key=lambda entry: version_key(entry.name), reverse=True)


def _read(path: Path, limit: int) -> bytes:
    """Read a plain file of at most `limit` bytes.

    Links are refused: a bundle is what lies in its folder.
    """
    try:
        # O_NONBLOCK: a named pipe put in a file's place must not hang the service.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError(f"model bundle {_label(path.parent)}: {path.name} is no file")
            data = file.read(limit + 1)
    except OSError as error:
        raise BundleError(
            f"model bundle {_label(path.parent)}: {path.name} cannot be read"
        ) from error
    if len(data) > limit:
        raise BundleError(f"model bundle {_label(path.parent)}: {path.name} is too large")
    return data


def _folder_content(folder: Path) -> dict[str, bytes]:
    if not (folder / METADATA).is_file():
        raise BundleMissingError(f"there is no {METADATA} in the folder")
    names = [entry.name for entry in folder.iterdir()]
    if len(names) > MAX_FILES or not all(is_file_name(name) for name in names):
        raise BundleError("the folder holds files that do not belong to a bundle")
    return {name: _read(folder / name, MAX_BUNDLE_BYTES) for name in names}


def _unzipped(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        if len(members) > MAX_FILES:
            raise BundleError(f"the zip holds more than {MAX_FILES} files")
        paths = [PurePosixPath(member.filename) for member in members]
        roots = [path.parent for path in paths if path.name == METADATA]
        if len(roots) != 1:
            raise BundleMissingError(f"the zip must hold one {METADATA}, not {len(roots)}")
        content: dict[str, bytes] = {}
        left = MAX_BUNDLE_BYTES
        for member, path in zip(members, paths, strict=True):
            if path.parent != roots[0] or not is_file_name(path.name) or path.name in content:
                raise BundleError("the zip holds files that do not belong to a bundle")
            # The size a member declares is its author's word: read to a limit and count.
            with opened.open(member) as file:
                content[path.name] = file.read(left + 1)
            left -= len(content[path.name])
            if left < 0:
                raise BundleError(f"the zip unpacks to more than {MAX_BUNDLE_BYTES} bytes")
        return content
