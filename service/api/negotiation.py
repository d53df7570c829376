"""Choose a media type by Accept (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from service.api.problems import ProblemError


def choose(accept: str | None, supported: Sequence[str]) -> str:
    """Pick what the client likes best; among equals the first that is supported.

    Args:
        accept: The header, None when not sent.
        supported: Media types on offer, our preference first.

    Raises:
        ProblemError: 406, naming what is on offer.
    """
    ranges = [_parse(part) for part in (accept or "*/*").split(",") if part.strip()]
    weights = {offer: _weight(offer, ranges) for offer in supported}
    best = max(supported, key=lambda offer: weights[offer])
    if weights[best] <= 0:
        raise ProblemError(
            406,
            "not_acceptable",
            f"This is available as {', '.join(supported)}.",
            members={"supported": list(supported)},
        )
    return best


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = min(max(float(value), 0.0), 1.0)
            except ValueError:
                weight = 0.0
    return media_range, weight


def _weight(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    kind = offer.partition("/")[0]
    # The most specific range that matches decides, whatever its weight.
    for wanted in (offer, f"{kind}/*", "*/*"):
        matching = [weight for media_range, weight in ranges if media_range == wanted]
        if matching:
            return max(matching)
    return 0.0
