"""`critic-probe inspect`: what a checkpoint is, from the headers of its files."""

from pathlib import Path
from typing import Annotated

import typer

from critic_probe import bundled
from critic_probe.cli import options, session


def command(
    checkpoint: Annotated[
        str, typer.Argument(metavar="DIR", help="A critic's directory, or a bundled one, such as bundled:last.")
    ],
    base: options.Base = None,
    step: options.Step = None,
    trust_remote_code: options.TrustRemoteCode = False,
    json: options.Json = False,
) -> None:
    """Say what a checkpoint is, and how its critic would be read; no weights but the head's are loaded."""
    with session.exit_codes():
        [(_, path)] = bundled.find_critics([checkpoint]).paths.items()
        from rich.console import Console

        from critic_probe.checkpoint import dissect, inspect
        from critic_probe.report.files import dump_plain
        from critic_probe.report.health import print_inspect

        anatomy = dissect(
            path, base=None if base is None else Path(base), step=step, trust_remote_code=trust_remote_code
        )
        found = inspect(anatomy)
        if json:
            typer.echo(dump_plain({"schema": "critic-probe/inspect/1", **found}))
        else:
            print_inspect(found, Console())
