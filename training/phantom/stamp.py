"""The version of what is drawn, for truth files and manifests."""

from __future__ import annotations

from typing import Final

PHANTOM_VERSION: Final = "7"
"""Raised by whatever changes a drawn byte; `version` says how that is noticed."""
