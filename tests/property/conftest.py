"""How property tests run: the same examples every time, and no deadline on a shared machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("usual", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("usual")
