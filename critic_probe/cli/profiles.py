"""`critic-probe profiles`: the gates that ship with the tool."""

from typing import Annotated

import typer

from critic_probe.cli.declare import with_options

app = typer.Typer(help="The gates that ship with the tool.", no_args_is_help=True)


@app.command("list")
@with_options
def list_profiles() -> None:
    """Name the profiles."""
    from critic_probe.gates.shipped import profile_names

    for name in profile_names():
        typer.echo(name)


@app.command("show")
@with_options
def show_profile(name: Annotated[str, typer.Argument(help="A profile's name.")]) -> None:
    """Print a profile as TOML, ready to be changed and given to --gates."""
    from critic_probe.gates.shipped import profile_text

    typer.echo(profile_text(name), nl=False)
