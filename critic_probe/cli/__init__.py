"""The command line: options, calls, exit codes. Nothing here imports torch or transformers at module level."""

import errno
import os
import pkgutil
import re
import signal
import sys
import threading
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
_NO_MEMORY = re.compile("failed to map segment|annot allocate memory|not enough memory|DefaultCPUAllocator")
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
    threading.excepthook = _of_thread
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # it is closed: what is opened next would take its place
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what has no Chinese shows its code points, as UTF-8 does a file's bytes
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer and rich would exit with 1, as a failed gate does
            sys.exit(READER_GONE)
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):  # of which typer says nothing
            _say("critic-probe: interrupted; nothing was written")
        raise
    except KeyboardInterrupt:
        _say("critic-probe: interrupted; nothing was written")
        sys.exit(130)
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _OF_STDOUT:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to flush would fail again
            if isinstance(error, BrokenPipeError):
                sys.exit(READER_GONE)
            _say(f"critic-probe: error: stdout cannot be written ({error.strerror}); free the disk")
            sys.exit(2)
        if lacking := _lacking(error):
            _say(f"critic-probe: error: {lacking}")
            sys.exit(2)
        import traceback

        _say(f"{traceback.format_exc()}critic-probe: internal error: please report the lines above")
        sys.exit(3)


def _say(lines: str) -> None:
    try:
        print(lines, file=sys.stderr, flush=True)
    except OSError:  # of a full disk or a reader that has gone: the exit code is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _lacking(error: Exception) -> str:
    """What the machine does not give, with the cure; "" for any other error."""
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return "out of memory; give the process more, or score less at once (--dry-run tells what compare would take)"
    if not isinstance(error, OSError) or error.errno not in (*_OF_STDOUT, errno.EMFILE, errno.ENFILE, errno.EROFS):
        return ""
    return f"{error.filename or 'a file'}: {error.strerror}; free the disk, or raise the limit (ulimit -a)"


def _of_thread(failed: threading.ExceptHookArgs) -> None:
    """What TensorBoard's thread cannot write, its next call raises again."""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)
