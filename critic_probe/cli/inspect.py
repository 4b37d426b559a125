"""`critic-probe inspect`: what a checkpoint is, from the headers of its files."""

from dataclasses import dataclass
from typing import Annotated

import typer

from critic_probe.bundled import find_critics
from critic_probe.cli import options
from critic_probe.cli.declare import with_options


@dataclass(frozen=True, kw_only=True)
class Files(options.Loading):
    """Which files make the critic, which is an argument; nothing is computed."""

    checkpoint: list[str] | None = None
    device: str = "auto"
    device_map: str | None = None
    dtype: str = "auto"


@with_options
def command(
    checkpoint: Annotated[
        str, typer.Argument(metavar="DIR", help="A critic's directory, or a bundled one, such as bundled:last.")
    ],
    *,
    loading: Files,
    json: options.Json = False,
) -> None:
    """Say what a checkpoint is, and how its critic would be read; no weights but the head's are loaded."""
    [path] = find_critics([checkpoint]).paths.values()
    from rich.console import Console

    from critic_probe.checkpoint import dissect, inspect
    from critic_probe.encoding.trained import trained_convention
    from critic_probe.report.files import dump_plain
    from critic_probe.report.terminal.inspect import print_inspect

    anatomy = dissect(
        path,
        base=loading.base,
        step=loading.step,
        trust_remote_code=loading.trust_remote_code,
        head_row=loading.head_row,
    )
    convention, because, _ = trained_convention(anatomy)
    facts = inspect(anatomy) | {"convention": convention.name, "convention_because": because}
    if json:
        typer.echo(dump_plain({"schema": "critic-probe/inspect/1", **facts}))
    else:
        print_inspect(facts, Console())
