"""What users are told: the one error they are meant to see, and notices about a result that stands."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


class CriticProbeError(Exception):
    """Bad input, or a critic that cannot be read honestly.

    The message is one line that names the file and row (or the tensor), what was found, and the cure. The command
    line prints it to stderr and exits with code 2.

    Args:
        message: That line.
        check: The check of `critic-probe doctor` that fails with it; empty where no one check does.
    """

    def __init__(self, message: str, *, check: str = "") -> None:
        super().__init__(message)
        self.check = check


@dataclass(frozen=True)
class Notice:
    """A warning that belongs to a result: it is printed under the tables and kept in the JSON.

    Attributes:
        code: A short fixed name, such as `eos-one-side`.
        message: One sentence: what was seen and what it means for the figures.
        ids: The pairs that it concerns; empty when it concerns all.
    """

    code: str
    message: str
    ids: Sequence[str] = ()


Spelling = Callable[[str, object], str]


def as_argument(name: str, value: object) -> str:
    """A parameter as Python writes it."""
    return name if value is None else f"{name}={value!r}"


_spelling: ContextVar[Spelling] = ContextVar("spelling", default=as_argument)


def parameter(name: str, value: object = None) -> str:
    """A parameter in a message, as whoever is told would write it: `on_too_long='skip'`, or `--on-too-long skip`.

    Args:
        name: The parameter of the face, such as `on_too_long` or `fields.ignore`.
        value: What to give it; None names the parameter alone.
    """
    return _spelling.get()(name, value)


def spelling() -> Spelling:
    """How parameters are written at present."""
    return _spelling.get()


@contextmanager
def spelled(spelling: Spelling) -> Iterator[None]:
    """Messages of the block name parameters by another spelling than Python's, as the command line does."""
    token = _spelling.set(spelling)
    try:
        yield
    finally:
        _spelling.reset(token)
