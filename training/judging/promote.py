r"""Let a candidate serve: only through the gates of a comparison, and signed.

    acuity train promote keys --private site.key --public site.pub           # once
    acuity train promote --candidate DIR --comparison RUN/comparison.json \
        --key site.key [--into BUNDLE_DIR]

The candidate's bytes are not touched: what was compared is what serves. Beside it lies a signed
record that names its seal, the comparison, the data and what it replaces. A running service takes
it for its next study; `acuity models rollback NAME` goes back.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import BundleError
from models.registry import Bundle, import_bundle, read_bundle, resolve, verify
from models.serving import serve, write_promotion
from models.signing import make_keys, read_private_key, signed
from service.settings import Settings
from training.judging.compare import SCHEMA
from training.judging.errors import GateError


def read_comparison(path: Path) -> tuple[dict[str, Any], str]:
    """A comparison and the SHA-256 of its file.

    Raises:
        GateError: It cannot be read or is of another version.
    """
    try:
        raw = path.read_bytes()
        found: dict[str, Any] = json.loads(raw)
    except (OSError, ValueError) as error:
        raise GateError("the comparison cannot be read") from error
    if found.get("schema") != SCHEMA:
        raise GateError("the comparison is of another version")
    return found, hashlib.sha256(raw).hexdigest()


def require_gates(comparison: Mapping[str, Any], candidate: Bundle, served: Bundle) -> None:
    """Hold a candidate to its comparison.

    Raises:
        GateError: A gate failed, or the comparison is of other bundles than these.
    """
    if comparison["candidate"]["sha256"] != candidate.sha256:
        raise GateError("the comparison is not of this candidate")
    if comparison["served"]["sha256"] != served.sha256:
        raise GateError("the comparison is not with the bundle that serves now: compare again")
    failed = [gate["name"] for gate in comparison["gates"] if not gate["passed"]]
    if failed or not comparison["passed"] or not comparison["gates"]:
        raise GateError(f"not promotable: {', '.join(failed) or 'no gate'} not passed")


def promote(candidate: Bundle, comparison: Path, key: Path, store: Path) -> Path:
    """Install a candidate in a site's store and let it serve.

    Args:
        candidate: A whole bundle.
        comparison: `comparison.json` of it against what serves.
        key: The site's private key, PEM.
        store: The site's store.

    Returns:
        The signed record.

    Raises:
        GateError: It may not be promoted.
        BundleError: It is damaged, or its version is taken by another bundle.
        SignatureError: The key cannot be used.
    """
    verify(candidate)
    served = resolve(candidate.name, bundle_dir=store)
    found, evidence = read_comparison(comparison)
    require_gates(found, candidate, served)
    secret = read_private_key(key)
    statement = {
        "name": candidate.name,
        "version": candidate.version,
        "sha256": candidate.sha256,
        "replaces": {"version": served.version, "sha256": served.sha256},
        "comparison_sha256": evidence,
        "data_sha256": found["data_sha256"],
        "gates": found["gates"],
        "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    installed = import_bundle(candidate.path, store)
    if installed.sha256 != candidate.sha256:
        raise BundleError(f"{candidate.name} {candidate.version} changed while it was installed")
    record = write_promotion(store, candidate.name, candidate.version, signed(statement, secret))
    # Last: until here nothing serves that did not serve before.
    serve(
        store,
        candidate.name,
        (candidate.version, candidate.sha256),
        (served.version, served.sha256),
    )
    return record


def main(arguments: Sequence[str] | None = None) -> None:
    """Promote a candidate, or make the keys for it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("bundle", "keys"), default="bundle")
    parser.add_argument("--private", type=Path)
    parser.add_argument("--public", type=Path)
    parser.add_argument("--candidate", type=Path, help="bundle folder")
    parser.add_argument("--comparison", type=Path, help="comparison.json")
    parser.add_argument("--key", type=Path, help="private key, PEM")
    parser.add_argument("--into", type=Path, help="the site's store; ACUITY_BUNDLE_DIR by default")
    given = parser.parse_args(arguments)
    if given.what == "keys":
        if given.private is None or given.public is None:
            parser.error("give --private and --public")
        make_keys(given.private, given.public)
        return
    store = given.into or Settings().bundle_dir
    if store is None or None in (given.candidate, given.comparison, given.key):
        parser.error("give --candidate, --comparison, --key, and --into or ACUITY_BUNDLE_DIR")
    record = promote(read_bundle(given.candidate), given.comparison, given.key, store)
    sys.stdout.write(f"{record}\n")


if __name__ == "__main__":
    main()
