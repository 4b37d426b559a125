"""Commands that go on until a signal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def until_signal(what: str) -> Iterator[None]:
    """Ends the block on SIGINT and SIGTERM, and lets what comes after it go on; a second signal ends that too.

    Args:
        what: That comes after it, for the message.
    """
    known = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"critic-probe: ended by a signal; {what}", err=True)
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)
