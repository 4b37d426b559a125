"""What users are told: the one error they are meant to see, and notices about a result that stands."""

from collections.abc import Sequence
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
