"""The command line: options, calls, exit codes. Nothing here imports torch or transformers at module level."""

import errno
import os
import pkgutil
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated

import typer

from critic_probe.cli import panels
from critic_probe.version import __version__

START = """\
What does a critic's score really react to? Four commands to start with:

  critic-probe doctor DIR PAIRS
      Can its values be trusted at all?
  critic-probe compare PAIRS -c DIR
      Does the teacher score above the student, beyond length and punctuation?
  critic-probe perturb --all PAIRS -c DIR
      Which harmless edits move the score, and which wrong answers go unnoticed?
  critic-probe trace PAIRS --id ID -c DIR
      Which token does it?

DIR is what training wrote, PAIRS a .jsonl, .json, .csv or .parquet file.
Without them, two toy critics that ship with the tool:  critic-probe compare
All commands: critic-probe --help; one's options and examples: COMMAND --help.\
"""
_OF_STDOUT = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
READER_GONE = 141  # 128 + SIGPIPE: what a shell says of any program whose output `head` no longer reads

app = typer.Typer(
    name="critic-probe",
    help="Shows what a critic's score really reacts to, under last-token, mean and other read-outs.\n\n"
    "Exit codes: 0 passed, 1 a gate failed, 2 bad input or usage, 3 an internal error.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# A command lies in the file of its name: a function `command`, or an `app` of several.
_modules = {module.name: import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)}
_commands = {name: module for name, module in _modules.items() if hasattr(module, "PANEL")}
for _name, _module in sorted(_commands.items(), key=lambda each: panels.PANELS.index(each[1].PANEL)):
    if hasattr(_module, "command"):
        shown = {"rich_help_panel": _module.PANEL, "epilog": panels.epilog(*_module.EXAMPLES)}
        app.command(_name, **shown)(_module.command)
    else:
        app.add_typer(_module.app, name=_name, rich_help_panel=_module.PANEL)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"critic-probe {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Shows what critic-probe is for where no command is given."""
    if context.invoked_subcommand is None:
        typer.echo(START)


def main() -> None:
    """Runs the command line; an error that no one foresaw keeps its traceback and exits with 3."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's, taken as Ctrl-C is
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no Chinese shows its code points
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer and rich would exit with 1, as a failed gate does
            sys.exit(READER_GONE)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _OF_STDOUT:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to flush would fail again
            if isinstance(error, BrokenPipeError):
                sys.exit(READER_GONE)
            print(f"critic-probe: error: stdout cannot be written ({error.strerror}); free the disk", file=sys.stderr)
            sys.exit(2)
        import traceback

        traceback.print_exc()
        print("critic-probe: internal error: please report the lines above", file=sys.stderr)
        sys.exit(3)
