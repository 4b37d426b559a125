"""How the command line spells a field of a dataclass, so that options are declared once for it and for Python."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """Stands in a field's `Annotated` type; a field without one is no option of the command line.

    Attributes:
        help: One sentence.
        names: As users type it; made of the field's name where empty.
        metavar: What stands for the value in the help; made of the type where None.
        min: The least value.
        parameter: What Python calls it, where that is not the field's name; messages name it so (`errors.parameter`).
        parse: Reads the text; raises CriticProbeError where it cannot. None reads it as the field's type.
        panel: The heading that it stands under in the help.
    """

    help: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    min: float | None = None
    parameter: str | None = None
    parse: Callable[[str], Any] | None = None
    panel: str | None = None
