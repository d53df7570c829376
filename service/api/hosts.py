"""Which addresses only this machine reaches. Imported before the port is bound, so it is light."""

from __future__ import annotations

import ipaddress
from typing import ClassVar, Final

from models.errors import AcuityError

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class OpenHostError(AcuityError):
    """Refuses to serve other machines without a key."""

    code = "no_api_keys"
    exit_code: ClassVar[int] = 2


def is_loopback(host: str) -> bool:
    """Whether an address or name can only be reached from this machine."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
