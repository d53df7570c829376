r"""Let a candidate serve: only through the gates of a comparison, and signed.

    acuity train promote keys --private site.key --public site.pub           # once
    acuity train promote --candidate DIR --comparison RUN/comparison.json \
        --key site.key [--into BUNDLE_DIR] [--loose-margins REASON]

The candidate's bytes are not touched: what was compared is what serves. Beside it lies a signed
record that names its seal, the comparison, the data and what it replaces. A running service takes
it for its next study; `acuity models rollback NAME` goes back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from models.errors import BundleError
from models.registry import Bundle, import_bundle, read_bundle, resolve, verify
from models.serving import serve, write_promotion
from models.signing import make_keys, read_private_key, signed
from service.settings import Settings
from training.judging.verdict import read_comparison, require_gates, require_margins


def promote(
    candidate: Bundle, comparison: Path, key: Path, store: Path, because: str | None = None
) -> Path:
    """Install a candidate in a site's store and let it serve.

    Args:
        candidate: A whole bundle.
        comparison: `comparison.json` of it against what serves.
        key: The site's private key, PEM.
        store: The site's store.
        because: Why margins wider than usual are right here; signed with the rest.

    Returns:
        The signed record.

    Raises:
        GateError: It may not be promoted (`ComparisonChangedError`, `LooseMarginsError` among the
            reasons).
        BundleError: It is damaged, or its version is taken by another bundle.
        SignatureError: The key cannot be used.
    """
    verify(candidate)
    served = resolve(candidate.name, bundle_dir=store)
    found, evidence = read_comparison(comparison)
    require_gates(found, candidate, served)
    loosened = require_margins(found, because)
    secret = read_private_key(key)
    statement = {
        "name": candidate.name,
        "version": candidate.version,
        "sha256": candidate.sha256,
        "replaces": {"version": served.version, "sha256": served.sha256},
        "comparison_sha256": evidence,
        "data_sha256": found["data_sha256"],
        "gates": found["gates"],
        **({} if loosened is None else {"margins_loosened_because": loosened}),
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
    parser.add_argument(
        "--loose-margins", metavar="REASON", help="why margins wider than usual are right here"
    )
    given = parser.parse_args(arguments)
    if given.what == "keys":
        if given.private is None or given.public is None:
            parser.error("give --private and --public")
        make_keys(given.private, given.public)
        return
    store = given.into or Settings().bundle_dir
    if store is None or None in (given.candidate, given.comparison, given.key):
        parser.error("give --candidate, --comparison, --key, and --into or ACUITY_BUNDLE_DIR")
    candidate = read_bundle(given.candidate)
    record = promote(candidate, given.comparison, given.key, store, given.loose_margins)
    sys.stdout.write(f"{record}\n")


if __name__ == "__main__":
    main()
