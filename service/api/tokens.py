"""Bearer tokens of the hospital's identity provider (OpenID Connect), checked by its keys."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, Final

import structlog

from service.jobs.keys import Grant, Scope
from service.settings import OidcSettings, Settings

log = structlog.get_logger()

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""Signatures with a key pair only: with a shared secret, who can check can also forge."""

REFRESH_S: Final = 10.0
"""How soon the provider is asked again because of a key that nobody knows; tokens are free to
invent, and must not make us ask more often."""

TIMEOUT_S: Final = 5.0


class TokenChecker:
    """Knows who a token is of. Thread-safe; it may wait for the provider, so not on the event loop.

    Args:
        settings: Of the provider.
    """

    def __init__(self, settings: OidcSettings) -> None:
        # It imports cryptography, which a service without a provider can do without.
        import jwt  # noqa: PLC0415

        self._jwt = jwt
        self._settings = settings
        self._client = jwt.PyJWKClient(
            str(settings.jwks_url),
            cache_jwk_set=True,
            lifespan=settings.keys_cached_s,
            timeout=TIMEOUT_S,
            cooldown_duration=REFRESH_S,
            ssl_context=ssl.create_default_context(
                cafile=str(settings.ca_file) if settings.ca_file else None
            ),
        )

    def grant_of(self, token: str) -> Grant | None:
        """Who a token is of and what it may do; None when it is not to be believed."""
        try:
            key = self._client.get_signing_key_from_jwt(token)
            claims = self._jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=self._settings.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except self._jwt.PyJWKClientConnectionError as error:
            log.warning("token_keys_unreachable", error=type(error).__name__)
            return None
        except (self._jwt.PyJWTError, ValueError) as error:
            log.info("token_refused", error=type(error).__name__)
            return None
        return Grant(f"token:{claims['sub']}", self._scopes(claims))

    def _scopes(self, claims: dict[str, Any]) -> frozenset[Scope]:
        value = claims.get(self._settings.scope_claim, "")
        named = value.split() if isinstance(value, str) else value
        names = {str(name) for name in named} if isinstance(named, Sequence) else set()
        return frozenset(
            scope for scope in Scope if f"{self._settings.scope_prefix}{scope.value}" in names
        )


def token_checker(settings: Settings) -> TokenChecker | None:
    """The checker of an installation's tokens, None where no provider is set."""
    return TokenChecker(settings.oidc) if settings.oidc is not None else None
