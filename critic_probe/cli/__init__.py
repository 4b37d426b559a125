"""The command line: options, calls, exit codes. Nothing here imports torch or transformers at module level."""

import pkgutil
import sys
from importlib import import_module
from typing import Annotated

import typer

from critic_probe.version import __version__

app = typer.Typer(
    name="critic-probe",
    help="Shows what a critic's score really reacts to, under last-token, mean and other read-outs.\n\n"
    "Exit codes: 0 passed, 1 a gate failed, 2 bad input or usage, 3 an internal error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# A command lies in the file of its name: a function `command`, or an `app` of several.
for _name in (module.name for module in pkgutil.iter_modules(__path__)):
    _module = import_module(f"{__name__}.{_name}")
    if hasattr(_module, "command"):
        app.command(_name)(_module.command)
    elif hasattr(_module, "app"):
        app.add_typer(_module.app, name=_name)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"critic-probe {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Holds what comes before a command."""


def main() -> None:
    """Runs the command line; an error that no one foresaw keeps its traceback and exits with 3."""
    try:
        app()
    except Exception:
        import traceback

        traceback.print_exc()
        print("critic-probe: internal error: please report the lines above", file=sys.stderr)
        sys.exit(3)
