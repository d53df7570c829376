"""Settings for a command, or a usage error that names what is wrong in them."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_settings import SettingsError

from models.errors import AcuityError
from service.settings import Settings


class InvalidSettingsError(AcuityError):
    """An environment variable or option that does not make sense."""

    code = "invalid_settings"
    exit_code: ClassVar[int] = 2


def load_settings(**options: Any) -> Settings:  # noqa: ANN401  pydantic checks them
    """Read the environment; options that are not None go before it.

    Raises:
        InvalidSettingsError: A value does not fit; the value itself is not repeated.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise InvalidSettingsError("; ".join(problems)) from None
    except SettingsError:
        raise InvalidSettingsError(
            "an ACUITY_ variable is not valid JSON where a list is needed"
        ) from None
