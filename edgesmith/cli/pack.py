"""edgesmith pack: a run as one file that others can check."""

from __future__ import annotations

from pathlib import Path

import typer

from edgesmith.cli import output


def command(
    run: Path = typer.Argument(..., help="Folder of a run that has its report"),
    out: Path = typer.Option(..., "--out", help="The file to write, e.g. model.edgesmith.zip; it must not exist"),
    targets: str = typer.Option("", "--targets", help="Artefacts to put in, comma-separated. Default: all"),
    key: Path | None = typer.Option(None, help="Private key (PEM) to sign with"),
    new_key: Path | None = typer.Option(
        None, help="Make a key in this file, and its public half beside it; sign with it"
    ),
    licence: str = typer.Option("", "--license", help="Licence of the weights, an SPDX expression"),
    json: bool = typer.Option(False, "--json", help="One JSON object on stdout."),
) -> int:
    """Write an evidence bundle: artefacts, recipe, lock, verdicts, bill of materials, model card, signed manifest."""
    from edgesmith.errors import UsageError
    from edgesmith.plugins import missing_package

    if key and new_key:
        raise UsageError("pack --key --new-key", "both were given", "give one of them")
    try:
        from edgesmith.kits import pack, signing
    except ModuleNotFoundError as error:
        raise missing_package(error, "write an evidence bundle") from error
    if out.exists():  # before a key is made for nothing
        raise UsageError(f"write {out}", "it exists already", "name a file that does not exist")
    public = signing.new_key(new_key) if new_key else None
    wanted = [name.strip() for name in targets.split(",") if name.strip()]
    packed = pack.make_bundle(run, out, wanted, licence, key or new_key)
    if json:
        output.print_json(packed)
        return 0
    print(f"{out}: {packed.files} files, {packed.size_bytes / 1e6:.2f} MB, with {', '.join(packed.targets)}")
    print(f"signature: {packed.signature}")
    if public:
        print(f"{new_key} is the private key: keep it to yourself; {public} is for everybody")
    return 0
