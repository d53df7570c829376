"""`acuity models`: the bundles of this installation. Nothing here touches the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import typer

from models.errors import AcuityError, BundleError, BundleMissingError

app = typer.Typer(
    help="List, verify and import model bundles.", no_args_is_help=True, rich_markup_mode=None
)


class NoStoreError(AcuityError):
    """No folder to import a bundle into."""

    code = "no_bundle_dir"
    exit_code: ClassVar[int] = 2


@app.command("list")
def list_bundles() -> None:
    """List every bundle, newest version first; * marks the ones that read studies."""
    from models.registry import find_bundles, resolve  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415

    settings = load_settings()
    found = find_bundles(settings.bundle_dir)
    in_use = {
        resolve(name, bundle_dir=settings.bundle_dir).path
        for name in (settings.localiser_bundle, settings.scorer_bundle)
    }
    for bundle in found:
        mark = "*" if bundle.path in in_use else " "
        typer.echo(f"{mark} {bundle.name:<12} {bundle.version:<12} sha256 {bundle.sha256}")


@app.command("verify")
def verify_bundles(
    name: Annotated[
        str | None, typer.Argument(help="NAME or NAME@VERSION; every bundle when left out.")
    ] = None,
) -> None:
    """Check every file of the bundles against their SHA-256; exit code 4 when one differs."""
    from models.registry import bundle_folders, read_bundle, resolve, verify  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415

    store = load_settings().bundle_dir
    folders = bundle_folders(store) if name is None else (resolve(name, bundle_dir=store).path,)
    if not folders:
        raise BundleMissingError("there is no model bundle")
    damaged = 0
    for folder in folders:
        label = f"{folder.parent.name} {folder.name}"
        try:
            verify(read_bundle(folder))
        except BundleError as error:
            damaged += 1
            typer.echo(f"{label}: {error.code}: {error}", err=True)
        else:
            typer.echo(f"{label}: ok")
    if damaged:
        raise BundleError(f"{damaged} of {len(folders)} model bundles cannot be used")


@app.command("import")
def import_from(
    source: Annotated[Path, typer.Argument(exists=True, help="A bundle's folder or zip.")],
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="Bundle folder; ACUITY_BUNDLE_DIR by default."),
    ] = None,
) -> None:
    """Verify a bundle and install it, whole or not at all."""
    from models.registry import import_bundle  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415

    store = into or load_settings().bundle_dir
    if store is None:
        raise NoStoreError("give --into DIR or set ACUITY_BUNDLE_DIR")
    bundle = import_bundle(source, store)
    typer.echo(f"{bundle.name} {bundle.version} sha256 {bundle.sha256}")


@app.command("rollback")
def rollback(
    name: Annotated[str, typer.Argument(help="localiser or scorer.")],
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="DIR", help="Bundle folder; ACUITY_BUNDLE_DIR by default."),
    ] = None,
) -> None:
    """Let the version serve again that served before the last promotion; no restart is needed."""
    from models.registry import resolve, verify  # noqa: PLC0415
    from models.serving import roll_back  # noqa: PLC0415
    from service.cli.configuration import load_settings  # noqa: PLC0415

    store = store or load_settings().bundle_dir
    if store is None:
        raise NoStoreError("give --store DIR or set ACUITY_BUNDLE_DIR")
    turn = roll_back(store, name)
    verify(resolve(name, bundle_dir=store))
    typer.echo(f"{name} {turn.version} sha256 {turn.sha256}")


@app.command("shadow")
def shadow(
    counts: Annotated[
        Path, typer.Argument(exists=True, help="A .jsonl file in the work folder's shadow/.")
    ],
) -> None:
    """Sum how often a shadow candidate agreed with what served."""
    from service.jobs.shadow import agreed, summed  # noqa: PLC0415

    found = summed(counts)
    typer.echo(f"{found.studies} studies")
    for question, pairs in found.calls.items():
        levels = sum(pairs.values())
        same = sum(number for pair, number in pairs.items() if agreed(pair))
        share = f"{same / levels:.3f}" if levels else "-"
        typer.echo(f"{question:<10} agreed on {same} of {levels} levels ({share})")
        for pair, number in sorted(pairs.items(), key=lambda item: -item[1]):
            if not agreed(pair):
                typer.echo(f"           {pair.replace('>', ' -> ')}: {number}")
    for step, number in found.apart_mm.items():
        typer.echo(f"centres {step} mm apart: {number}")
