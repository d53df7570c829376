"""A bundle's files sealed anew after its metadata or card have changed; weights stay the bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from models.manifest import METADATA, SECTION, is_version, seal
from training.judging.errors import JudgingError


def require_version(version: str) -> None:
    """Refuse what is no version, before anything is read for it.

    Raises:
        JudgingError: It is none.
    """
    if not is_version(version):
        raise JudgingError(f"{version!r} is not a version like 1.0.0 or 1.0.0-site.1")


def resealed(
    document: dict[str, Any], content: Mapping[str, bytes], version: str, change: str
) -> dict[str, bytes]:
    """Give changed files a new version and seal.

    Args:
        document: The metadata, changed.
        content: Every other file of the bundle.
        version: Semantic version, not yet taken.
        change: What the version changes.

    Raises:
        JudgingError: The version is none.
    """
    require_version(version)
    document["version"] = version
    document["changelog"] = {version: change, **document["changelog"]}
    document[SECTION]["files"] = {
        name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())
    }
    return {**content, METADATA: seal(document)}
