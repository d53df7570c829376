"""`acuity keys`: keys of clients."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from models.errors import AcuityError

if TYPE_CHECKING:
    from service.jobs.keys import ApiKeys, KnownKey, Scope

app = typer.Typer(
    name="keys",
    help="Make, list and revoke the keys of clients.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class KeyUsageError(AcuityError):
    """A command on keys that cannot be carried out."""

    code = "key_usage"
    exit_code: ClassVar[int] = 2


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who will hold the key, for the audit trail.")],
    scope: Annotated[
        list[str], typer.Option(help="submit, read, review or admin; may be given several times.")
    ],
    days: Annotated[float | None, typer.Option(min=0.01, help="How long it is good for.")] = None,
) -> None:
    """Make a key and print it, once: only a digest of it is kept."""
    if not 0 < len(name) <= 64:
        raise KeyUsageError("a name has 1 to 64 characters")
    sys.stdout.write(f"{_keys().create(name, _scopes(scope), days)}\n")


@app.command("list")
def list_keys() -> None:
    """List every key ever made, without the keys."""
    for key in _keys().listing():
        scopes = ",".join(sorted(key.scopes))
        sys.stdout.write(f"{key.key_id}  {key.name}  {scopes}  {_standing(key)}\n")


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As `acuity keys list` shows it.")]) -> None:
    """Make a key useless; a running service heeds it within seconds."""
    if not _keys().revoke(key_id):
        raise KeyUsageError("there is no such key in use")


def _keys() -> ApiKeys:
    from service.cli.configuration import load_settings  # noqa: PLC0415
    from service.jobs.opening import open_keys  # noqa: PLC0415

    settings = load_settings()
    if settings.work_dir is None and settings.database is None:
        raise KeyUsageError("set ACUITY_WORK_DIR (or ACUITY_DATABASE) as for `acuity serve`")
    work_dir = settings.work_dir or Path()
    if settings.database is None:
        work_dir.mkdir(parents=True, exist_ok=True)
    return open_keys(settings, work_dir.resolve())


def _scopes(names: list[str]) -> frozenset[Scope]:
    from service.jobs.keys import Scope  # noqa: PLC0415

    try:
        return frozenset(Scope(name) for name in names)
    except ValueError:
        raise KeyUsageError(f"scopes are {', '.join(Scope)}") from None


def _standing(key: KnownKey) -> str:
    now = datetime.now(UTC).timestamp()
    if key.revoked_at is not None:
        return f"revoked {_day(key.revoked_at)}"
    if key.expires_at is None:
        return f"made {_day(key.created_at)}"
    return f"{'good until' if key.valid(now) else 'expired'} {_day(key.expires_at)}"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
